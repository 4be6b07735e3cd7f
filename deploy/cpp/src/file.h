// Reading files whose size is known or bounded beforehand.
#pragma once

#include <string>

#include "sha256.h"
#include "temport/result.hpp"
#include "tensor.h"

namespace temport::internal {

// A bundle holds its files itself: a symbolic link in their place could show another file at every reading.
enum class Links { kFollow, kRefuse };

// The whole file, and where asked for its digest, taken while it is read; refused where it is not a regular file, cannot
// be read or is larger than `limit` bytes.
Result<Bytes> read_file(const std::string& path, uint64_t limit, Links links, Sha256* digest = nullptr);
// The size of the file, and its digest, without holding it.
Result<uint64_t> hash_file(const std::string& path, uint64_t limit, Links links, Sha256& digest);
std::string file_name(const std::string& path);

}  // namespace temport::internal
