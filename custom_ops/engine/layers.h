// The layers of a native engine: the kernels of the ops with sizes that are known when they are compiled. A function is
// compiled once for each set of sizes and serves all layers that have it.
#pragma once

#include "../fused_dense/kernel.h"
#include "../fused_gru/kernel.h"
#include "../fused_lstm/kernel.h"
#include "../moving_average/kernel.h"
#include "../residual_layer_norm/kernel.h"
#include "parallel.h"

namespace temport::TEMPORT_ISA {

struct DenseArrays {
  const float* x;  // as in DenseProblem
  const void* w;
  const float *bias, *scale, *factor, *addend;
  float* y;
  int64_t block = 0;
};
template <int64_t Groups, int64_t Inputs, int64_t Outputs>
struct DenseOf : DenseArrays {
  static constexpr int64_t groups = Groups, outputs = Outputs;
  static constexpr Fixed<Inputs> inputs{};
};
template <int64_t Groups, int64_t Inputs, int64_t Outputs, Activation A, typename Element, typename Way, typename Rows>
void dense(Rows rows, const DenseArrays& arrays) {
  const DenseOf<Groups, Inputs, Outputs> p{arrays};
  run_dense_task<A, Way, Element>(p, 0, rows, 0, Groups * panels_of(Outputs));
}

// Many rows are shared by rows, few by panels: prepare(row, rows) comes before any task(row, rows, panel, end) of these rows.
template <int64_t Panels, int Threads, typename Prepare, typename Task>
TEMPORT_INLINE void share_dense(const Caller<Threads>& caller, int64_t rows, const Prepare& prepare, const Task& task) {
  const int64_t blocks = (rows + kMaxRows - 1) / kMaxRows;
  if (blocks >= 2 * Threads) {
    caller.share(blocks, [&](int64_t, int64_t first, int64_t last) {
      const int64_t row = first * kMaxRows, some = least(last * kMaxRows, rows) - row;
      prepare(row, some);
      task(row, some, 0, Panels);
    });
  } else {
    prepare(0, rows);
    caller.share(Panels, [&](int64_t, int64_t first, int64_t last) { task(0, rows, first, last); });
  }
}

template <int64_t Groups, int64_t Inputs, int64_t Outputs, Activation A, typename Element, typename Way, int Threads, typename Rows>
void dense(const Caller<Threads>& caller, Rows rows, const DenseArrays& arrays) {
  const DenseOf<Groups, Inputs, Outputs> p{arrays};
  share_dense<Groups * panels_of(Outputs)>(
      caller, rows, [](int64_t, int64_t) {},
      [&](int64_t row, int64_t some, int64_t panel, int64_t end) {
        run_dense_task<A, Way, Element>(p, row, some, panel, end);
      });
}

// Layers of bytes whose inputs are rounded to bytes and multiplied by a way of integer_products.h; `scale` of the arrays is the
// product of both scales. `integers` holds a float for each input, and 16 more for each group of a row.
struct Roundings {
  float x_scale;
  void* integers;
};
template <int64_t Groups, int64_t Inputs, int64_t Outputs>
struct RoundedDenseOf : DenseOf<Groups, Inputs, Outputs>, Roundings {};
template <int64_t Groups, int64_t Inputs, int64_t Outputs, Activation A, typename Way, typename Rows>
void rounded_dense(Rows rows, const DenseArrays& arrays, const Roundings& roundings) {
  const RoundedDenseOf<Groups, Inputs, Outputs> p{{arrays}, roundings};
  round_rows<Way>(p, 0, rows);
  run_integer_task<A, Way>(p, 0, rows, 0, Groups * panels_of(Outputs));
}

template <int64_t Groups, int64_t Inputs, int64_t Outputs, Activation A, typename Way, int Threads, typename Rows>
void rounded_dense(const Caller<Threads>& caller, Rows rows, const DenseArrays& arrays, const Roundings& roundings) {
  const RoundedDenseOf<Groups, Inputs, Outputs> p{{arrays}, roundings};
  share_dense<Groups * panels_of(Outputs)>(
      caller, rows, [&](int64_t row, int64_t some) { round_rows<Way>(p, row, row + some); },
      [&](int64_t row, int64_t some, int64_t panel, int64_t end) { run_integer_task<A, Way>(p, row, some, panel, end); });
}

// y[i] = the byte next to x[i] / scale, and back.
inline void quantise(const float* x, int64_t n, float scale, int8_t* y) {
  for (int64_t i = 0; i < n; i += kWidth) {
    const Int rounded = rounded_byte(load_first(x + i, n - i), scale);
    for (int64_t j = 0; j < least(kWidth, n - i); ++j) y[i + j] = int8_t(rounded[j]);
  }
}
inline void dequantise(const int8_t* x, int64_t n, float scale, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = float(x[i]) * scale;
}

struct LayerNormArrays {
  const float *x, *addend, *scale, *bias;  // as in LayerNormProblem
  float* y;
};
template <int64_t Width>
struct LayerNormOf : LayerNormArrays {
  static constexpr int64_t width = Width;
  float epsilon;
};
template <int64_t Width, bool Add, bool Centred, typename Rows>
void layer_norm(Rows rows, float epsilon, const LayerNormArrays& arrays) {
  normalise<Add, Centred>(LayerNormOf<Width>{arrays, epsilon}, 0, rows);
}

template <int64_t Width, bool Add, bool Centred, int Threads, typename Rows>
void layer_norm(const Caller<Threads>& caller, Rows rows, float epsilon, const LayerNormArrays& arrays) {
  const LayerNormOf<Width> p{arrays, epsilon};
  caller.share(rows, [&](int64_t, int64_t first, int64_t last) { normalise<Add, Centred>(p, first, last); });
}

struct MovingAverageArrays {
  const float *x, *near, *far;  // as in MovingAverageProblem
  float* y;
};
template <int64_t Channels, int64_t Taps>
struct MovingAverageOf : MovingAverageArrays {
  static constexpr Fixed<Channels> channels{};
  static constexpr Fixed<Taps> taps{};
  int64_t length;
};
// `scratch` holds length * Channels floats.
template <int64_t Channels, int64_t Taps>
void moving_average(int64_t batch, int64_t length, const MovingAverageArrays& arrays, float* scratch) {
  const MovingAverageOf<Channels, Taps> p{arrays, length};
  for (int64_t entry = 0; entry < batch; ++entry) run_moving_average(p, entry, scratch);
}

struct RecurrentArrays {
  const float* x;  // as in RecurrentProblem
  const void *w, *r;
  const float *w_scale, *r_scale, *bias, *recurrent_bias, *hidden_before;
  float *gates, *state, *y;
  int64_t w_block = 0, r_block = 0;
};
template <typename Cell, int64_t Inputs, int64_t Hidden>
struct RecurrentOf : RecurrentArrays {
  static constexpr Fixed<Inputs> inputs{};
  static constexpr Fixed<Hidden> hidden{};
  static constexpr int64_t task_teams = (Hidden + kPanel - 1) / kPanel;
  static constexpr int64_t gate_floats = task_teams * kTeam<Cell>, state_floats = task_teams * kPanel;
  int64_t frames, batch;
};
// RNN: the cell of one gate that is the state.
template <typename Function>
struct SimpleCell {
  static constexpr int kGates = 1, kCellPanels = 1;

  TEMPORT_INLINE static const float* addend(const float* projected, const float*, int64_t) { return projected; }
  TEMPORT_INLINE static void apply(const float* summed, const float* projected, const float*, float*, float* h) {
    const float* gate = summed != nullptr ? summed : projected;
#pragma GCC unroll 4
    for (int v = 0; v < kPanel; v += kWidth) store(h + v, Function::of(load(gate + v)));
  }
};
struct OfTanh {
  TEMPORT_INLINE static Float of(Float x) { return tanh(x); }
};
struct OfRelu {
  TEMPORT_INLINE static Float of(Float x) { return activate<Activation::kRelu>(x); }
};
using TanhCell = SimpleCell<OfTanh>;
using ReluCell = SimpleCell<OfRelu>;

// `state`: where the state lies that the cell keeps apart from y, `[batch, Hidden]`, before the first frame (null: zero);
// `last` takes it after the last one (null: nobody asks). `scratch` holds (frames * gate + gate + state floats) * batch.
template <typename Cell, typename OfInput, typename OfState, typename Way, int64_t Inputs, int64_t Hidden>
void recurrence(int64_t frames, int64_t batch, RecurrentArrays arrays, const float* state, float* last, float* scratch) {
  RecurrentOf<Cell, Inputs, Hidden> p{arrays, frames, batch};
  p.gates = scratch;
  p.state = p.gates + frames * batch * p.gate_floats;
  float* sums = p.state + batch * p.state_floats;
  __builtin_memset(p.state, 0, size_t(batch * p.state_floats) * sizeof(float));
  for (int64_t b = 0; b < batch && state != nullptr; ++b)
    __builtin_memcpy(p.state + b * p.state_floats, state + b * Hidden, Hidden * sizeof(float));
  project_frames<Cell, Way, OfInput>(p, 0);
  for (int64_t frame = 0; frame < frames; ++frame) step_recurrence<Cell, Way, OfState>(p, frame, 0, sums);
  for (int64_t b = 0; b < batch && last != nullptr; ++b)
    __builtin_memcpy(last + b * Hidden, p.state + b * p.state_floats, Hidden * sizeof(float));
}

// A GRU whose reset gate multiplies h before the recurrent product of the candidate, and not what comes out of it. `r` of the
// arrays has the gates z and r, `candidate` the third, packed alike; all biases of a gate are one sum. `scratch` holds
// (frames * gate + 2 * state floats) * batch.
template <int64_t Inputs, int64_t Hidden>
void gru_reset_first(int64_t frames, int64_t batch, RecurrentArrays arrays, const float* candidate, float* scratch) {
  RecurrentOf<GruCell, Inputs, Hidden> p{arrays, frames, batch};
  p.gates = scratch;
  float* reset = p.gates + frames * batch * p.gate_floats;  // r h, `[batch, Hidden]`
  project_frames<GruCell, Pairs, float>(p, 0);
  const auto add_product = [&](const float* x, const float* weights, int64_t gates, float* to) {
    multiply_panels<2>(x, batch, Hidden, weights, Fixed<Hidden>{}, gates * kPanel,
                       [&](int64_t first, int64_t rows, int64_t q, const float* sums) {
                         for (int64_t m = 0; m < rows; ++m) {
                           float* at = to + (first + m) * p.gate_floats + q * kPanel;
                           add_columns(sums + m * kPanel, sums, at, at);
                         }
                       });
  };
  // visit(gates, float of the hidden state, floats left) for every vector of a team's units
  const auto for_units = [&](float* gates, int64_t team, const auto& visit) {
    for (int64_t b = 0; b < batch; ++b, gates += p.gate_floats)
      for (int64_t v = 0; v < least(kPanel, Hidden - team * kPanel); v += kWidth)
        visit(gates + v, b * Hidden + team * kPanel + v, Hidden - team * kPanel - v);
  };
  for (int64_t frame = 0; frame < frames; ++frame) {
    const float* before = frame == 0 ? p.hidden_before : p.y + (frame - 1) * batch * Hidden;
    float *gates = p.gates + frame * batch * p.gate_floats, *y = p.y + frame * batch * Hidden;
    for (int64_t i = 0; i < p.task_teams && before != nullptr; ++i) {
      float* own = gates + i * kTeam<GruCell>;
      add_product(before, static_cast<const float*>(p.r) + i * 2 * Hidden * kPanel, 2, own);
      for_units(own, i, [&](const float* gate, int64_t at, int64_t left) {
        store_first(reset + at, sigmoid(load(gate + kPanel)) * load_first(before + at, left), left);
      });
    }
    for (int64_t i = 0; i < p.task_teams; ++i) {
      float* own = gates + i * kTeam<GruCell>;
      if (before != nullptr) add_product(reset, candidate + i * Hidden * kPanel, 1, own + 2 * kPanel);
      for_units(own, i, [&](const float* gate, int64_t at, int64_t left) {
        const Float z = sigmoid(load(gate)), h = before != nullptr ? load_first(before + at, left) : Float{};
        store_first(y + at, (1.0f - z) * tanh(load(gate + 2 * kPanel)) + z * h, left);
      });
    }
  }
}

}  // namespace temport::TEMPORT_ISA
