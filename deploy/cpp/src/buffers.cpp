#include "buffers.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace temport::internal {
namespace {

// A cache line, and the alignment at which ONNX Runtime and TensorRT take a caller's memory as it is.
constexpr size_t kAlignment = 64;

}  // namespace

Result<void> check_axes(const Signature& signature, const AxisSizes& sizes) {
  for (const auto& [name, size] : sizes) {
    bool known = false;
    for (const auto* side : {&signature.inputs, &signature.outputs})
      for (const auto& spec : *side)
        for (const auto& axis : spec.axes) known = known || (!axis.name.empty() && axis.name == name);
    if (!known) return invalid_argument("the model has no dynamic axis " + name);
  }
  return {};
}

void Free::operator()(void* memory) const { std::free(memory); }

Result<Buffer> allocate(const TensorSpec& spec, const AxisSizes& sizes) {
  std::vector<int64_t> shape;
  for (const auto& axis : spec.axes) {
    int64_t size = axis.opt;
    for (const auto& [name, given] : sizes)
      if (!axis.name.empty() && name == axis.name) size = given;
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

}  // namespace temport::internal
