#include "host_noise.h"

#include <algorithm>
#include <array>
#include <chrono>

namespace temport::runner {
namespace {

constexpr uint64_t kTrialSteps = 20000;

// Microseconds of `steps` steps of a generator (xorshift64), which no compiler turns into a shorter formula.
double time_steps(uint64_t steps) {
  using Clock = std::chrono::steady_clock;
  static volatile uint64_t result = 1;  // read before and written after, so that the work between is not left out
  const auto before = Clock::now();
  uint64_t x = result | 1;  // 0 would stay 0
  for (uint64_t i = 0; i < steps; ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
  }
  result = x;
  return std::chrono::duration<double, std::micro>(Clock::now() - before).count();
}

}  // namespace

Arithmetic::Arithmetic(double microseconds) {
  std::array<double, 15> trials;
  for (double& trial : trials) trial = time_steps(kTrialSteps);
  std::nth_element(trials.begin(), trials.begin() + trials.size() / 2, trials.end());
  const double each = std::max(trials[trials.size() / 2], 1e-3) / static_cast<double>(kTrialSteps);
  steps_ = static_cast<uint64_t>(std::max(1.0, microseconds / each));
}

double Arithmetic::time() const { return time_steps(steps_); }

}  // namespace temport::runner
