// What runs the frames of a stream and holds its state between them.
#pragma once

#include <vector>

#include "buffers.h"

namespace temport::internal {

class Steps {
 public:
  virtual ~Steps() = default;
  // One frame. After a failure the state is the one before it.
  virtual Result<void> run() = 0;
  // The state that the next frame reads, as tensors of the model in the order of Signature::states.
  virtual const std::vector<Buffer>& state() = 0;
  // What was written into these becomes the state.
  virtual void take() = 0;
};

}  // namespace temport::internal
