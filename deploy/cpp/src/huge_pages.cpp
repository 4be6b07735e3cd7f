#include "huge_pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>

namespace temport::internal {
namespace {

// Bytes of a huge page; 0 where the system gives none to who asks.
uintptr_t page_size() {
  const std::string settings = "/sys/kernel/mm/transparent_hugepage/";
  std::string enabled;
  uintptr_t bytes = 0;
  std::getline(std::ifstream(settings + "enabled"), enabled);
  if (enabled.empty() || enabled.find("[never]") != std::string::npos) return 0;
  std::ifstream(settings + "hpage_pmd_size") >> bytes;
  return bytes;
}

}  // namespace

size_t move_to_huge_pages(const void* memory, size_t bytes) {
  const uintptr_t page = page_size(), address = reinterpret_cast<uintptr_t>(memory);
  if (page == 0) return 0;
  const uintptr_t begin = (address + page - 1) / page * page, end = (address + bytes) / page * page;
  if (end <= begin) return 0;
  const size_t length = end - begin;
  void* const room = mmap(nullptr, length + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) return 0;
  const uintptr_t first = reinterpret_cast<uintptr_t>(room), place = (first + page - 1) / page * page;
  void *const there = reinterpret_cast<void*>(place), *const here = reinterpret_cast<void*>(begin);
  madvise(there, length, MADV_HUGEPAGE);
  std::memcpy(there, here, length);
  mprotect(there, length, PROT_READ);
  const bool moved = mremap(there, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, here) == here;
  const auto give_back = [](uintptr_t at, size_t size) {
    if (size != 0) munmap(reinterpret_cast<void*>(at), size);
  };
  give_back(first, place - first);
  give_back(place, moved ? 0 : length);
  give_back(place + length, first + page - place);
  return moved ? length : 0;
}

}  // namespace temport::internal
