// Random problems through the kernels of this processor, without ONNX Runtime, against the definition in double.
//
// Sanitizers see every load and store here, and the threads start their tasks in order as the op glue does. Built with
// -fsanitize=fuzzer the bytes come from libFuzzer; otherwise main() draws them: check_kernels [problems] [seed].
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check_problem.h"
#include "dispatch.h"
#include "linear_states.h"

namespace {

using namespace temport;

struct Data {
  std::vector<float> q, k, v, y;
  std::vector<unsigned char> mask;
};

// Row t of head h: weights over the keys of the rule, then `value(weights)`.
std::vector<double> softmax_row(const AttentionProblem& p, const Data& d, int64_t b, int64_t h, int64_t t) {
  std::vector<double> row(static_cast<size_t>(p.value_dim), 0.0), score;
  const int64_t g = h / (p.heads / p.kv_heads), S = p.rule.keys, D = p.dim;
  double top = -__builtin_inf(), sum = 0;
  std::vector<int64_t> keys;
  for (int64_t j = p.rule.lo(t); j < p.rule.hi(t); ++j) {
    if (p.key_mask != nullptr && !p.key_mask[b * S + j]) continue;
    double s = 0;
    for (int64_t i = 0; i < D; ++i)
      s += double(d.q[size_t(((b * p.length + t) * p.heads + h) * D + i)]) *
           double(d.k[size_t(((b * S + j) * p.kv_heads + g) * D + i)]);
    score.push_back(s * double(p.scale));
    keys.push_back(j);
    top = std::fmax(top, score.back());
  }
  for (double& s : score) sum += s = std::exp(s - top);
  for (size_t n = 0; n < keys.size(); ++n)
    for (int64_t i = 0; i < p.value_dim; ++i)
      row[size_t(i)] += score[n] / sum * double(d.v[size_t(((b * S + keys[n]) * p.kv_heads + g) * p.value_dim + i)]);
  return row;
}

double phi(double x, bool elu1) { return !elu1 ? x : x > 0 ? x + 1 : std::exp(x); }

void add_linear(const BlockLinearProblem& p, const Data& d, int64_t b, int64_t h, int64_t t, std::vector<double>& row) {
  const AttentionProblem& a = p.attention;
  const int64_t start = a.rule.lo(t);
  if (start == 0) return;
  std::vector<double> sum(row.size(), 0.0);
  double total = double(p.eps);
  for (int64_t j = 0; j < start; ++j) {
    double s = 0;
    for (int64_t i = 0; i < a.dim; ++i)
      s += phi(double(d.q[size_t(((b * a.length + t) * a.heads + h) * a.dim + i)]), p.elu1) *
           phi(double(d.k[size_t(((b * a.length + j) * a.heads + h) * a.dim + i)]), p.elu1);
    total += s;
    for (size_t i = 0; i < row.size(); ++i)
      sum[i] += s * double(d.v[size_t((b * a.length + j) * a.heads + h) * row.size() + i]);
  }
  for (size_t i = 0; i < row.size(); ++i) row[i] += sum[i] / (p.divide ? total : 1.0);
}

void compare(const AttentionProblem& p, const Data& d, double growth,
             const std::function<std::vector<double>(int64_t, int64_t, int64_t)>& truth, const char* op) {
  for (int64_t b = 0; b < p.batch; ++b)
    for (int64_t h = 0; h < p.heads; ++h)
      for (int64_t t = 0; t < p.length; ++t) {
        const std::vector<double> row = truth(b, h, t);
        for (size_t i = 0; i < row.size(); ++i) {
          const double got = double(d.y[size_t((b * p.length + t) * p.heads + h) * row.size() + i]);
          if (std::fabs(got - row[i]) <= growth * 1e-5 * (1 + std::fabs(row[i]))) continue;
          std::fprintf(stderr,
                       "%s: b %d h %d t %d: %.9g, not %.9g (T %d S %d H %d Hkv %d D %d Dv %d window %d block %d)\n", op,
                       int(b), int(h), int(t), got, row[i], int(p.length), int(p.rule.keys), int(p.heads),
                       int(p.kv_heads), int(p.dim), int(p.value_dim), int(p.rule.window), int(p.rule.block));
          std::abort();
        }
      }
}

void check(Bytes bytes) {
  static std::string error;
  static const Kernels* kernels = choose_kernels(error);
  if (kernels == nullptr) {
    std::fprintf(stderr, "%s\n", error.c_str());
    std::abort();
  }
  const int64_t op = bytes.below(8);
  if (op == 2) return check_dense(*kernels, bytes);
  if (op == 3) return check_recurrence(*kernels, bytes);
  if (op == 4) return check_step_turns(bytes);
  if (op == 5) return check_step(*kernels, bytes);
  if (op == 6) return check_layer_norm(*kernels, bytes);
  if (op == 7) return check_moving_average(*kernels, bytes);
  const bool linear = op == 1;
  BlockLinearProblem p;
  AttentionProblem& a = p.attention;
  a.batch = 1 + bytes.below(2);
  a.kv_heads = 1 + bytes.below(3);
  a.heads = a.kv_heads * (linear ? 1 : 1 + bytes.below(2));
  a.length = bytes.below(300);
  a.rule.keys = linear ? a.length : bytes.below(400);
  a.dim = 1 + bytes.below(40);
  a.value_dim = 1 + bytes.below(80);
  a.scale = float(bytes.below(5)) - 1.0f;
  p.divide = bytes.below(2) == 1;
  p.elu1 = bytes.below(2) == 1;
  if (linear) {
    a.rule.causal = true;
    a.rule.block = 1 + bytes.below(320);
  } else {
    a.rule.causal = bytes.below(2) == 1;
    a.rule.window = bytes.below(2) == 1 ? bytes.below(420) : 0;
    a.rule.offset = bytes.below(2) == 1 ? bytes.below(500) : a.rule.keys - a.length;
  }
  const bool masked = !linear && bytes.below(2) == 1;
  const int threads = 1 + int(bytes.below(3));
  a.workers = 1 + bytes.below(3);
  std::mt19937 random(static_cast<unsigned>(bytes.below(65536)));

  const float lowest = linear && p.divide && !p.elu1 ? 0.1f : -1.0f;  // keeps the denominator away from 0
  Data d;
  d.q = draw(a.batch * a.length * a.heads * a.dim, random, lowest);
  d.k = draw(a.batch * a.rule.keys * a.kv_heads * a.dim, random, lowest);
  d.v = draw(a.batch * a.rule.keys * a.kv_heads * a.value_dim, random, -1.0f);
  if (!linear) draw_products(bytes, random, d.q, d.k);
  d.y.assign(size_t(a.batch * a.length * a.heads * a.value_dim), __builtin_nanf(""));
  d.mask.resize(size_t(a.batch * a.rule.keys));
  for (unsigned char& m : d.mask) m = random() % 3 != 0;
  a.q = {d.q.data(), a.heads * a.dim, a.heads * a.dim * a.length};
  a.k = {d.k.data(), a.kv_heads * a.dim, a.kv_heads * a.dim * a.rule.keys};
  a.v = {d.v.data(), a.kv_heads * a.value_dim, a.kv_heads * a.value_dim * a.rule.keys};
  a.y = d.y.data();
  if (masked) a.key_mask = d.mask.data();

  if (!linear) {
    kernels->plan_attention(a);
    run(a.tasks, a.scratch_floats, threads,
        [&](int64_t task, float* scratch) { kernels->run_attention(a, task, scratch); });
    compare(a, d, 1, [&](int64_t b, int64_t h, int64_t t) { return softmax_row(a, d, b, h, t); }, "attention");
    return;
  }
  kernels->plan_block_linear(p);
  const LinearStates states(p);
  p.wait = [](int) { std::this_thread::yield(); };
  run(a.tasks, a.scratch_floats, threads,
      [&](int64_t task, float* scratch) { kernels->run_block_linear(p, task, scratch); });
  // Without the division the sums are of up to 300 products of dim terms.
  compare(a, d, p.divide ? 4 : 20,
          [&](int64_t b, int64_t h, int64_t t) {
            std::vector<double> row = softmax_row(a, d, b, h, t);
            add_linear(p, d, b, h, t, row);
            return row;
          },
          "block-linear");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  check({data, size});
  return 0;
}

#ifndef TEMPORT_FUZZER
int main(int argc, char** argv) {
  const int problems = argc > 1 ? std::atoi(argv[1]) : 50;
  std::mt19937 random(argc > 2 ? unsigned(std::atoi(argv[2])) : 0);
  for (int i = 0; i < problems; ++i) {
    uint8_t bytes[64];
    for (uint8_t& b : bytes) b = uint8_t(random());
    check({bytes, sizeof bytes});
  }
  std::printf("%d problems agree\n", problems);
}
#endif
