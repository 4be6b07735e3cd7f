// The state of a stream where the model takes it as inputs and gives it as outputs.
#pragma once

#include <array>
#include <memory>

#include "steps.h"

namespace temport::internal {

// Two sets of state buffers and one execution for each direction between them: a frame reads one set and writes the
// other, and the next frame goes back. Nothing is copied, allocated or bound again from frame to frame.
//
// A state that the model keeps in place, where the runtime's kernels can, has one buffer that is in both sets: they
// write the row of the newest frame and leave the others where they are. A failed frame may have written that row,
// which held a frame that is out of reach by now; the next frame writes the row again before it is read.
class StateSets final : public Steps {
 public:
  // `inputs` and `outputs` without the states.
  static Result<std::unique_ptr<Steps>> create(const Model& model, const Signature& signature, const AxisSizes& sizes,
                                               const std::vector<Buffer>& inputs, const std::vector<Buffer>& outputs);

  Result<void> run() override;
  const std::vector<Buffer>& state() override { return sets_[turn_]; }
  void take() override {}

 private:
  // In the order of Signature::states; the first set owns what is in both.
  std::array<std::vector<Buffer>, 2> sets_;
  std::array<std::unique_ptr<Execution>, 2> executions_;  // executions_[t] reads sets_[t] and writes sets_[1 - t]
  int turn_ = 0;
};

}  // namespace temport::internal
