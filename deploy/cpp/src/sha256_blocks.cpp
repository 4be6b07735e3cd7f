#include "sha256_blocks.h"

#define TEMPORT_ISA portable
#include "engine/sha256.h"
#undef TEMPORT_ISA

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__GNUC__) && !defined(__clang__)  // Clang spells the target differently by version
#define TEMPORT_ARM_SHA256
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

namespace temport::internal {
namespace {

#if defined(__x86_64__)

bool has_instructions() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1)) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

// Intel, "Intel SHA Extensions" (2013): the state lies in two registers as ABEF and CDGH; each sha256rnds2 makes two
// rounds, sha256msg1 and sha256msg2 the next four words of the schedule.
__attribute__((target("sha,sse4.1,ssse3"))) void blocks_of_processor(Sha256State& state, const uint8_t* blocks,
                                                                     size_t count) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);  // big-endian words
  const __m128i abcd = _mm_loadu_si128(reinterpret_cast<const __m128i*>(state.data()));
  const __m128i efgh = _mm_loadu_si128(reinterpret_cast<const __m128i*>(state.data() + 4));
  const __m128i cdab = _mm_shuffle_epi32(abcd, 0xb1), hgfe = _mm_shuffle_epi32(efgh, 0x1b);
  __m128i abef = _mm_alignr_epi8(cdab, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, cdab, 0xf0);
  for (; count > 0; --count, blocks += 64) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i w[4];
    for (int i = 0; i < 4; ++i)
      w[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks + 16 * i)), swap);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      __m128i& now = w[i % 4];
      if (i >= 4) {
        const __m128i& last = w[(i + 3) % 4];
        const __m128i seven_before = _mm_alignr_epi8(last, w[(i + 2) % 4], 4);
        now = _mm_add_epi32(_mm_sha256msg1_epu32(now, w[(i + 1) % 4]), seven_before);
        now = _mm_sha256msg2_epu32(now, last);
      }
      const __m128i added = _mm_add_epi32(now, _mm_load_si128(reinterpret_cast<const __m128i*>(portable::kSha256Round + 4 * i)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, added);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(added, 0x0e));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  const __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state.data()), _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state.data() + 4), _mm_alignr_epi8(dchg, feba, 8));
}

#elif defined(TEMPORT_ARM_SHA256)

bool has_instructions() { return ::getauxval(AT_HWCAP) & (1 << 6); }  // HWCAP_SHA2

// Arm ARM, C7.2: sha256h and sha256h2 make four rounds on ABCD and EFGH, sha256su0 and sha256su1 the schedule.
__attribute__((target("+crypto"))) void blocks_of_processor(Sha256State& state, const uint8_t* blocks, size_t count) {
  uint32x4_t abcd = vld1q_u32(state.data()), efgh = vld1q_u32(state.data() + 4);
  for (; count > 0; --count, blocks += 64) {
    const uint32x4_t abcd_before = abcd, efgh_before = efgh;
    uint32x4_t w[4];
    for (int i = 0; i < 4; ++i) w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks + 16 * i)));
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      uint32x4_t& now = w[i % 4];
      if (i >= 4) now = vsha256su1q_u32(vsha256su0q_u32(now, w[(i + 1) % 4]), w[(i + 2) % 4], w[(i + 3) % 4]);
      const uint32x4_t added = vaddq_u32(now, vld1q_u32(portable::kSha256Round + 4 * i)), abcd_old = abcd;
      abcd = vsha256hq_u32(abcd, efgh, added);
      efgh = vsha256h2q_u32(efgh, abcd_old, added);
    }
    abcd = vaddq_u32(abcd, abcd_before);
    efgh = vaddq_u32(efgh, efgh_before);
  }
  vst1q_u32(state.data(), abcd);
  vst1q_u32(state.data() + 4, efgh);
}

#else

bool has_instructions() { return false; }
void blocks_of_processor(Sha256State&, const uint8_t*, size_t) {}

#endif

}  // namespace

void sha256_blocks_plain(Sha256State& state, const uint8_t* blocks, size_t count) {
  for (; count > 0; --count, blocks += 64) portable::sha256_block(state.data(), blocks);
}

Sha256Blocks sha256_blocks_of_processor() {
  static const bool has = has_instructions();
  return has ? blocks_of_processor : nullptr;
}

}  // namespace temport::internal
