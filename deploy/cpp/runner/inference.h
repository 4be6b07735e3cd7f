// What a bundle computes on given arrays: one inference, or for a step model the frames of a stream.
#pragma once

#include <optional>
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

// Whether the frames of a stream stand in the place of an axis of size 1 behind the batch; else on an axis of their own.
bool frames_in_place(const temport_tensor_spec& spec);

ArrayView view_of(const Tensor& tensor);

// What became of a stream: the frames that were refused, by their numbers, and whether its state ended up not finite.
struct StreamReport {
  int64_t frames = 0;
  std::vector<int64_t> refused;
  bool poisoned = false;
};

Json as_json(const StreamReport& stream);

struct Inferred {
  std::vector<Array> outputs;          // in the order of data_outputs
  std::optional<StreamReport> stream;  // of a step model
};

// `inputs` in the order of data_inputs, with the element types of the signature. For a step model the inputs are
// [batch, frames, ...] and so are the outputs, its state starting at zero or, of a single stream, where a saved one left
// off. The outputs of a refused frame are NaN, or 0 where they are integers.
Result<Inferred> infer(const Opened& opened, const std::vector<ArrayView>& inputs, const StateFiles& state = {});

}  // namespace temport::runner
