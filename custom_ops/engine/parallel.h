// Layers that are shared among the threads of a caller. What a part computes does not depend on how many there are, so the
// outputs are the same bits.
#pragma once

#include "../native/simd.h"
#include "float_mode.h"
#include "temport_engine.h"

namespace temport::TEMPORT_ISA {

template <int Threads>
struct Caller {
  static constexpr int threads = Threads;
  const temport_parallel_for* given;  // null: the parts are computed one after the other

  // task(part, first, last): the parts of [0, n), of one size up to one.
  template <typename Task>
  void share(int64_t n, const Task& task) const {
    struct Shared {
      const Task& task;
      int64_t n;
    } shared{task, n};
    void (*const part)(void*, uint32_t) = [](void* argument, uint32_t i) {
      const FloatMode guard;
      const auto& of = *static_cast<const Shared*>(argument);
      of.task(int64_t{i}, of.n * i / Threads, of.n * (i + 1) / Threads);
    };
    if (given != nullptr) return given->call(given->context, Threads, part, &shared);
    for (uint32_t i = 0; i < Threads; ++i) part(&shared, i);
  }
};

}  // namespace temport::TEMPORT_ISA
