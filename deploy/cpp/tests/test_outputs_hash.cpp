#include <doctest/doctest.h>

#include "../runner/compare.h"

using temport::internal::ArrayView;

TEST_CASE("the hash of outputs is that of exporter/parity/replay.py, and every NaN counts as the same one") {
  const uint32_t singles[] = {0x3f800000, 0xffc12345, 0x7fc00000, 0xff800000};
  const uint16_t halves[] = {0xfe01, 0x4000};
  const int64_t whole[] = {7};
  const auto view = [](temport_dtype dtype, const void* data, size_t bytes) {
    return ArrayView{dtype, {}, static_cast<const uint8_t*>(data), bytes};
  };
  // of [1, nan, nan, -inf] in float32, [nan, 2] in float16 and [7] in int64
  CHECK(temport::runner::outputs_sha256({view(TEMPORT_FLOAT32, singles, sizeof singles),
                                         view(TEMPORT_FLOAT16, halves, sizeof halves),
                                         view(TEMPORT_INT64, whole, sizeof whole)}) ==
        "c77c4b08875b025096be43512130cc4430867214dcf001639d4d184657b65e8d");
}
