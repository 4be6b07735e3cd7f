// Constants of a loaded library on huge pages: what every run reads whole waits for fewer addresses to be translated.
#pragma once

#include <cstddef>

namespace temport::internal {

// Bytes below which nothing is gained: so much is translated by what processors remember.
constexpr size_t kLeastForHugePages = size_t{4} << 20;

// Puts the whole huge pages of memory that is only read onto such pages, at the same addresses. Returns how many bytes that
// were; 0 where the system has none to give, and then all is as it was.
size_t move_to_huge_pages(const void* memory, size_t bytes);

}  // namespace temport::internal
