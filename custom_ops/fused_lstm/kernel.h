// FusedLSTM: the input projections of all frames as one product, then frame by frame the recurrent product and the gates.
// Hidden units are shared out, so that in a frame every task reads its part of R once and needs nobody else's gates.
#pragma once

#include "../native/column_panels.h"

namespace temport::TEMPORT_ISA {

// A panel holds the four gates of kUnits hidden units, one gate after the other in the order of ONNX, i, o, f, c: the
// gates of a unit come out in the same lane of four vectors.
constexpr int kGates = 4, kUnitVectors = kSliceVectors / kGates, kUnits = kUnitVectors * kWidth;

// exp(x) for x <= 0, NaN for every NaN: a state that has become one must not turn into a number again.
TEMPORT_INLINE Float exp_nonpositive(Float x) { return select(x != x, x, exp2_nonpositive(x, 1.4426950408889634f)); }

TEMPORT_INLINE Float sigmoid(Float x) {
  const Int negative = x < 0.0f;
  const Float e = exp_nonpositive(select(negative, x, -x));
  return select(negative, e, broadcast(1.0f)) / (1.0f + e);
}

// Near 0 a Taylor polynomial, for 1 - exp(-2|x|) cancels there.
TEMPORT_INLINE Float tanh(Float x) {
  const Int negative = x < 0.0f;
  const Float e = exp_nonpositive(select(negative, x, -x) * 2.0f);
  const Float far = (1.0f - e) / (1.0f + e), z = x * x;
  Float p = z * (62.0f / 2835.0f) - 17.0f / 315.0f;
  p = p * z + 2.0f / 15.0f;
  p = p * z - 1.0f / 3.0f;
  return select(z < 0.0625f, x + x * z * p, select(negative, -far, far));
}

inline int64_t lstm_panels(int64_t hidden) { return (hidden + kUnits - 1) / kUnits; }

// w `[4 * hidden, inputs]`
inline void pack_lstm(const float* w, int64_t hidden, int64_t inputs, float* to) {
  const auto row_of = [&](int64_t p, int64_t c) {
    const int64_t unit = p * kUnits + c % kUnits;
    return unit < hidden ? c / kUnits * hidden + unit : -1;
  };
  pack_columns(w, inputs, lstm_panels(hidden), row_of, to);
}

inline void plan_lstm(LstmProblem& p) {
  const int64_t panels = lstm_panels(p.hidden);
  p.task_panels = share_panels(panels, p.batch * kGates * p.hidden * p.hidden, p.workers, p.tasks);
  p.gate_floats = panels * kSlice;
  p.cell_floats = panels * kUnits;
  p.scratch_floats = static_cast<size_t>(p.batch * kSlice);
}

TEMPORT_INLINE int64_t end_of_task(const LstmProblem& p, int64_t task) {
  const int64_t panels = lstm_panels(p.hidden), end = (task + 1) * p.task_panels;
  return end < panels ? end : panels;
}

// gates = X W^T + bias for all frames, the panels of one task; some rows at a time, which stay in the second-level cache.
inline void project_lstm(const LstmProblem& p, int64_t task) {
  constexpr int64_t kRows = 96;
  const int64_t rows = p.frames * p.batch;
  for (int64_t m = 0; m < rows; m += kRows)
    for (int64_t i = task * p.task_panels; i < end_of_task(p, task); ++i)
      multiply_by_panel(p.x + m * p.inputs, rows - m < kRows ? rows - m : kRows, p.inputs, p.w + i * p.inputs * kSlice,
                        p.inputs, p.bias + i * kSlice, 0, p.gates + m * p.gate_floats + i * kSlice, p.gate_floats);
}

// c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c) for the units of a panel, of which `count` exist.
inline void apply_gates(const float* gates, float* cell, float* y, int64_t count) {
  float h[kUnits];
#pragma GCC unroll 2
  for (int v = 0; v < kUnits; v += kWidth) {
    const Float i = load(gates + v), o = load(gates + kUnits + v), f = load(gates + 2 * kUnits + v);
    const Float c = sigmoid(f) * load(cell + v) + sigmoid(i) * tanh(load(gates + 3 * kUnits + v));
    store(cell + v, c);
    store(h + v, sigmoid(o) * tanh(c));
  }
  __builtin_memcpy(y, h, static_cast<size_t>(count < kUnits ? count : kUnits) * sizeof(float));
}

// One frame for the panels of one task.
inline void step_lstm(const LstmProblem& p, int64_t frame, int64_t task, float* scratch) {
  const int64_t H = p.hidden, begin = task * p.task_panels, end = end_of_task(p, task);
  const float* before = frame == 0 ? p.hidden_before : p.y + (frame - 1) * p.batch * H;
  // Every other frame backwards: what the frame before has read last is still in the cache.
  const bool backwards = frame % 2 == 1;
  for (int64_t n = begin; n < end; ++n) {
    const int64_t i = backwards ? begin + end - 1 - n : n;
    const float* gates = p.gates + frame * p.batch * p.gate_floats + i * kSlice;
    int64_t stride = p.gate_floats;
    if (before != nullptr) {
      multiply_by_panel(before, p.batch, H, p.r + i * H * kSlice, H, gates, stride, scratch, kSlice);
      gates = scratch;
      stride = kSlice;
    }
    for (int64_t b = 0; b < p.batch; ++b)
      apply_gates(gates + b * stride, p.cell + b * p.cell_floats + i * kUnits, p.y + (frame * p.batch + b) * H + i * kUnits,
                  H - i * kUnits);
  }
}

}  // namespace temport::TEMPORT_ISA
