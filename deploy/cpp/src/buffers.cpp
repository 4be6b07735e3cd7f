#include "buffers.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "sizes.h"

namespace temport::internal {
namespace {

// A cache line, and the alignment at which ONNX Runtime and TensorRT take a caller's memory as it is.
constexpr size_t kAlignment = 64;

// The size of an axis of the inputs: the caller's, or its `opt`.
std::optional<int64_t> chosen(const Signature& signature, const AxisSizes& sizes, std::string_view axis) {
  for (const auto& [name, given] : sizes)
    if (name == axis) return given;
  for (const auto& spec : signature.inputs)
    for (const auto& own : spec.axes)
      if (own.name == axis) return own.opt;
  return std::nullopt;
}

}  // namespace

Result<void> check_axes(const Signature& signature, const AxisSizes& sizes) {
  for (const auto& [name, size] : sizes) {
    bool known = false;
    for (const auto& spec : signature.inputs)
      for (const auto& axis : spec.axes) known = known || (!axis.name.empty() && axis.name == name);
    if (!known) return invalid_argument("the model has no dynamic axis " + name);
  }
  return {};
}

void Free::operator()(void* memory) const { std::free(memory); }

Result<Buffer> allocate(const Signature& signature, const TensorSpec& spec, const AxisSizes& sizes) {
  std::vector<int64_t> shape;
  for (const auto& axis : spec.axes) {
    const auto size_of = [&](std::string_view name) { return chosen(signature, sizes, name); };
    const auto found = axis.name.empty() ? axis.opt : evaluate(axis.name, size_of);
    if (!found) return invalid_argument("axis " + axis.name + " of " + spec.name + " has no size here");
    const int64_t size = *found;
    if (size < axis.min || size > axis.max)
      return invalid_argument("axis " + axis.name + " is " + std::to_string(size) + "; the model takes " +
                              std::to_string(axis.min) + " to " + std::to_string(axis.max));
    shape.push_back(size);
  }
  const size_t bytes = static_cast<size_t>(*element_count(shape)) * element_size(spec.dtype);
  const size_t padded = std::max<size_t>(1, (bytes + kAlignment - 1) / kAlignment) * kAlignment;
  std::unique_ptr<void, Free> memory(std::aligned_alloc(kAlignment, padded));
  if (!memory) return failed("there is no memory for the " + std::to_string(bytes) + " bytes of " + spec.name);
  std::memset(memory.get(), 0, padded);
  void* data = memory.get();
  return Buffer{std::move(memory), {spec.name.c_str(), spec.dtype, std::move(shape), data, bytes}};
}

Result<std::vector<Buffer>> allocate_states(const Signature& signature, const AxisSizes& sizes) {
  std::vector<Buffer> buffers;
  for (const auto& state : signature.states) {
    auto buffer = allocate(signature, signature.inputs[state.input], sizes);
    if (!buffer) return buffer.error();
    buffers.push_back(*std::move(buffer));
  }
  return buffers;
}

}  // namespace temport::internal
