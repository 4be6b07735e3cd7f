// The nodes of our domains in an ONNX file, read without an ONNX library.
#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "temport/result.hpp"

namespace temport::internal {

// `body` is the place of the node's domain among those that tell the bodies of an op apart: 1 for `temport`, 2 for
// `temport.2`. `type` is ONNX's number of the element type of its first input, 0 where the file does not say it.
struct CustomNode {
  std::string op;
  int body, type;
};
constexpr int kNoBody = INT_MAX;  // `temport.` and something that is no such place

// Those of the main graph and of the graphs inside its nodes, in the order of the file. Refused where the bytes are not
// well formed.
Result<std::vector<CustomNode>> read_custom_nodes(const uint8_t* bytes, size_t size);

}  // namespace temport::internal
