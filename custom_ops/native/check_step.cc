// Random frames of a stream through the kernels of this processor, against the definition: attention to the filled rows
// of a larger cache, and the sums of the linear branch, which must be the definition's bit by bit.
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "check_problem.h"
#include "dispatch.h"

namespace temport {
namespace {

void fail(const char* what, int64_t at, double got, double truth) {
  std::fprintf(stderr, "%s: element %d is %.9g, not %.9g\n", what, int(at), got, truth);
  std::abort();
}

void compare(const char* what, const std::vector<float>& got, const std::vector<double>& truth, double scale) {
  for (size_t i = 0; i < truth.size(); ++i)
    if (!(std::fabs(double(got[i]) - truth[i]) <= 1e-5 * scale)) fail(what, int64_t(i), double(got[i]), truth[i]);
}

// The rows in halves; the numbers become what these hold.
std::vector<uint16_t> in_halves(const Kernels& kernels, std::vector<float>& rows) {
  std::vector<uint16_t> halves(rows.size());
  kernels.round_to_halves(rows.data(), int64_t(rows.size()), halves.data());
  for (size_t i = 0; i < rows.size(); ++i) {
    const int exponent = halves[i] >> 10 & 31, mantissa = halves[i] & 1023;
    const double size = std::ldexp(exponent == 0 ? mantissa : mantissa + 1024, (exponent == 0 ? 1 : exponent) - 25);
    const double number = halves[i] >> 15 != 0 ? -size : size;
    if (exponent < 31 && !(std::fabs(number - double(rows[i])) <= std::ldexp(1, -12))) fail("half", int64_t(i), number, double(rows[i]));
    rows[i] = exponent < 31 ? float(number) : __builtin_nanf("");
  }
  return halves;
}

// Rows from `filled` on are NaN.
void check_filled_rows(const Kernels& kernels, Bytes& bytes) {
  AttentionProblem p;
  p.batch = p.length = 1;
  p.heads = p.kv_heads = 1 + bytes.below(4);
  p.dim = p.value_dim = 1 + bytes.below(70);
  const int64_t rows = 1 + bytes.below(300), filled = bytes.below(rows + 1), width = p.heads * p.dim;
  std::mt19937 random(static_cast<unsigned>(bytes.below(65536)));
  std::vector<float> q = draw(width, random, -1);
  std::vector<float> k = draw(rows * width, random, -1), v = draw(rows * width, random, -1);
  const bool halves = bytes.below(2) == 1;
  if (!halves) draw_products(bytes, random, q, k);
  for (size_t i = size_t(filled * width); i < k.size(); ++i) k[i] = v[i] = __builtin_nanf("");
  std::vector<float> y(q.size(), __builtin_nanf(""));
  p.rule.keys = rows;
  p.q = {q.data(), width, width};
  p.k = {k.data(), width, rows * width};
  p.v = {v.data(), width, rows * width};
  std::vector<uint16_t> held[2];
  if (halves) {
    p.ring = DType::kFloat16;
    p.k.data = (held[0] = in_halves(kernels, k)).data();
    p.v.data = (held[1] = in_halves(kernels, v)).data();
  }
  p.y = y.data();
  const int64_t first = bytes.below(p.heads);  // of two parts
  const size_t floats = kernels.single_row_floats(p, p.heads);
  p.rule.keys = filled;
  run(2, floats, 1, [&](int64_t part, float* scratch) {
    kernels.run_single_row(p, part * first, part == 0 ? first : p.heads - first, scratch);
  });

  std::vector<double> truth(y.size(), 0.0);
  for (int64_t h = 0; h < p.heads; ++h) {
    double total = 0, top = -__builtin_inf();
    std::vector<double> scores(static_cast<size_t>(filled), 0.0);
    for (int64_t j = 0; j < filled; ++j) {
      double& score = scores[size_t(j)];
      for (int64_t d = h * p.dim; d < (h + 1) * p.dim; ++d)
        score += double(q[size_t(d)]) * double(k[size_t(j * width + d)]);
      top = std::fmax(top, score);
    }
    for (int64_t j = 0; j < filled; ++j) {
      const double weight = std::exp(scores[size_t(j)] - top);
      total += weight;
      for (int64_t d = h * p.dim; d < (h + 1) * p.dim; ++d)
        truth[size_t(d)] += weight * double(v[size_t(j * width + d)]);
    }
    for (int64_t d = h * p.dim; d < (h + 1) * p.dim && filled > 0; ++d) truth[size_t(d)] /= total;
  }
  compare("filled rows", y, truth, 2);
}

void check_linear_step(const Kernels& kernels, Bytes& bytes) {
  LinearStepProblem p;
  const int64_t batch = 1 + bytes.below(2);
  p.heads = 1 + bytes.below(3);
  p.dim = 1 + bytes.below(70);
  p.row = p.dim + 1;
  p.divide = bytes.below(2) == 1;
  const bool ends = bytes.below(2) == 1;
  const int threads = 1 + int(bytes.below(3));
  std::mt19937 random(static_cast<unsigned>(bytes.below(65536)));
  const int64_t D = p.dim, width = p.heads * D, size = batch * width * (D + 1);
  const std::vector<float> qkv = draw(batch * 3 * width, random, 0.1f), earlier = draw(size, random, 0.1f),
                           block = draw(size, random, -1), lost = draw(size, random, -1);
  std::vector<float> next_earlier(earlier.size(), __builtin_nanf("")), next_block = next_earlier,
                     next_lost = next_earlier, y(size_t(batch * width), 0.25f);
  p.qkv = qkv.data();
  p.earlier = earlier.data(), p.block = block.data(), p.lost = lost.data();
  p.next_earlier = next_earlier.data(), p.next_block = next_block.data(), p.next_lost = next_lost.data();
  p.y = y.data();
  run(batch * p.heads, kernels.linear_step_floats(D), threads, [&](int64_t task, float* scratch) {
    kernels.run_linear_step(p, task / p.heads, task % p.heads, ends, scratch);
  });

  std::vector<double> truth(y.size(), 0.25);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t c = 0; c < width; ++c) {  // c: a column of y, and a row of the sums
      const auto row_of = [&](int64_t d) { return size_t(((b * p.heads + c / D) * D + d) * (D + 1)); };
      const auto newest = [&](int64_t part, int64_t column) { return qkv[size_t((3 * b + part) * width + column)]; };
      double total = 0, divisor = double(p.eps);
      for (int64_t d = 0; d < D; ++d) {
        const double q = double(newest(0, c / D * D + d));
        total += q * double(earlier[row_of(d) + size_t(c % D)]);
        divisor += q * double(earlier[row_of(d) + size_t(D)]);
      }
      truth[size_t(b * width + c)] += p.divide ? total / divisor : total;
      for (int64_t j = 0; j <= D; ++j) {
        const size_t i = row_of(c % D) + size_t(j);
        // volatile: rounded to float32 after each operation
        volatile float product = newest(1, c) * (j == D ? 1.0f : newest(2, c / D * D + j));
        volatile float added = product - lost[i];
        volatile float grown = block[i] + added, grew = grown - block[i];
        volatile float after = earlier[i] + (ends ? grown : 0.0f);
        if (next_earlier[i] != after) fail("NextEarlier", int64_t(i), double(next_earlier[i]), double(after));
        const float kept = ends ? 0.0f : grown;
        if (next_block[i] != kept) fail("NextBlock", int64_t(i), double(next_block[i]), double(kept));
        volatile float given = grew - added, went = after - earlier[i];
        volatile float over = went - (ends ? grown : 0.0f), lost_after = given + over;
        if (next_lost[i] != lost_after) fail("NextLost", int64_t(i), double(next_lost[i]), double(lost_after));
      }
    }
  compare("linear step", y, truth, p.divide ? 4 : 20);
}

}  // namespace

void check_step(const Kernels& kernels, Bytes& bytes) {
  if (bytes.below(2) == 0) return check_filled_rows(kernels, bytes);
  check_linear_step(kernels, bytes);
}

}  // namespace temport
