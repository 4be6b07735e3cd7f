// What the machine itself adds to a latency: other programs, interrupts, a hypervisor.
#pragma once

#include <cstdint>

namespace temport::runner {

// Work of a fixed length that leaves the caches and the memory alone: steps of arithmetic, each on the result of the one
// before, in one register. How much its times vary is how much the machine lets any work of that length vary.
class Arithmetic {
 public:
  // About as long as `microseconds`, by the median of a few trials.
  explicit Arithmetic(double microseconds);

  // Does it once; the microseconds that it took this time.
  double time() const;

 private:
  uint64_t steps_;
};

}  // namespace temport::runner
