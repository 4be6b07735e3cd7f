#include "huge_pages.h"

#include <doctest/doctest.h>
#include <sys/mman.h>

#include <algorithm>
#include <numeric>
#include <vector>

using temport::internal::move_to_huge_pages;

TEST_CASE("constants on huge pages are the same at the same addresses") {
  constexpr size_t kBytes = (size_t{6} << 20) + 4096;
  std::vector<unsigned char> content(kBytes);
  std::iota(content.begin(), content.end(), static_cast<unsigned char>(1));
  void* const memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  std::copy(content.begin(), content.end(), static_cast<unsigned char*>(memory));
  mprotect(memory, kBytes, PROT_READ);
  const size_t moved = move_to_huge_pages(memory, kBytes);
  CHECK(moved % (size_t{2} << 20) == 0);
  CHECK(moved <= kBytes);
  CHECK(std::equal(content.begin(), content.end(), static_cast<const unsigned char*>(memory)));
  CHECK(move_to_huge_pages(memory, 4096) == 0);
  munmap(memory, kBytes);
}
