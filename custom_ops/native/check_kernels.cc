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

// What the definition's time goes into. Sanitizers look at the kernels; here they would take nearly all of it.
#define UNSANITIZED __attribute__((no_sanitize("address", "thread", "undefined")))

template <class T>
UNSANITIZED double dot(const T* x, const T* y, int64_t n) {
  double sum = 0;
  for (const T* end = x + n; x < end; ++x, ++y) sum += double(*x) * double(*y);
  return sum;
}

UNSANITIZED void add(double* sum, double weight, const float* x, int64_t n) {
  for (const float* end = x + n; x < end; ++x, ++sum) *sum += weight * double(*x);
}

// Where the row of one head begins in [batch, length, heads, size].
int64_t row_of(int64_t b, int64_t length, int64_t t, int64_t heads, int64_t h, int64_t size) {
  return ((b * length + t) * heads + h) * size;
}

// Row t of head h: weights over the keys of the rule, then values times weights.
std::vector<double> softmax_row(const AttentionProblem& p, const Data& d, int64_t b, int64_t h, int64_t t) {
  std::vector<double> row(static_cast<size_t>(p.value_dim), 0.0), score;
  const int64_t g = h / (p.heads / p.kv_heads), S = p.rule.keys;
  const float* q = d.q.data() + row_of(b, p.length, t, p.heads, h, p.dim);
  double top = -__builtin_inf(), sum = 0;
  std::vector<int64_t> keys;
  for (int64_t j = p.rule.lo(t); j < p.rule.hi(t); ++j) {
    if (p.key_mask != nullptr && !p.key_mask[b * S + j]) continue;
    const float* k = d.k.data() + row_of(b, S, j, p.kv_heads, g, p.dim);
    score.push_back(dot(q, k, p.dim) * double(p.scale));
    keys.push_back(j);
    top = std::fmax(top, score.back());
  }
  for (double& s : score) sum += s = std::exp(s - top);
  for (size_t n = 0; n < keys.size(); ++n)
    add(row.data(), score[n] / sum, d.v.data() + row_of(b, S, keys[n], p.kv_heads, g, p.value_dim), p.value_dim);
  return row;
}

std::vector<double> phi(const std::vector<float>& x, bool elu1) {
  std::vector<double> y(x.begin(), x.end());
  if (elu1)
    for (double& e : y) e = e > 0 ? e + 1 : std::exp(e);
  return y;
}

void add_linear(const BlockLinearProblem& p, const Data& d, const std::vector<double>& phi_q,
                const std::vector<double>& phi_k, int64_t b, int64_t h, int64_t t, std::vector<double>& row) {
  const AttentionProblem& a = p.attention;
  const int64_t start = a.rule.lo(t);
  if (start == 0) return;
  std::vector<double> sum(row.size(), 0.0);
  double total = double(p.eps);
  const double* q = phi_q.data() + row_of(b, a.length, t, a.heads, h, a.dim);
  for (int64_t j = 0; j < start; ++j) {
    const double s = dot(q, phi_k.data() + row_of(b, a.length, j, a.heads, h, a.dim), a.dim);
    total += s;
    add(sum.data(), s, d.v.data() + row_of(b, a.length, j, a.heads, h, a.value_dim), a.value_dim);
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
  const std::vector<double> phi_q = phi(d.q, p.elu1), phi_k = phi(d.k, p.elu1);
  // Without the division the sums are of up to 300 products of dim terms.
  compare(a, d, p.divide ? 4 : 20,
          [&](int64_t b, int64_t h, int64_t t) {
            std::vector<double> row = softmax_row(a, d, b, h, t);
            add_linear(p, d, phi_q, phi_k, b, h, t, row);
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
