// FusedLSTM: the input projections of all frames as one product, then frame by frame the recurrent product and the gates.
// Hidden units are shared out, so that in a frame every task reads its part of R once and needs nobody else's gates.
#pragma once

#include "../native/activations.h"
#include "../native/column_panels.h"

namespace temport::TEMPORT_ISA {

// The gates of kPanel hidden units, a team, are four panels one after the other, in the order of ONNX: i, o, f, c.
constexpr int kGates = 4, kTeam = kGates * kPanel;

inline int64_t teams_of(int64_t hidden) { return panels_of(hidden); }
inline int64_t lstm_floats(int64_t hidden) { return teams_of(hidden) * kTeam; }

// w `[4 * hidden, inputs]`
inline void pack_lstm(const float* w, int64_t hidden, int64_t inputs, float* to) {
  const auto column_of = [&](int64_t p, int64_t c) {
    const int64_t unit = p / kGates * kPanel + c;
    return unit < hidden ? (p % kGates * hidden + unit) * inputs : -1;
  };
  pack_columns(w, inputs, 1, teams_of(hidden) * kGates, column_of, to);
}

inline void plan_lstm(LstmProblem& p) {
  const int64_t teams = teams_of(p.hidden);
  p.task_teams = share_parts(teams, p.batch, kGates * p.hidden * p.hidden, p.workers, p.tasks);
  p.gate_floats = teams * kTeam;
  p.cell_floats = teams * kPanel;
  p.scratch_floats = static_cast<size_t>(p.batch * kTeam);
}

TEMPORT_INLINE int64_t end_of_task(const LstmProblem& p, int64_t task) {
  return least((task + 1) * p.task_teams, teams_of(p.hidden));
}

TEMPORT_INLINE void add_columns(const float* a, const float* b, float* to) {
#pragma GCC unroll 4
  for (int v = 0; v < kPanel; v += kWidth) store(to + v, load(a + v) + load(b + v));
}

// gates = X W^T + bias for all frames, the teams of one task.
inline void project_lstm(const LstmProblem& p, int64_t task) {
  const int64_t begin = task * p.task_teams * kGates, end = end_of_task(p, task) * kGates;
  multiply_panels(p.x, p.frames * p.batch, p.inputs, p.w + begin * p.inputs * kPanel, p.inputs, end - begin,
                  [&](int64_t first, int64_t rows, int64_t q, const float* sums) {
                    const int64_t column = (begin + q) * kPanel;
                    for (int64_t m = 0; m < rows; ++m)
                      add_columns(sums + m * kPanel, p.bias + column, p.gates + (first + m) * p.gate_floats + column);
                  });
}

// c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c) for the units of a team, of which `count` exist.
inline void apply_gates(const float* gates, float* cell, float* y, int64_t count) {
  float h[kPanel];
#pragma GCC unroll 4
  for (int v = 0; v < kPanel; v += kWidth) {
    const Float i = load(gates + v), o = load(gates + kPanel + v), f = load(gates + 2 * kPanel + v);
    const Float c = sigmoid(f) * load(cell + v) + sigmoid(i) * tanh(load(gates + 3 * kPanel + v));
    store(cell + v, c);
    store(h + v, sigmoid(o) * tanh(c));
  }
  __builtin_memcpy(y, h, static_cast<size_t>(least(count, kPanel)) * sizeof(float));
}

// One frame for the teams of one task.
inline void step_lstm(const LstmProblem& p, int64_t frame, int64_t task, float* scratch) {
  const int64_t H = p.hidden, begin = task * p.task_teams, end = end_of_task(p, task);
  const float* before = frame == 0 ? p.hidden_before : p.y + (frame - 1) * p.batch * H;
  // Every other frame backwards: what the frame before has read last is still in the cache.
  const bool backwards = frame % 2 == 1;
  for (int64_t n = begin; n < end; ++n) {
    const int64_t i = backwards ? begin + end - 1 - n : n;
    const float* projected = p.gates + frame * p.batch * p.gate_floats + i * kTeam;
    if (before != nullptr)
      multiply_panels(before, p.batch, H, p.r + i * H * kTeam, H, kGates,
                      [&](int64_t first, int64_t rows, int64_t q, const float* sums) {
                        for (int64_t m = 0; m < rows; ++m)
                          add_columns(sums + m * kPanel, projected + (first + m) * p.gate_floats + q * kPanel,
                                      scratch + (first + m) * kTeam + q * kPanel);
                      });
    for (int64_t b = 0; b < p.batch; ++b)
      apply_gates(before != nullptr ? scratch + b * kTeam : projected + b * p.gate_floats,
                  p.cell + b * p.cell_floats + i * kPanel, p.y + (frame * p.batch + b) * H + i * kPanel, H - i * kPanel);
  }
}

}  // namespace temport::TEMPORT_ISA
