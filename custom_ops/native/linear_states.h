// The memory behind LinearState: running sums of every sequence of one block-linear call, zero at first.
#pragma once

#include <vector>

#include "problem.h"

namespace temport {

class LinearStates {
 public:
  // Lets `problem` point here. It is planned already; without a hand-over nothing is needed.
  explicit LinearStates(BlockLinearProblem& problem) {
    if (!problem.hands_over) return;
    const size_t each = size_t(problem.state_floats), copies = problem.split_blocks ? 2 : 1;
    states_ = std::vector<LinearState>(size_t(problem.attention.batch * problem.attention.heads));
    sums_.assign(states_.size() * each * copies, 0.0f);
    for (size_t i = 0; i < states_.size(); ++i) {
      states_[i].sum = sums_.data() + i * each * copies;
      states_[i].snapshot = states_[i].sum + each;
    }
    problem.states = states_.data();
  }
  LinearStates(const LinearStates&) = delete;

 private:
  std::vector<LinearState> states_;
  std::vector<float> sums_;
};

}  // namespace temport
