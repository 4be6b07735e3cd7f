// Random dense and recurrent layers, layer normalisations and moving averages through the kernels of this processor, against
// the definition in double, and the turns in which the steps of a recurrence are taken.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "check_problem.h"
#include "dispatch.h"
#include "drawn_weight.h"
#include "processor.h"
#include "step_turns.h"

namespace temport {
namespace {

std::vector<double> times(const std::vector<double>& x, const std::vector<float>& w, int64_t outputs, int64_t inputs) {
  std::vector<double> y(static_cast<size_t>(outputs), 0.0);
  for (int64_t n = 0; n < outputs; ++n)
    for (int64_t k = 0; k < inputs; ++k) y[size_t(n)] += x[size_t(k)] * double(w[size_t(n * inputs + k)]);
  return y;
}

void compare(const char* op, double got, double truth, double scale, int64_t at) {
  if (std::fabs(got - truth) <= 1e-5 * scale) return;
  std::fprintf(stderr, "%s: element %d is %.9g, not %.9g\n", op, int(at), got, truth);
  std::abort();
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone: return x;
    case Activation::kRelu: return x < 0 ? 0 : x;
    case Activation::kGelu: return x / 2 * std::erfc(-x / std::sqrt(2.0));
    case Activation::kSigmoid: return sigmoid(x);
    case Activation::kSilu: return x * sigmoid(x);
  }
  return NAN;
}

}  // namespace

// Every task of every step once, none before all of the step before have ended, with fewer threads than tasks too.
void check_step_turns(Bytes& bytes) {
  const int64_t steps = 1 + bytes.below(20), tasks = 1 + bytes.below(4);
  const int threads = 1 + int(bytes.below(3));
  const int64_t slow = bytes.below(4);
  std::vector<std::atomic<int64_t>> ended(static_cast<size_t>(steps));
  std::vector<std::atomic<int>> times_begun(static_cast<size_t>(steps * tasks));
  StepTurns turns(steps, tasks);
  run(tasks, 0, threads, [&](int64_t own, float*) {
    turns.work(own, [&](int64_t step, int64_t task) {
      const bool early = step > 0 && ended[size_t(step - 1)] != tasks;
      if (early || times_begun[size_t(step * tasks + task)]++ > 0) {
        std::fprintf(stderr, "StepTurns: task %d of step %d began %s\n", int(task), int(step), early ? "early" : "twice");
        std::abort();
      }
      if (task == slow) std::this_thread::sleep_for(std::chrono::microseconds(200));
      ++ended[size_t(step)];
    });
    if (ended[size_t(steps - 1)] != tasks) {
      std::fprintf(stderr, "StepTurns: a thread left before the last step was done\n");
      std::abort();
    }
  });
}

// A layer of one panel, so nothing to share but its rows.
void check_narrow_layers_are_shared(const Kernels& kernels) {
  DenseProblem p;
  p.rows = 9600;
  p.inputs = 200;
  p.outputs = 16;
  p.workers = 64;
  kernels.plan_dense(p);
  if (p.tasks >= 32) return;
  std::fprintf(stderr, "FusedDense: %d tasks for 64 threads\n", int(p.tasks));
  std::abort();
}

void check_dense(const Kernels& kernels, Bytes& bytes) {
  check_narrow_layers_are_shared(kernels);
  DenseProblem p;
  p.rows = 1 + bytes.below(bytes.below(2) == 1 ? 8 : 260);
  p.groups = 1 + bytes.below(bytes.below(2) == 1 ? 4 : 1);
  p.inputs = bytes.below(300);
  if (bytes.below(2) == 1) p.inputs -= p.inputs % 8;
  p.outputs = 1 + bytes.below(200);
  p.activation = Activation(bytes.below(5));
  p.workers = 1 + bytes.below(3);
  const int threads = 1 + int(bytes.below(3));
  const bool multiplied = bytes.below(2) == 1, added = bytes.below(2) == 1;
  std::mt19937 random(static_cast<unsigned>(bytes.below(65536)));
  if (bytes.below(2) == 1) p.rounding = Rounding::kFloats;
  const int64_t width = p.groups * p.outputs, floats = kernels.dense_elements(p.groups, p.outputs);
  std::vector<float> x = draw(p.rows * p.groups * p.inputs, random, -1);
  const std::vector<float> b = draw(width, random, -1);
  const Drawn weight(p.groups, p.inputs, p.outputs, random, bytes);
  const bool rounds = p.rounding != Rounding::kNone;
  p.x_scale = rounds ? 1.0f / 100 : 1.0f;
  if (rounds && weight.type == Weight::kInt8) p.rounding = Rounding::kIntegers;
  p.fours = bytes.below(2) == 1 && multiplies_fours(kernels.isa);
  const std::vector<float> factor = draw(p.rows * width, random, -1), addend = draw(p.rows * width, random, -1);
  const Room packed(floats, weight);
  std::vector<float> bias(static_cast<size_t>(floats)), scale(bias);
  std::vector<float> y(size_t(p.rows * width), __builtin_nanf(""));
  const auto pack = [&](const WeightData& w, int64_t inputs, void* to) { kernels.pack_dense(w, p.groups, inputs, p.outputs, to); };
  pack(weight, p.inputs, packed.data());
  std::vector<float> of_sums = weight.scales;
  if (p.rounding == Rounding::kIntegers)
    for (float& s : of_sums) s *= p.x_scale;
  if (weight.type == Weight::kInt8) pack(of_floats(of_sums), 1, scale.data());
  pack(of_floats(b), 1, bias.data());
  p.x = x.data();
  p.w = packed.data();
  p.weight = weight.type;
  p.block = weight.block;
  p.bias = bias.data();
  p.scale = scale.data();
  p.factor = multiplied ? factor.data() : nullptr;
  p.addend = added ? addend.data() : nullptr;
  p.y = y.data();
  constexpr int64_t kWidest = 16;
  std::vector<float> integers(size_t(rounds ? p.rows * p.groups * (p.inputs + kWidest) : 0));
  if (rounds) {
    p.integers = integers.data();
    kernels.round_dense(p, 0, p.rows / 2);
    kernels.round_dense(p, p.rows / 2, p.rows);
    for (float& v : x) v = std::nearbyint(v / p.x_scale) * p.x_scale;
    if (p.rounding == Rounding::kFloats) p.x = integers.data();
  }
  kernels.plan_dense(p);
  run(p.tasks, 0, threads, [&](int64_t task, float*) { kernels.run_dense(p, task); });
  for (int64_t m = 0; m < p.rows; ++m)
    for (int64_t c = 0; c < width; ++c) {
      const int64_t group = c / p.outputs, at = m * width + c;
      double sum = double(b[size_t(c)]);
      for (int64_t k = 0; k < p.inputs; ++k)
        sum += double(x[size_t((m * p.groups + group) * p.inputs + k)]) *
               weight.number((group * p.inputs + k) * p.outputs + c % p.outputs);
      sum = activated(p.activation, sum) * (multiplied ? double(factor[size_t(at)]) : 1.0);
      compare("FusedDense", double(y[size_t(at)]), sum + (added ? double(addend[size_t(at)]) : 0.0),
              1 + double(p.inputs), at);
    }
}

void check_recurrence(const Kernels& kernels, Bytes& bytes) {
  const bool lstm = bytes.below(2) == 0;
  const RecurrentKernels& layer = lstm ? kernels.lstm : kernels.gru;
  RecurrentProblem p;
  p.frames = 1 + bytes.below(6);
  p.batch = 1 + bytes.below(4);
  p.inputs = 1 + bytes.below(40);
  p.hidden = 1 + bytes.below(140);
  for (int64_t* size : {&p.inputs, &p.hidden})
    if (bytes.below(2) == 1) *size = (*size + 7) / 8 * 8;
  p.workers = 1 + bytes.below(3);
  const int threads = 1 + int(bytes.below(3));
  const bool stateful = bytes.below(2) == 1;
  std::mt19937 random(static_cast<unsigned>(bytes.below(65536)));
  const int64_t H = p.hidden, rows = (lstm ? 4 : 3) * H;
  const std::vector<float> x = draw(p.frames * p.batch * p.inputs, random, -1), b = draw(rows, random, -1),
                           b_h = draw(rows, random, -1);
  const Drawn of_w(rows, p.inputs, 1, random, bytes), of_r(rows, H, 1, random, bytes);
  const std::vector<float> w = of_w.numbers(), r = of_r.numbers();
  const int64_t floats = layer.elements(H);
  const Room packed_w(floats, of_w), packed_r(floats, of_r);
  std::vector<float> bias(static_cast<size_t>(floats)), recurrent_bias(bias), w_scale(bias), r_scale(bias);
  layer.pack(of_w, H, p.inputs, packed_w.data());
  layer.pack(of_r, H, H, packed_r.data());
  if (of_w.type == Weight::kInt8) layer.pack(of_floats(of_w.scales), H, 1, w_scale.data());
  if (of_r.type == Weight::kInt8) layer.pack(of_floats(of_r.scales), H, 1, r_scale.data());
  layer.pack(of_floats(b), H, 1, bias.data());
  layer.pack(of_floats(b_h), H, 1, recurrent_bias.data());
  layer.plan(p);
  const std::vector<float> before = draw(p.batch * H, random, -1);
  std::vector<float> gates(size_t(p.frames * p.batch * p.gate_floats), __builtin_nanf(""));
  std::vector<float> state(size_t(p.batch * p.state_floats), lstm ? 0.5f : 0.0f);
  std::vector<float> y(size_t(p.frames * p.batch * H), __builtin_nanf(""));
  for (int64_t n = 0; n < p.batch && stateful && !lstm; ++n)
    std::copy_n(before.data() + n * H, H, state.data() + n * p.state_floats);
  p.x = x.data();
  p.w = packed_w.data();
  p.r = packed_r.data();
  p.w_type = of_w.type;
  p.r_type = of_r.type;
  p.w_block = of_w.block;
  p.r_block = of_r.block;
  p.fours = bytes.below(2) == 1 && multiplies_fours(kernels.isa);
  p.w_scale = w_scale.data();
  p.r_scale = r_scale.data();
  p.bias = bias.data();
  p.recurrent_bias = lstm ? nullptr : recurrent_bias.data();
  p.hidden_before = stateful ? before.data() : nullptr;
  p.gates = gates.data();
  p.state = state.data();
  p.y = y.data();
  run(p.tasks, 0, threads, [&](int64_t task, float*) { layer.project(p, task); });
  StepTurns turns(p.frames, p.tasks);
  run(p.tasks, p.scratch_floats, threads, [&](int64_t own, float* scratch) {
    turns.work(own, [&](int64_t frame, int64_t task) { layer.step(p, frame, task, scratch); });
  });
  for (int64_t n = 0; n < p.batch; ++n) {
    std::vector<double> h(static_cast<size_t>(H), 0.0), c(static_cast<size_t>(H), 0.5);
    if (stateful) h.assign(before.begin() + n * H, before.begin() + (n + 1) * H);
    for (int64_t t = 0; t < p.frames; ++t) {
      const auto frame = x.begin() + (t * p.batch + n) * p.inputs;
      const std::vector<double> a = times({frame, frame + p.inputs}, w, rows, p.inputs), d = times(h, r, rows, H);
      for (int64_t u = 0; u < H; ++u) {
        const auto of_x = [&](int64_t g) { return a[size_t(g * H + u)] + double(b[size_t(g * H + u)]); };
        const auto of_h = [&](int64_t g) { return d[size_t(g * H + u)]; };
        double& unit = h[size_t(u)];
        if (lstm) {
          double& cell = c[size_t(u)];
          cell = sigmoid(of_x(2) + of_h(2)) * cell + sigmoid(of_x(0) + of_h(0)) * std::tanh(of_x(3) + of_h(3));
          unit = sigmoid(of_x(1) + of_h(1)) * std::tanh(cell);
        } else {
          const double z = sigmoid(of_x(0) + of_h(0)), reset = sigmoid(of_x(1) + of_h(1));
          unit = (1 - z) * std::tanh(of_x(2) + reset * (of_h(2) + double(b_h[size_t(2 * H + u)]))) + z * unit;
        }
        const int64_t at = (t * p.batch + n) * H + u;
        compare(lstm ? "FusedLSTM" : "FusedGRU", double(y[size_t(at)]), unit, 10, at);  // errors grow from frame to frame
      }
    }
  }
}

// Rows around a mean of -4 to 4, whose width is no multiple of a vector as a rule.
void check_layer_norm(const Kernels& kernels, Bytes& bytes) {
  LayerNormProblem p;
  p.rows = 1 + bytes.below(40);
  p.width = 1 + bytes.below(bytes.below(2) == 1 ? 70 : 4000);
  p.epsilon = 1e-5f;
  p.workers = 1 + bytes.below(3);
  const int threads = 1 + int(bytes.below(3));
  const bool added = bytes.below(2) == 1;
  p.centred = bytes.below(2) == 1;
  const float mean = float(bytes.below(9)) - 4.0f;
  std::mt19937 random(static_cast<unsigned>(bytes.below(65536)));
  std::vector<float> x = draw(p.rows * p.width, random, -1);
  for (float& v : x) v += mean;
  const std::vector<float> r = draw(p.rows * p.width, random, -1), scale = draw(p.width, random, -1),
                           bias = draw(p.width, random, -1);
  std::vector<float> y(x.size(), __builtin_nanf(""));
  p.x = x.data();
  p.addend = added ? r.data() : nullptr;
  p.scale = scale.data();
  p.bias = bias.data();
  p.y = y.data();
  kernels.plan_layer_norm(p);
  run(p.tasks, 0, threads, [&](int64_t task, float*) { kernels.run_layer_norm(p, task); });
  for (int64_t row = 0; row < p.rows; ++row) {
    const auto at = [&](int64_t i) {
      const size_t n = size_t(row * p.width + i);
      return double(x[n]) + (added ? double(r[n]) : 0.0);
    };
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < p.width && p.centred; ++i) sum += at(i);
    for (int64_t i = 0; i < p.width; ++i) squares += std::pow(at(i) - sum / double(p.width), 2);
    const double factor = 1 / std::sqrt(squares / double(p.width) + double(p.epsilon));
    for (int64_t i = 0; i < p.width; ++i)
      compare("ResidualLayerNorm", double(y[size_t(row * p.width + i)]),
              (at(i) - sum / double(p.width)) * factor * double(scale[size_t(i)]) + double(bias[size_t(i)]),
              1 + (1 + std::fabs(mean)) * factor, row * p.width + i);
  }
}

// What is averaged may be averaged where it lies.
void check_moving_average(const Kernels& kernels, Bytes& bytes) {
  const int64_t batch = 1 + bytes.below(3), T = bytes.below(60), C = 1 + bytes.below(40), taps = 1 + bytes.below(9);
  const int threads = 1 + int(bytes.below(3));
  const bool where_it_lies = bytes.below(2) == 1;
  std::mt19937 random(static_cast<unsigned>(bytes.below(65536)));
  const std::vector<float> x = draw(batch * T * C, random, -1), near = draw(taps * C, random, -1),
                           far = draw(taps * C, random, -1);
  std::vector<float> y = where_it_lies ? x : std::vector<float>(x.size(), __builtin_nanf(""));
  MovingAverageProblem p;
  p.x = where_it_lies ? y.data() : x.data();
  p.near = near.data();
  p.far = far.data();
  p.y = y.data();
  p.length = T;
  p.channels = C;
  p.taps = taps;
  run(batch, size_t(T * C), threads, [&](int64_t b, float* scratch) { kernels.run_moving_average(p, b, scratch); });
  for (int64_t i = 0; i < batch * T * C; ++i) {
    double truth = 0;
    for (int64_t far_tap = 0; far_tap < taps; ++far_tap)
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t back = (taps - 1 - far_tap) * taps + taps - 1 - tap;
        if (back > i / C % T) continue;
        truth += double(far[size_t(far_tap * C + i % C)]) * double(near[size_t(tap * C + i % C)]) *
                 double(x[size_t(i - back * C)]);
      }
    compare("MovingAverage", double(y[size_t(i)]), truth, double(taps * taps), i);
  }
}

}  // namespace temport
