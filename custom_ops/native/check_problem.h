// What the kernel checks share: numbers out of bytes, random tensors, and threads that take tasks in order.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "scratch.h"

namespace temport {

// Small numbers out of the bytes; 0 when they are used up.
struct Bytes {
  const uint8_t* next;
  size_t left;
  int64_t below(int64_t bound) {
    if (left < 2) return 0;
    const int64_t value = next[0] | next[1] << 8;
    next += 2;
    left -= 2;
    return value % bound;
  }
};

inline std::vector<float> draw(int64_t n, std::mt19937& random, float lowest) {
  std::vector<float> x(static_cast<size_t>(n));
  for (float& e : x) e = lowest + (1 - lowest) * float(random() >> 8) * 0x1p-24f;
  return x;
}

// Queries and keys of a problem. Now and then they are whole numbers times a power of two, whose products are exact in
// float32 and whose scores reach to 1e38.
inline void draw_products(Bytes& bytes, std::mt19937& random, std::vector<float>& q, std::vector<float>& k) {
  if (bytes.below(4) != 0) return;
  const float power = float(uint64_t(1) << bytes.below(58));
  for (std::vector<float>* x : {&q, &k})
    for (float& e : *x) e = float(int(random() % 7) - 3) * power;
}

// Starts the tasks in the order of their index, each with a scratch buffer, as the op glue does.
inline void run(int64_t tasks, size_t scratch_floats, int threads, const std::function<void(int64_t, float*)>& body) {
  static ScratchPool pool;
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t task; (task = next.fetch_add(1)) < tasks;) {
      const ScratchPool::Loan scratch(pool, scratch_floats);
      body(task, scratch.data());
    }
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  for (std::thread& t : others) t.join();
}

// The dense and recurrent layers, normalisations, averages and the order of a recurrence's steps (check_dense.cc), and a
// frame of a stream (check_step.cc); they abort where something is wrong.
struct Kernels;
void check_step(const Kernels& kernels, Bytes& bytes);
void check_step_turns(Bytes& bytes);
void check_dense(const Kernels& kernels, Bytes& bytes);
void check_recurrence(const Kernels& kernels, Bytes& bytes);
void check_layer_norm(const Kernels& kernels, Bytes& bytes);
void check_moving_average(const Kernels& kernels, Bytes& bytes);

}  // namespace temport
