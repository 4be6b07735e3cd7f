// The layers of a native engine: the kernels of the ops with sizes that are known when they are compiled. A function is
// compiled once for each set of sizes and serves all layers that have it.
#pragma once

#include "../fused_dense/kernel.h"
#include "../fused_gru/kernel.h"
#include "../fused_lstm/kernel.h"
#include "../moving_average/kernel.h"
#include "../residual_layer_norm/kernel.h"

namespace temport::TEMPORT_ISA {

struct DenseArrays {
  const float *x, *w, *bias, *factor, *addend;  // as in DenseProblem
  float* y;
};
template <int64_t Groups, int64_t Inputs, int64_t Outputs>
struct DenseOf : DenseArrays {
  static constexpr int64_t groups = Groups, outputs = Outputs;
  static constexpr Fixed<Inputs> inputs{};
};
template <int64_t Groups, int64_t Inputs, int64_t Outputs, Activation A, typename Rows>
void dense(Rows rows, const DenseArrays& arrays) {
  const DenseOf<Groups, Inputs, Outputs> p{arrays};
  run_dense_task<A>(p, 0, rows, 0, Groups * panels_of(Outputs));
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
  const float *x, *w, *r, *bias, *recurrent_bias, *hidden_before;  // as in RecurrentProblem
  float *gates, *state, *y;
};
template <typename Cell, int64_t Inputs, int64_t Hidden>
struct RecurrentOf : RecurrentArrays {
  static constexpr Fixed<Inputs> inputs{};
  static constexpr Fixed<Hidden> hidden{};
  static constexpr int64_t task_teams = (Hidden + kPanel - 1) / kPanel;
  static constexpr int64_t gate_floats = task_teams * kTeam<Cell>, state_floats = task_teams * kPanel;
  int64_t frames, batch;
};
// `state`: where the state lies that the cell keeps apart from y, `[batch, Hidden]`, before the first frame (null: zero);
// `last` takes it after the last one (null: nobody asks). `scratch` holds (frames * gate + gate + state floats) * batch.
template <typename Cell, int64_t Inputs, int64_t Hidden>
void recurrence(int64_t frames, int64_t batch, RecurrentArrays arrays, const float* state, float* last, float* scratch) {
  RecurrentOf<Cell, Inputs, Hidden> p{arrays, frames, batch};
  p.gates = scratch;
  p.state = p.gates + frames * batch * p.gate_floats;
  float* sums = p.state + batch * p.state_floats;
  __builtin_memset(p.state, 0, size_t(batch * p.state_floats) * sizeof(float));
  for (int64_t b = 0; b < batch && state != nullptr; ++b)
    __builtin_memcpy(p.state + b * p.state_floats, state + b * Hidden, Hidden * sizeof(float));
  project_frames<Cell>(p, 0);
  for (int64_t frame = 0; frame < frames; ++frame) step_recurrence<Cell>(p, frame, 0, sums);
  for (int64_t b = 0; b < batch && last != nullptr; ++b)
    __builtin_memcpy(last + b * Hidden, p.state + b * p.state_floats, Hidden * sizeof(float));
}

}  // namespace temport::TEMPORT_ISA
