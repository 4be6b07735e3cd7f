// FusedDense: a dense layer and what follows it element by element, done while a part of the result is in the cache.
#pragma once

#include "../native/activations.h"
#include "../native/digits.h"

namespace temport::TEMPORT_ISA {

inline int64_t dense_elements(int64_t groups, int64_t outputs) { return groups * panels_of(outputs) * kPanel; }

// w `[groups, inputs, outputs]`
inline void pack_dense(const WeightData& w, int64_t groups, int64_t inputs, int64_t outputs, void* to) {
  const int64_t panels = panels_of(outputs);
  const auto column_of = [&](int64_t p, int64_t c, int64_t depth) {
    const int64_t group = p / panels, column = p % panels * kPanel + c;
    return column < outputs ? group * depth * outputs + column : -1;
  };
  pack_weight(w, inputs, outputs, groups * panels, column_of, to);
}

// Many rows are shared out by rows, so that a task's stay in its cache; few by panels, so that every weight is read
// once, unless there are fewer panels than blocks of rows: a narrow layer would leave most threads without work.
inline void plan_dense(DenseProblem& p) {
  const int64_t blocks = (p.rows + kBlockRows - 1) / kBlockRows, panels = p.groups * panels_of(p.outputs);
  const int64_t weights = p.groups * p.inputs * p.outputs;
  p.task_rows = p.rows;
  p.task_panels = panels;
  if (blocks >= 2 * p.workers || blocks > panels)
    p.task_rows = share_parts(blocks, p.rows, weights, p.workers, p.tasks) * kBlockRows;
  else
    p.task_panels = share_parts(panels, p.rows, weights, p.workers, p.tasks);
}

// The columns of a row that a panel has, at most kPanel.
template <Activation A, typename Element>
TEMPORT_INLINE void finish_columns(const float* sums, const float* scale, const float* bias, const float* factor,
                                   const float* addend, float* y, int64_t columns) {
#pragma GCC unroll 4
  for (int v = 0; v < kPanel; v += kWidth) {
    const int64_t left = columns - v;
    if (left <= 0) return;
    Float value = activate<A>(scaled_sum<Element>(sums + v, scale + v, load(bias + v)));
    if (factor != nullptr && addend != nullptr)
      value = fused(value, load_first(factor + v, left), load_first(addend + v, left));
    else if (factor != nullptr)
      value *= load_first(factor + v, left);
    else if (addend != nullptr)
      value += load_first(addend + v, left);
    store_first(y + v, value, left);
  }
}

// `rows` rows from `row` on of one panel, counted through all groups: their sums become the result.
template <Activation A, typename Element, typename Problem>
TEMPORT_INLINE void finish_panel(const Problem& p, int64_t row, int64_t rows, int64_t panel, const float* sums) {
  const int64_t per_group = panels_of(p.outputs), group = panel / per_group, width = p.groups * p.outputs;
  const int64_t column = (panel - group * per_group) * kPanel, left = p.outputs - column;
  const float* bias = p.bias + panel * kPanel;
  const float* scale = kScaled<Element> ? p.scale + panel * kPanel : sums;
  for (int64_t m = 0; m < rows; ++m, sums += kPanel) {
    const int64_t at = (row + m) * width + group * p.outputs + column;
    const float* factor = p.factor != nullptr ? p.factor + at : nullptr;
    const float* addend = p.addend != nullptr ? p.addend + at : nullptr;
    if (left >= kPanel)
      finish_columns<A, Element>(sums, scale, bias, factor, addend, p.y + at, kPanel);
    else
      finish_columns<A, Element>(sums, scale, bias, factor, addend, p.y + at, left);
  }
}

// Rows and panels of one task, where panels count through all groups. `Problem` is a DenseProblem, or has its members
// with sizes that are known when it is compiled.
template <Activation A, typename Way, typename Element, typename Problem, typename Size>
inline void run_dense_task(const Problem& p, int64_t row, Size rows, int64_t panel, int64_t end) {
  const int64_t per_group = panels_of(p.outputs);
  const auto inputs = packed_inputs<Element>(p.inputs, p.block);
  const Element* w = static_cast<const Element*>(p.w);
  while (panel < end) {
    const int64_t group = panel / per_group, stop = least(end, (group + 1) * per_group);
    const float* x = p.x + row * p.groups * p.inputs + group * p.inputs;
    multiply_weight<Way>(x, rows, p.groups * p.inputs, w + panel * column_elements<Element>(inputs) * kPanel, inputs,
                         least((stop - panel) * kPanel, p.outputs - (panel - group * per_group) * kPanel),
                         [&](int64_t first, int64_t some, int64_t q, const float* sums) {
                           finish_panel<A, Element>(p, row + first, some, panel + q, sums);
                         });
    panel = stop;
  }
}

// The same of rows that round_rows made integers.
template <Activation A, typename Way, typename Problem>
inline void run_integer_task(const Problem& p, int64_t row, int64_t rows, int64_t panel, int64_t end) {
  const int64_t per_group = panels_of(p.outputs), fours = fours_of(p.inputs), stride = p.groups * rounded_fours(p.inputs);
  const int8_t* w = static_cast<const int8_t*>(p.w);
  while (panel < end) {
    const int64_t group = panel / per_group, stop = least(end, (group + 1) * per_group);
    const auto* x = static_cast<const typename Way::Inputs*>(p.integers) + row * stride + group * rounded_fours(p.inputs);
    multiply_integer_panels<Way>(x, rows, stride, w + panel * fours * kFour * kPanel, p.inputs, stop - panel,
                                 [&](int64_t first, int64_t some, int64_t q, const float* sums) {
                                   finish_panel<A, Integers>(p, row + first, some, panel + q, sums);
                                 });
    panel = stop;
  }
}

// Rows of x as integers, group by group.
template <typename Way, typename Problem>
inline void round_rows(const Problem& p, int64_t row, int64_t end) {
  auto* to = static_cast<typename Way::Inputs*>(p.integers);
  for (int64_t part = row * p.groups; part < end * p.groups; ++part)
    round_row<Way>(p.x + part * p.inputs, p.inputs, p.x_scale, to + part * rounded_fours(p.inputs));
}

// Numbers [begin, end) of x as numbers again.
inline void round_floats(const float* x, int64_t begin, int64_t end, float scale, float* to) {
  for (int64_t i = begin; i < end; i += kWidth) {
    const Float some = load_first(x + i, end - i), rounded = __builtin_convertvector(rounded_byte(some, scale), Float);
    store_first(to + i, select(some == some, rounded * scale, some), end - i);
  }
}

inline void round_dense(const DenseProblem& p, int64_t row, int64_t end) {
  if (p.rounding == Rounding::kIntegers)
    return with_way(p, [&](auto way) { round_rows<decltype(way)>(p, row, end); });
  const int64_t width = p.groups * p.inputs;
  round_floats(p.x, row * width, end * width, p.x_scale, static_cast<float*>(p.integers));
}

template <Activation A>
struct ActivationIs {
  static constexpr Activation kIs = A;
};

inline void run_dense(const DenseProblem& p, int64_t task) {
  const int64_t panels = p.groups * panels_of(p.outputs), across = (panels + p.task_panels - 1) / p.task_panels;
  const int64_t row = task / across * p.task_rows, panel = task % across * p.task_panels;
  const int64_t rows = least(p.task_rows, p.rows - row), end = least(panel + p.task_panels, panels);
  const auto with_activation = [&](const auto& body) __attribute__((always_inline)) {
    switch (p.activation) {
      case Activation::kNone: return body(ActivationIs<Activation::kNone>{});
      case Activation::kRelu: return body(ActivationIs<Activation::kRelu>{});
      case Activation::kGelu: return body(ActivationIs<Activation::kGelu>{});
      case Activation::kSigmoid: return body(ActivationIs<Activation::kSigmoid>{});
      case Activation::kSilu: return body(ActivationIs<Activation::kSilu>{});
    }
  };
  with_activation([&](auto activation) __attribute__((always_inline)) {
    constexpr Activation kA = decltype(activation)::kIs;
    if (p.rounding == Rounding::kIntegers)
      return with_way(p, [&](auto way) { run_integer_task<kA, decltype(way)>(p, row, rows, panel, end); });
    with_stored(p, p.weight, [&](auto element, auto way) {
      run_dense_task<kA, decltype(way), decltype(element)>(p, row, rows, panel, end);
    });
  });
}

}  // namespace temport::TEMPORT_ISA
