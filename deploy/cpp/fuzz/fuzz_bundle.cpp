#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "temport/temport.hpp"
#include "tiny_bundle.h"

// A whole directory through the public interface. The first byte says which file the rest replaces, whether it is the
// bundle of a step model, and whether the manifest's hashes follow, so that both the hash check and the readers behind it
// are reached.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  static const tiny::Directory directory;
  const std::string content(reinterpret_cast<const char*>(data) + 1, size - 1);
  const int target = (data[0] & 63) % 3;
  const bool rehash = data[0] & 128, step = data[0] & 64;
  const std::string& signature = step ? tiny::kStepSignature : tiny::kSignature;
  const std::string own_model = tiny::model(signature), own_vectors = step ? tiny::step_vectors() : tiny::vectors();
  const std::string model = target == 0 ? content : own_model, vectors = target == 1 ? content : own_vectors;
  tiny::write(directory.path() / "model.onnx", model);
  tiny::write(directory.path() / "vectors.npz", vectors);
  tiny::write(directory.path() / "manifest.json", target == 2 ? content
                                                  : rehash    ? tiny::manifest(model, vectors, signature)
                                                              : tiny::manifest(own_model, own_vectors, signature));
  const auto bundle = temport::Bundle::open(directory.string());
  if (!bundle) return 0;
  // Only the unchanged bytes may pass where the hashes do not follow.
  if (!rehash && target == 0 && content != own_model) std::abort();
  if (!rehash && target == 1 && content != own_vectors) std::abort();
  const auto read = bundle->vectors();
  if (!read) return 0;
  const auto states = bundle->states();
  const auto is_state = [&](const temport_tensor_spec& spec) {
    return std::any_of(states.begin(), states.end(),
                       [&](const auto& state) { return std::strcmp(state.output, spec.name) == 0; });
  };
  for (const auto& name : read->cases())
    for (const auto& spec : bundle->outputs()) {
      if (is_state(spec)) continue;
      const auto bound = read->tensor(name, "bound", spec.name);
      if (!bound || bound->bytes < sizeof(double)) std::abort();
    }
  return 0;
}
