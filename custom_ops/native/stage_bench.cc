// Where the time of the kernels goes, without ONNX Runtime: per case the share of the measured peak and the share of
// every stage of the kernel.
//
//   cmake --preset stages && cmake --build --preset stages
//   ../../build/native/stages/stage_bench [seconds per case] [case]
//
// One thread, heads 4, dim 64, float32, packed QKV. Every figure is (nearly) the least of many repetitions, and the
// peak is measured between them, so other work on the machine disturbs ratios little. The share of peak is taken from
// CPU time with the stage clocks off; the clocks themselves lengthen the shortest stages a little. The last column is
// how many times faster two threads are, each on a core of its own: CPU time of one over that of the busier of two.
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "dispatch.h"
#include "linear_states.h"
#include "scratch.h"
#include "stages.h"

namespace temport {
StageClock stage_clock;
}

namespace {

using namespace temport;

constexpr const char* kStageNames[kStages] = {"packing", "scores", "softmax", "weighted", "state", "phi(q) S", "store"};
constexpr int64_t kHeads = 4, kDim = 64;

struct Case {
  const char* name;
  int64_t length, window, block;

  // As exporter/bench counts them: products of excluded keys are not useful.
  double flops() const {
    double pairs = 0;
    for (int64_t t = 0; t < length; ++t)
      pairs += double(block > 0 ? t % block + 1 : window > 0 ? std::min(t + 1, window) : t + 1);
    double flops = 4.0 * kHeads * kDim * pairs;
    if (block > 0)
      flops += 2.0 * kHeads * kDim * kDim * double(std::max<int64_t>(0, length - block) + (length - 1) / block * block);
    return flops;
  }
};

constexpr Case kCases[] = {
    {"window 60", 60, 60, 0},   {"window 60", 512, 60, 0}, {"window 60", 2048, 60, 0},
    {"window 60", 8192, 60, 0}, {"causal", 2048, 0, 0},    {"block-linear 64", 2048, 0, 64},
};

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// One problem with its buffers; run() is one call of the op.
class Call {
 public:
  Call(const Case& c, const Kernels& kernels)
      : kernels_(kernels),
        qkv_(size_t(c.length * 3 * kHeads * kDim)),
        y_(size_t(c.length * kHeads * kDim)) {
    std::mt19937 random(0);
    std::normal_distribution<float> normal;
    for (float& x : qkv_) x = normal(random);
    AttentionProblem& a = p_.attention;
    a.batch = 1;
    a.heads = a.kv_heads = kHeads;
    a.length = a.rule.keys = c.length;
    a.dim = a.value_dim = kDim;
    a.scale = 0.125f;
    a.workers = std::max(1u, std::thread::hardware_concurrency());  // tiles as in a session
    a.rule.causal = true;
    a.rule.window = c.window;
    a.rule.block = c.block;
    const int64_t row = 3 * kHeads * kDim;
    a.q = {qkv_.data(), row, row * c.length};
    a.k = {qkv_.data() + kHeads * kDim, row, row * c.length};
    a.v = {qkv_.data() + 2 * kHeads * kDim, row, row * c.length};
    a.y = y_.data();
    p_.elu1 = true;
    p_.wait = [](int) { std::this_thread::yield(); };
  }

  void run() {
    BlockLinearProblem p = p_;
    plan(p);
    const LinearStates states(p);
    tasks(p, 0, 1);
  }

  // The tasks dealt out to two threads in turn. Returns the CPU seconds of the one that worked longer: the time of the
  // call where each has a core.
  double run_on_two_threads() {
    BlockLinearProblem p = p_;
    plan(p);
    const LinearStates states(p);
    std::atomic<int> missing{2};
    double seconds[2];
    const auto work = [&](int thread) {
      for (--missing; missing > 0;) std::this_thread::yield();
      const double start = cpu_seconds();
      tasks(p, thread, 2);
      seconds[thread] = cpu_seconds() - start;
    };
    std::thread other(work, 1);
    work(0);
    other.join();
    return std::max(seconds[0], seconds[1]);
  }

 private:
  void plan(BlockLinearProblem& p) const {
    p.attention.rule.block > 0 ? kernels_.plan_block_linear(p) : kernels_.plan_attention(p.attention);
  }

  void tasks(const BlockLinearProblem& p, int64_t first, int64_t step) {
    const AttentionProblem& a = p.attention;
    const ScratchPool::Loan scratch(pool_, a.scratch_floats);
    for (int64_t task = first; task < a.tasks; task += step)
      if (a.rule.block > 0)
        kernels_.run_block_linear(p, task, scratch.data());
      else
        kernels_.run_attention(a, task, scratch.data());
  }

  const Kernels& kernels_;
  std::vector<float> qkv_, y_;
  BlockLinearProblem p_;
  ScratchPool pool_;
};

// The least and the greatest are sometimes errors of a virtual machine's clock.
double quantile(std::vector<double>& x, double share) {
  const auto at = x.begin() + std::ptrdiff_t(share * double(x.size() - 1) + 0.5);
  std::nth_element(x.begin(), at, x.end());
  return *at;
}

void bench(const Case& c, const Kernels& kernels, double seconds) {
  Call call(c, kernels);
  const int calls = int(std::max(1.0, 2e7 / c.flops()));  // a few hundred microseconds, well above the clock's own cost
  std::vector<double> times, pairs, peaks, stages[kStages + 1];  // the last: outside every stage
  for (double spent = 0; spent < seconds;) {
    const double start = cpu_seconds();
    const double flops = kernels.spend_flops(100000);
    const double before = cpu_seconds();
    peaks.push_back(flops / (before - start));
    for (int i = 0; i < calls; ++i) call.run();
    const double after = cpu_seconds();
    times.push_back((after - before) / calls);
    stage_clock = {true, {}};
    const uint64_t from = stage_now();
    for (int i = 0; i < calls; ++i) call.run();
    uint64_t rest = stage_now() - from;
    stage_clock.on = false;
    for (int i = 0; i < kStages; ++i) {
      stages[i].push_back(double(stage_clock.ticks[i]));
      rest -= stage_clock.ticks[i];
    }
    stages[kStages].push_back(double(rest));
    spent += cpu_seconds() - start;
  }
  for (size_t i = 0; i < times.size(); ++i) pairs.push_back(call.run_on_two_threads());
  const double least = quantile(times, 0.03), peak = quantile(peaks, 0.97);
  std::printf("%-16s %6d %9.1f %6.1f %%", c.name, int(c.length), least * 1e6, 100 * c.flops() / least / peak);
  double each[kStages + 1], whole = 0;
  for (int i = 0; i <= kStages; ++i) whole += each[i] = quantile(stages[i], 0.03);
  for (double ticks : each) std::printf(" %8.1f %%", 100 * ticks / whole);
  std::printf("     %.2f  (peak %.1f GFLOP/s)\n", least / quantile(pairs, 0.03), peak * 1e-9);
}

}  // namespace

int main(int argc, char** argv) {
  std::string error;
  const Kernels* kernels = choose_kernels(error);
  if (kernels == nullptr) {
    std::fprintf(stderr, "%s\n", error.c_str());
    return 2;
  }
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1.0;
  if (!(seconds > 0)) {
    std::fprintf(stderr, "'%s' is not a number of seconds above 0\n", argv[1]);
    return 2;
  }
  std::printf("%s, one thread; stages as shares of the time\n%-16s %6s %9s %8s", kernels->isa, "case", "length", "us",
              "of peak");
  for (const char* name : kStageNames) std::printf(" %10s", name);
  std::printf(" %10s  2 threads\n", "rest");
  for (const Case& c : kCases)
    if (argc < 3 || std::string(c.name).find(argv[2]) == 0) bench(c, *kernels, seconds);
}
