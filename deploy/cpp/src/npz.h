// The .npz archive: a zip of stored (uncompressed) .npy members, read within bounds.
#pragma once

#include <map>
#include <string>

#include "temport/result.hpp"
#include "tensor.h"

namespace temport::internal {

// Member name (without ".npy") -> array; the views point into `bytes`. Refused: compression, encryption, several
// disks, more than 65535 members, repeated names, and members that overlap or lie outside the archive. The CRC is not
// looked at: a bundle's archive is covered by the SHA-256 in its manifest.
Result<std::map<std::string, ArrayView>> read_npz(const uint8_t* bytes, size_t size);

}  // namespace temport::internal
