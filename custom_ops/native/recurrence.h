// What recurrent layers share: the input projections of all frames as one product, then frame by frame the recurrent product
// and the cell. Hidden units are shared out, so that in a frame every task reads its part of R once and needs nobody else's
// gates.
//
// A cell says how many gates it has (kGates), how many of their panels one row meets at once (kCellPanels), what the recurrent
// product of a gate is added to (addend), and what becomes of the gates (apply).
#pragma once

#include "activations.h"
#include "digits.h"

namespace temport::TEMPORT_ISA {

// The gates of kPanel hidden units, a team, are as many panels one after the other, in the order of ONNX.
template <typename Cell>
constexpr int kTeam = Cell::kGates * kPanel;

inline int64_t teams_of(int64_t hidden) { return panels_of(hidden); }

template <typename Cell>
inline int64_t recurrent_elements(int64_t hidden) {
  return teams_of(hidden) * kTeam<Cell>;
}

// w `[gates * hidden, inputs]`
template <typename Cell>
inline void pack_recurrent(const WeightData& w, int64_t hidden, int64_t inputs, void* to) {
  const auto column_of = [&](int64_t p, int64_t c, int64_t depth) {
    const int64_t unit = p / Cell::kGates * kPanel + c;
    return unit < hidden ? (p % Cell::kGates * hidden + unit) * depth : -1;
  };
  pack_weight(w, inputs, 1, teams_of(hidden) * Cell::kGates, column_of, to);
}

template <typename Cell>
inline void plan_recurrence(RecurrentProblem& p) {
  const int64_t teams = teams_of(p.hidden);
  p.task_teams = share_parts(teams, p.batch, Cell::kGates * p.hidden * p.hidden, p.workers, p.tasks);
  p.gate_floats = teams * kTeam<Cell>;
  p.state_floats = teams * kPanel;
  p.scratch_floats = static_cast<size_t>(p.batch * kTeam<Cell>);
}

template <typename Problem>
TEMPORT_INLINE int64_t end_of_task(const Problem& p, int64_t task) {
  return least((task + 1) * p.task_teams, teams_of(p.hidden));
}

template <typename Element = float>
TEMPORT_INLINE void add_columns(const float* sums, const float* scale, const float* to_add, float* to) {
#pragma GCC unroll 4
  for (int v = 0; v < kPanel; v += kWidth)
    store(to + v, scaled_sum<Element>(sums + v, scale + v, load(to_add + v)));
}

// gates = X W^T scale + bias for all frames, the teams of one task. `Problem` is a RecurrentProblem, or has its members with
// sizes that are known when it is compiled.
template <typename Cell, typename Way, typename Element, typename Problem>
inline void project_frames(const Problem& p, int64_t task) {
  const int64_t begin = task * p.task_teams * Cell::kGates, end = end_of_task(p, task) * Cell::kGates;
  const auto inputs = packed_inputs<Element>(p.inputs, p.w_block);
  multiply_weight<Way, Cell::kCellPanels>(
      p.x, p.frames * p.batch, p.inputs, static_cast<const Element*>(p.w) + begin * column_elements<Element>(inputs) * kPanel,
      inputs, (end - begin) * kPanel,
      [&](int64_t first, int64_t rows, int64_t q, const float* sums) {
        const int64_t column = (begin + q) * kPanel;
        const float* scale = kScaled<Element> ? p.w_scale + column : sums;
        for (int64_t m = 0; m < rows; ++m)
          add_columns<Element>(sums + m * kPanel, scale, p.bias + column, p.gates + (first + m) * p.gate_floats + column);
      });
}

// One frame for the teams of one task.
template <typename Cell, typename Way, typename Element, typename Problem>
inline void step_recurrence(const Problem& p, int64_t frame, int64_t task, float* scratch) {
  const int64_t H = p.hidden, begin = task * p.task_teams, end = end_of_task(p, task);
  const auto units = packed_inputs<Element>(H, p.r_block);
  const float* before = frame == 0 ? p.hidden_before : p.y + (frame - 1) * p.batch * H;
  // Every other frame backwards: what the frame before has read last is still in the cache.
  const bool backwards = frame % 2 == 1;
  for (int64_t n = begin; n < end; ++n) {
    const int64_t i = backwards ? begin + end - 1 - n : n;
    const float* projected = p.gates + frame * p.batch * p.gate_floats + i * kTeam<Cell>;
    const float* recurrent_bias = p.recurrent_bias == nullptr ? nullptr : p.recurrent_bias + i * kTeam<Cell>;
    if (before != nullptr)
      multiply_weight<Way, Cell::kCellPanels>(
          before, p.batch, H, static_cast<const Element*>(p.r) + i * column_elements<Element>(units) * kTeam<Cell>, units, kTeam<Cell>,
          [&](int64_t first, int64_t rows, int64_t q, const float* sums) {
            const float* scale = kScaled<Element> ? p.r_scale + i * kTeam<Cell> + q * kPanel : sums;
            for (int64_t m = 0; m < rows; ++m)
              add_columns<Element>(sums + m * kPanel, scale, Cell::addend(projected + (first + m) * p.gate_floats, recurrent_bias, q),
                          scratch + (first + m) * kTeam<Cell> + q * kPanel);
          });
    for (int64_t b = 0; b < p.batch; ++b) {
      float h[kPanel];
      const float* of_row = projected + b * p.gate_floats;
      Cell::apply(before != nullptr ? scratch + b * kTeam<Cell> : nullptr, of_row, recurrent_bias,
                  p.state + b * p.state_floats + i * kPanel, h);
      __builtin_memcpy(p.y + (frame * p.batch + b) * H + i * kPanel, h,
                       static_cast<size_t>(least(H - i * kPanel, kPanel)) * sizeof(float));
    }
  }
}

template <typename Cell>
inline void project(const RecurrentProblem& p, int64_t task) {
  with_stored(p, p.w_type, [&](auto element, auto way) { project_frames<Cell, decltype(way), decltype(element)>(p, task); });
}
template <typename Cell>
inline void step(const RecurrentProblem& p, int64_t frame, int64_t task, float* scratch) {
  with_stored(p, p.r_type, [&](auto element, auto way) {
    step_recurrence<Cell, decltype(way), decltype(element)>(p, frame, task, scratch);
  });
}
template <typename Cell>
constexpr RecurrentKernels kRecurrence = {recurrent_elements<Cell>, pack_recurrent<Cell>, plan_recurrence<Cell>,
                                          project<Cell>, step<Cell>};

}  // namespace temport::TEMPORT_ISA
