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

struct Signature {
  std::vector<TensorSpec> inputs, outputs;
  bool operator==(const Signature& other) const { return inputs == other.inputs && outputs == other.outputs; }
};

// An array inside bytes that somebody else owns.
struct ArrayView {
  temport_dtype dtype;
  std::vector<int64_t> shape;
  const uint8_t* data;
  size_t bytes;
};

}  // namespace temport::internal
