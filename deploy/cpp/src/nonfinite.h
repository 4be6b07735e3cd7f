// NaN and infinity in the memory of a tensor, found by their bits.
#pragma once

#include <cstddef>
#include <optional>

#include "tensor.h"

namespace temport::internal {

struct NonFinite {
  size_t element;
  bool is_nan;  // else an infinity
};

// The first element that is no finite number; none in integers and bools.
std::optional<NonFinite> first_nonfinite(temport_dtype dtype, const void* data, size_t bytes);

}  // namespace temport::internal
