// The .npy array format, versions 1 to 3 (numpy.lib.format), read within bounds.
#pragma once

#include "temport/result.hpp"
#include "tensor.h"

namespace temport::internal {

// Reads one array from `bytes`; the view points into them. Refused: Fortran order, big-endian data, object arrays,
// more than kMaxRank dimensions, and any disagreement between the shape and the number of bytes present.
Result<ArrayView> read_npy(const uint8_t* bytes, size_t size);

// A version 1 file with a C-ordered little-endian array.
Bytes write_npy(const ArrayView& array);

}  // namespace temport::internal
