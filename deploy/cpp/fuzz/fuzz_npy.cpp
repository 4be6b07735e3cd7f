#include <cstdlib>

#include "npy.h"

using namespace temport::internal;

// Whatever is accepted has exactly the bytes its shape claims, and survives being written and read again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto array = read_npy(data, size);
  if (!array) return 0;
  const auto count = element_count(array->shape);
  if (!count || static_cast<size_t>(*count) * element_size(array->dtype) != array->bytes) std::abort();
  if (array->data + array->bytes != data + size) std::abort();
  const Bytes written = write_npy(*array);
  const auto again = read_npy(written.data(), written.size());
  if (!again || again->shape != array->shape || again->dtype != array->dtype) std::abort();
  return 0;
}
