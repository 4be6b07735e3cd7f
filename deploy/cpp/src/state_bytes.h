// The saved state of one stream: bytes that another process with the same model can go on from.
//
//   offset 0   "TMPSTAT1"
//          8   identity of the model (SHA-256 over the manifest's hashes, as text, of model.onnx and its external data)
//         40   the stream's row of every state tensor, in the order of the signature, little-endian, nothing between
//       -32    SHA-256 of everything before it
//
// The digest shows that nothing was damaged, not who wrote it.
#pragma once

#include <vector>

#include "sha256.h"
#include "temport/result.hpp"
#include "tensor.h"

namespace temport::internal {

// One entry of a state tensor, in the memory of a stream.
struct StateRow {
  temport_dtype dtype;
  uint8_t* data;
  size_t bytes;
};

size_t state_size(const std::vector<StateRow>& rows);

// `to` holds exactly `state_size(rows)` bytes.
void write_state(const Digest& model, const std::vector<StateRow>& rows, uint8_t* to);

// Refused, with every row as it was: another length, another model, a damaged file, a bool that is neither 0 nor 1.
Result<void> read_state(const Digest& model, const uint8_t* bytes, size_t size, const std::vector<StateRow>& rows);

}  // namespace temport::internal
