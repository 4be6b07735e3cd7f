// Steps that depend on each other, each of several tasks that do not, worked off by as many threads as come.
//
// Which threads take part, and when, is for the runtime's pool to decide: one of them alone must get through, so nobody may
// wait for a task that no thread has begun. A thread therefore begins whatever task of the current step is free, the one it
// did last first (that part of the weights may still be in its cache), and waits only for tasks that others are at.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace temport {

class StepTurns {
 public:
  StepTurns(int64_t steps, int64_t tasks) : steps_(steps), begun_(static_cast<size_t>(tasks)) {}

  // Returns when every step is done; `body(step, task)` must not throw.
  template <typename Body>
  void work(int64_t own, const Body& body) {
    const int64_t tasks = static_cast<int64_t>(begun_.size());
    for (int64_t step = 0, latest = own; step < steps_; ++step) {
      for (int64_t i = 0, first = latest; i < tasks; ++i) {
        const int64_t task = (first + i) % tasks;
        int64_t expected = step;
        if (!begun_[static_cast<size_t>(task)].steps.compare_exchange_strong(expected, step + 1)) continue;
        body(step, latest = task);
        done_.fetch_add(1, std::memory_order_acq_rel);
      }
      for (int spins = 0; done_.load(std::memory_order_acquire) < (step + 1) * tasks; ++spins)
        if (spins > 4096) std::this_thread::yield();  // the thread waited for may share this core
    }
  }

 private:
  struct alignas(64) Begun {
    std::atomic<int64_t> steps{0};
  };
  const int64_t steps_;
  std::vector<Begun> begun_;
  std::atomic<int64_t> done_{0};
};

}  // namespace temport
