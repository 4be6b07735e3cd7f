// A stand-in for a native engine: the step model of tiny_bundle.h, computed by the table of temport_engine.h. Its state has a
// layout of its own: rows of the cache turned, the sum with its sign changed. What it says of itself stands in words that
// tests write over in the file (tiny_engine.h).
#include <cstring>

#include "engine/temport_engine.h"

namespace {

constexpr int64_t kMost = 4;  // of the batch
struct Memory {
  int64_t frames[kMost];
  float negative_sum[3 * kMost], last[kMost][3][2];
};

const char kModel[] = "sixty-four-digits-of-the-model-that-this-engine-was-compiled-from";
const char kIsa[] = "portable", kTemport[] = TEMPORT_VERSION;
const volatile char kAbi[] = "stand-in abi 2", kFactor[] = "stand-in factor 1";

void reset(void* memory) { std::memset(memory, 0, sizeof(Memory)); }

temport_engine_code run(void* memory, const int64_t* sizes, const void* const* inputs, void* const* outputs, uint32_t flags) {
  Memory& m = *static_cast<Memory*>(memory);
  const auto* frame = static_cast<const float*>(inputs[0]);
  auto* output = static_cast<float*>(outputs[0]);
  if (sizes[0] < 1 || sizes[0] > kMost || frame[0] == 13.0f) return TEMPORT_ENGINE_SIZE;  // thirteen is not run
  if (flags != TEMPORT_ENGINE_PASS_NONFINITE) return TEMPORT_ENGINE_NONFINITE;
  for (int64_t row = 0; row < sizes[0]; ++row) {
    const int64_t before = m.frames[row]++;
    for (int64_t i = 0; i < 3; ++i) {
      float* last = m.last[row][i];
      float& sum = m.negative_sum[3 * row + i];
      last[before % 2] = frame[3 * row + i];
      sum -= frame[3 * row + i];
      output[3 * row + i] = static_cast<float>(kFactor[16] - '0') * (-sum + 100 * (last[0] + (before > 0 ? last[1] : 0)));
    }
  }
  return TEMPORT_ENGINE_OK;
}

void load(void* memory, const int64_t* sizes, const void* const* states) {
  Memory& m = *static_cast<Memory*>(memory);
  std::memcpy(m.frames, states[0], static_cast<size_t>(sizes[0]) * sizeof(int64_t));
  for (int64_t i = 0; i < 3 * sizes[0]; ++i) {
    m.negative_sum[i] = -static_cast<const float*>(states[1])[i];
    for (int64_t t = 0; t < 2; ++t) m.last[i / 3][i % 3][t] = static_cast<const float*>(states[2])[6 * (i / 3) + 3 * t + i % 3];
  }
}

void store(const void* memory, const int64_t* sizes, void* const* states) {
  const Memory& m = *static_cast<const Memory*>(memory);
  std::memcpy(states[0], m.frames, static_cast<size_t>(sizes[0]) * sizeof(int64_t));
  for (int64_t i = 0; i < 3 * sizes[0]; ++i) {
    static_cast<float*>(states[1])[i] = 0 - m.negative_sum[i];
    for (int64_t t = 0; t < 2; ++t) static_cast<float*>(states[2])[6 * (i / 3) + 3 * t + i % 3] = m.last[i / 3][i % 3][t];
  }
}

const temport_engine_axis kAxis[] = {{"batch", 1, kMost}};
const int64_t kFrame[] = {kMost, 1, 3}, kCount[] = {kMost, 1}, kRow[] = {kMost, 3}, kCache[] = {kMost, 2, 3};
const int32_t kOpen[] = {0, -1, -1};
const temport_engine_tensor kInput[] = {{"frame", 1, 3, kFrame, kOpen}}, kOutput[] = {{"output", 1, 2, kRow, kOpen}},
                            kState[] = {{"state.frames", 7, 2, kCount, kOpen},
                                        {"state.sum", 1, 2, kRow, kOpen},
                                        {"state.last", 1, 3, kCache, kOpen}};

const temport_engine kEngine = {static_cast<uint32_t>(kAbi[13] - '0'), kTemport, kModel, kIsa, sizeof(Memory), 64,
                                sizeof(Memory), 0, 1, 1, 1, 3, kAxis, kInput, kOutput, kState, reset, run, load, store,
                                nullptr, nullptr, nullptr};

}  // namespace

extern "C" __attribute__((visibility("default"))) const temport_engine* temport_engine_of_this_library(void) {
  return &kEngine;
}
