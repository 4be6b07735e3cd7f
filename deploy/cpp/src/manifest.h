// manifest.json: what the bundle says it holds. Reading it checks its form, not the files it lists.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "json.h"
#include "temport/result.hpp"
#include "tensor.h"

namespace temport::internal {

struct FileEntry {
  std::string sha256;
  uint64_t bytes;
};

struct Manifest {
  std::string architecture;
  bool custom_ops;  // the graph has nodes of domain `temport`
  bool fp8;         // weights are stored in it
  temport_dtype precision;  // what it computes in; a half model may still take and give float32
  Signature signature;
  Json signature_as_written;  // the model carries the same
  std::map<std::string, FileEntry> files;
  int64_t frames;  // of a whole stream, which ends then; 0: however many
};

// The state that says how many frames a stream has had: int64 [batch, 1].
constexpr const char* kCounter = "state.frames";
constexpr const char* kModelFile = "model.onnx";
// External data lie beside the model, in files that begin with its name and a dot.
bool is_weights(std::string_view file);

// Its form is that of exporter/bundle/manifest.schema.json; what a schema cannot say of a signature is checked after it.
Result<Manifest> read_manifest(std::string_view text);

}  // namespace temport::internal
