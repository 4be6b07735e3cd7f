// manifest.json: what the bundle says it holds. Reading it checks its form, not the files it lists.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "temport/result.hpp"
#include "tensor.h"

namespace temport::internal {

constexpr int64_t kBundleFormat = 1;
// The numeric definitions (operators of domain `temport`, version 1) that this library was written against.
constexpr int64_t kSemantics = 1;

struct FileEntry {
  std::string sha256;
  uint64_t bytes;
};

struct Manifest {
  std::string architecture;
  bool custom_ops;  // the graph has nodes of domain `temport`
  temport_dtype precision;  // what it computes in; a half model may still take and give float32
  Signature signature;
  std::map<std::string, FileEntry> files;
};

constexpr const char* kModelFile = "model.onnx";
// External data lie beside the model, in files that begin with its name.
bool is_weights(std::string_view file);

Result<Manifest> read_manifest(std::string_view text);

// {"inputs": [spec], "outputs": [spec]}, and "states" for a step model, as the model's own metadata carry it.
Result<Signature> read_signature(std::string_view text);

}  // namespace temport::internal
