// What a bundle computes on given arrays: one inference, or for a step model the frames of a stream.
#pragma once

#include <vector>

#include "modes.h"
#include "tensor.h"

namespace temport::runner {

using internal::ArrayView;
using internal::Bytes;

// An array and the bytes it views, which keep their place when it is moved.
struct Array {
  Array(Bytes own, ArrayView array) : bytes(std::move(own)), view(std::move(array)) {}
  Array(Array&&) = default;
  Array& operator=(Array&&) = default;

  Bytes bytes;
  ArrayView view;
};

// The inputs or outputs of the signature, without those that carry a step model's state.
std::vector<temport_tensor_spec> data_inputs(const Bundle& bundle);
std::vector<temport_tensor_spec> data_outputs(const Bundle& bundle);

ArrayView view_of(const Tensor& tensor);

// `inputs` in the order of data_inputs, with the element types of the signature; outputs in the order of data_outputs.
// For a step model the inputs are [batch, frames, ...] and so are the outputs, its state starting at zero or, of a
// single stream, where a saved one left off.
Result<std::vector<Array>> infer(const Opened& opened, const std::vector<ArrayView>& inputs, const StateFiles& state = {});

}  // namespace temport::runner
