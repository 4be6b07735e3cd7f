// A step model run frame by frame, its state kept between the frames.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "session.h"
#include "state_bytes.h"

namespace temport::internal {

// Two sets of state buffers and one execution for each direction between them: a frame reads one set and writes the
// other, and the next frame goes back. Nothing is copied, allocated or bound again from frame to frame.
//
// A state that the model keeps in place, where the runtime's kernels can, has one buffer that is in both sets: they
// write the row of the newest frame and leave the others where they are. A failed frame may have written that row,
// which held a frame that is out of reach by now; the next frame writes the row again before it is read.
class StreamBuffers {
 public:
  static Result<std::unique_ptr<StreamBuffers>> create(std::shared_ptr<const LoadedModel> model, const AxisSizes& sizes,
                                                       temport_on_nonfinite on_nonfinite);

  // What is no state: the frame and the output, which keep their place.
  Result<const Binding*> tensor(const std::string& name) const;

  // One frame. After a failure the state is the one before this frame; a refused one never reaches the runtime.
  Result<void> run();

  // How many independent streams there are: the size of the first axis.
  size_t entries() const;
  // All streams, or one of them, as before their first frame: zeros.
  void reset();
  Result<void> reset(size_t entry);

  // Whether the state of any stream, or of one, holds NaN or infinity.
  bool poisoned() const;
  Result<bool> poisoned(size_t entry) const;

  size_t state_bytes() const { return state_size(rows(0)); }
  Result<void> save(size_t entry, uint8_t* bytes, size_t size) const;
  Result<void> restore(size_t entry, const uint8_t* bytes, size_t size);

 private:
  Result<void> allocate_all(const AxisSizes& sizes);
  Result<void> prepare(int turn);
  Result<void> check_entry(size_t entry) const;
  Result<void> check_finite() const;
  // The rows of one stream in the state that the next frame reads.
  std::vector<StateRow> rows(size_t entry) const;

  std::shared_ptr<const LoadedModel> model_;
  std::vector<Buffer> inputs_, outputs_;  // without the states, in the order of the signature
  // In the order of Signature::states; the first set owns what is in both.
  std::array<std::vector<Buffer>, 2> states_;
  std::array<std::unique_ptr<Execution>, 2> executions_;  // executions_[t] reads states_[t] and writes states_[1 - t]
  int turn_ = 0;
  temport_on_nonfinite on_nonfinite_ = TEMPORT_REFUSE_NONFINITE;
};

}  // namespace temport::internal
