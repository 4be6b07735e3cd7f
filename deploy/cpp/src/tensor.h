// Element types, signatures and arrays, as every reader and runtime here sees them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "temport/temport.h"

namespace temport::internal {

using Bytes = std::vector<uint8_t>;

constexpr size_t kMaxRank = 8;
// More elements than any tensor here has, few enough that no byte count overflows 64 bits.
constexpr int64_t kMaxElements = int64_t{1} << 40;

size_t element_size(temport_dtype dtype);
const char* dtype_name(temport_dtype dtype);
// As ONNX numbers element types (TensorProto.DataType).
int32_t onnx_type(temport_dtype dtype);
std::optional<temport_dtype> dtype_from_name(std::string_view name);

// The product of `shape`, or nothing where a size is negative or the product exceeds kMaxElements.
std::optional<int64_t> element_count(const std::vector<int64_t>& shape);
std::string shape_text(const std::vector<int64_t>& shape);

struct Axis {
  std::string name;  // empty: fixed size
  int64_t min, opt, max;
  bool operator==(const Axis& other) const {
    return name == other.name && min == other.min && opt == other.opt && max == other.max;
  }
};

struct TensorSpec {
  std::string name;
  temport_dtype dtype;
  std::vector<Axis> axes;
  bool operator==(const TensorSpec& other) const {
    return name == other.name && dtype == other.dtype && axes == other.axes;
  }
};

// What a step model carries from frame to frame: the output that is an input of the next frame. Both have the same type
// and axes, and their first axis is that of the frame: one entry per independent stream.
struct StateSpec {
  size_t input, output;  // positions in the signature
  // One node reads the input and the same node writes the output, in the same memory if it is given so; run twice on
  // the same frame it gives the same. (Native kernels do that; the op's function body needs two buffers.)
  bool in_place = false;
  bool operator==(const StateSpec& other) const {
    return input == other.input && output == other.output && in_place == other.in_place;
  }
};

struct Signature {
  std::vector<TensorSpec> inputs, outputs;
  std::vector<StateSpec> states;  // empty where the model is not a step model
  bool operator==(const Signature& other) const {
    return inputs == other.inputs && outputs == other.outputs && states == other.states;
  }
};

// Which of the states the tensor at `position` is, on the side that `side` names; nothing where it is none.
std::optional<size_t> state_at(const Signature& signature, size_t StateSpec::* side, size_t position);

// An array inside bytes that somebody else owns.
struct ArrayView {
  temport_dtype dtype;
  std::vector<int64_t> shape;
  const uint8_t* data;
  size_t bytes;
};

}  // namespace temport::internal
