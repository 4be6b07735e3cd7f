// Memory for the tensors of a signature, at sizes that the caller chose.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime.h"

namespace temport::internal {

// Refuses a name that no axis of the signature has.
Result<void> check_axes(const Signature& signature, const AxisSizes& sizes);

struct Free {
  void operator()(void* memory) const;
};

// A binding and the memory it points into: zeroed, and aligned as runtimes like it.
struct Buffer {
  std::unique_ptr<void, Free> memory;
  Binding binding;
};

// An output's axis may be an expression of input axes; its size follows from theirs.
Result<Buffer> allocate(const Signature& signature, const TensorSpec& spec, const AxisSizes& sizes);
// In the order of Signature::states.
Result<std::vector<Buffer>> allocate_states(const Signature& signature, const AxisSizes& sizes);

}  // namespace temport::internal
