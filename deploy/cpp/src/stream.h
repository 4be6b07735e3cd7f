// A step model run frame by frame, its state kept between the frames.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "session.h"
#include "state_bytes.h"
#include "steps.h"

namespace temport::internal {

class StreamBuffers {
 public:
  static Result<std::unique_ptr<StreamBuffers>> create(std::shared_ptr<const LoadedModel> model, const AxisSizes& sizes,
                                                       temport_on_nonfinite on_nonfinite);

  // What is no state: the frame and the output, which keep their place.
  Result<const Binding*> tensor(const std::string& name) const;

  // One frame. After a failure the state is the one before this frame; a refused one never reaches the runtime, as one
  // after the last that the model has a position for.
  Result<void> run();

  // How many independent streams there are: the size of the first axis.
  size_t entries() const;
  // All streams, or one of them, as before their first frame: zeros.
  void reset();
  Result<void> reset(size_t entry);

  // Whether the state of any stream, or of one, holds NaN or infinity.
  bool poisoned() const;
  Result<bool> poisoned(size_t entry) const;

  size_t state_bytes() const { return state_bytes_; }
  Result<void> save(size_t entry, uint8_t* bytes, size_t size) const;
  Result<void> restore(size_t entry, const uint8_t* bytes, size_t size);

 private:
  Result<void> check_entry(size_t entry) const;
  Result<void> check_finite() const;
  Result<void> check_end() const;
  // How many frames a stream has had, as its state says.
  int64_t counted(size_t entry) const;
  // The rows of one stream in the state that the next frame reads.
  std::vector<StateRow> rows(size_t entry) const;

  std::shared_ptr<const LoadedModel> model_;
  std::vector<Buffer> inputs_, outputs_;  // without the states, in the order of the signature
  std::unique_ptr<Steps> steps_;
  std::vector<int64_t> seen_;  // frames that each stream has had; empty where no stream ends
  size_t state_bytes_ = 0;
  temport_on_nonfinite on_nonfinite_ = TEMPORT_REFUSE_NONFINITE;
};

}  // namespace temport::internal
