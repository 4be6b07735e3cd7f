#include <cstdlib>

#include "npz.h"

using namespace temport::internal;

// Every array lies inside the archive, and together they hold no more bytes than the archive has.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto arrays = read_npz(data, size);
  if (!arrays) return 0;
  size_t total = 0;
  for (const auto& [name, array] : *arrays) {
    if (array.data < data || array.data + array.bytes > data + size) std::abort();
    total += array.bytes;
  }
  if (total > size) std::abort();
  return 0;
}
