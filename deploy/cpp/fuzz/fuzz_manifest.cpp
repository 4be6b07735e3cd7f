#include <cstdlib>

#include "manifest.h"
#include "onnx_metadata.h"

using namespace temport::internal;

// An accepted manifest names plain files only, sizes that can be multiplied, and states whose two sides are alike.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  (void)read_onnx_metadata(data, size);
  const auto manifest = read_manifest({reinterpret_cast<const char*>(data), size});
  if (!manifest) return 0;
  for (const auto& [name, entry] : manifest->files)
    if (name.find('/') != std::string::npos || name == ".." || entry.sha256.size() != 64) std::abort();
  for (const auto& spec : manifest->signature.inputs) {
    std::vector<int64_t> largest;
    for (const auto& axis : spec.axes) largest.push_back(axis.max);
    if (!element_count(largest)) std::abort();
  }
  for (const auto& state : manifest->signature.states) {
    const TensorSpec &before = manifest->signature.inputs.at(state.input), &after = manifest->signature.outputs.at(state.output);
    if (before.dtype != after.dtype || !(before.axes == after.axes) || before.axes.empty()) std::abort();
  }
  return 0;
}
