// SkinnyGemm: Y = X W^T + B for a few rows of X. The panels of W are shared out; every task reads its own once.
#pragma once

#include "../native/column_panels.h"

namespace temport::TEMPORT_ISA {

inline void pack_skinny_gemm(const float* w, int64_t outputs, int64_t inputs, float* to) {
  pack_columns(w, inputs, panels_of(outputs),
               [&](int64_t p, int64_t c) { return p * kSlice + c < outputs ? p * kSlice + c : -1; }, to);
}

inline void plan_skinny_gemm(SkinnyGemmProblem& p) {
  p.task_panels = share_panels(panels_of(p.outputs), p.rows * p.outputs * p.inputs, p.workers, p.tasks);
}

inline void run_skinny_gemm(const SkinnyGemmProblem& p, int64_t task) {
  const int64_t panels = panels_of(p.outputs), begin = task * p.task_panels;
  const int64_t end = begin + p.task_panels < panels ? begin + p.task_panels : panels;
  for (int64_t i = begin; i < end; ++i) {
    const float* panel = p.w + i * p.inputs * kSlice;
    const int64_t first = i * kSlice, left = p.outputs - first;
    if (left >= kSlice) {
      multiply_by_panel(p.x, p.rows, p.inputs, panel, p.inputs, p.bias + first, 0, p.y + first, p.outputs);
      continue;
    }
    for (int64_t m = 0; m < p.rows; ++m) {
      float part[kSlice];
      multiply_by_panel(p.x + m * p.inputs, 1, 0, panel, p.inputs, p.bias + first, 0, part, 0);
      __builtin_memcpy(p.y + m * p.outputs + first, part, static_cast<size_t>(left) * sizeof(float));
    }
  }
}

}  // namespace temport::TEMPORT_ISA
