// How the time of a kernel divides into its stages: clock reads that only the build preset `stages` compiles in, for
// stage_bench.
#pragma once

#include <stdint.h>

namespace temport {

enum Stage { kPackStage, kScoreStage, kSoftmaxStage, kWeighStage, kStateStage, kInterStage, kStoreStage, kStages };

#ifdef TEMPORT_STAGES

struct StageClock {
  bool on = false;  // off: kernels run at their own speed
  uint64_t ticks[kStages] = {};
};
extern StageClock stage_clock;

inline uint64_t stage_now() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  uint64_t t;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
  return t;
#endif
}

// Adds its lifetime to a stage.
class StageTimer {
 public:
  explicit StageTimer(Stage stage) : stage_(stage), start_(stage_clock.on ? stage_now() : 0) {}
  ~StageTimer() {
    if (stage_clock.on) stage_clock.ticks[stage_] += stage_now() - start_;
  }
  StageTimer(const StageTimer&) = delete;

 private:
  Stage stage_;
  uint64_t start_;
};

#else

struct StageTimer {
  explicit StageTimer(Stage) {}
};

#endif

}  // namespace temport
