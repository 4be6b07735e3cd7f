#include <cstdlib>

#include "temport/temport.hpp"
#include "tiny_bundle.h"

// A whole directory through the public interface. The first byte says which file the rest replaces and whether the
// manifest's hashes follow, so that both the hash check and the readers behind it are reached.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  static const tiny::Directory directory;
  const std::string content(reinterpret_cast<const char*>(data) + 1, size - 1);
  const int target = data[0] % 3;
  const bool rehash = data[0] & 128;
  const std::string model = target == 0 ? content : tiny::model(), vectors = target == 1 ? content : tiny::vectors();
  tiny::write(directory.path() / "model.onnx", model);
  tiny::write(directory.path() / "vectors.npz", vectors);
  tiny::write(directory.path() / "manifest.json", target == 2 ? content
                                                  : rehash    ? tiny::manifest(model, vectors)
                                                              : tiny::manifest(tiny::model(), tiny::vectors()));
  const auto bundle = temport::Bundle::open(directory.string());
  if (!bundle) return 0;
  // Only the unchanged bytes may pass where the hashes do not follow.
  if (!rehash && target == 0 && content != tiny::model()) std::abort();
  if (!rehash && target == 1 && content != tiny::vectors()) std::abort();
  const auto read = bundle->vectors();
  if (!read) return 0;
  for (const auto& name : read->cases())
    for (const auto& spec : bundle->outputs()) {
      const auto bound = read->tensor(name, "bound", spec.name);
      if (!bound || bound->bytes < sizeof(double)) std::abort();
    }
  return 0;
}
