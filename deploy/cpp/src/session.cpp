#include "session.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace temport::internal {
namespace {

// A cache line, and the alignment at which ONNX Runtime and TensorRT take a caller's memory as it is.
constexpr size_t kAlignment = 64;

Result<std::unique_ptr<Model>> load_runtime(const BundleDirectory& bundle, const SessionConfig& config) {
  if (config.runtime == "onnxruntime") return load_onnxruntime(bundle, config);
  if (config.runtime == "tensorrt" || config.runtime == "tensorrt-rtx")
    return load_tensorrt(bundle, config, config.runtime);
  return invalid_argument("runtime " + config.runtime + " is not one of onnxruntime, tensorrt, tensorrt-rtx");
}

}  // namespace

Result<std::shared_ptr<const LoadedModel>> load(const BundleDirectory& bundle, const SessionConfig& config) {
  if (config.threads < 1 || config.threads > 1024)
    return invalid_argument("threads is " + std::to_string(config.threads) + "; give 1 to 1024");
  auto model = load_runtime(bundle, config);
  if (!model) return model.error();
  auto loaded = std::make_shared<LoadedModel>();
  loaded->runtime = config.runtime;
  loaded->version = (*model)->version();
  loaded->path = (*model)->path();
  loaded->signature = bundle.manifest().signature;
  loaded->model = *std::move(model);
  return std::shared_ptr<const LoadedModel>(std::move(loaded));
}

void RequestBuffers::Free::operator()(void* memory) const { std::free(memory); }

Result<std::unique_ptr<RequestBuffers>> RequestBuffers::create(
    std::shared_ptr<const LoadedModel> model, const std::vector<std::pair<std::string, int64_t>>& sizes) {
  const Signature& signature = model->signature;
  for (const auto& [axis, size] : sizes) {
    bool known = false;
    for (const auto* side : {&signature.inputs, &signature.outputs})
      for (const auto& spec : *side)
        for (const auto& own : spec.axes) known = known || own.name == axis;
    if (!known) return invalid_argument("the model has no dynamic axis " + axis);
  }
  auto request = std::make_unique<RequestBuffers>();
  request->model_ = std::move(model);
  for (const auto* side : {&signature.inputs, &signature.outputs})
    for (const auto& spec : *side)
      if (auto added = request->add(spec, sizes); !added) return added.error();
  const auto middle = request->bindings_.begin() + static_cast<std::ptrdiff_t>(signature.inputs.size());
  auto execution = request->model_->model->prepare({request->bindings_.begin(), middle},
                                                   {middle, request->bindings_.end()});
  if (!execution) return execution.error();
  request->execution_ = *std::move(execution);
  return request;
}

Result<void> RequestBuffers::add(const TensorSpec& spec, const std::vector<std::pair<std::string, int64_t>>& sizes) {
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
  void* memory = std::aligned_alloc(kAlignment, padded);
  if (!memory) return failed("there is no memory for the " + std::to_string(bytes) + " bytes of " + spec.name);
  std::memset(memory, 0, padded);
  memory_.emplace_back(memory);
  bindings_.push_back({spec.name.c_str(), spec.dtype, std::move(shape), memory, bytes});
  return {};
}

Result<const Binding*> RequestBuffers::tensor(const std::string& name) const {
  for (const auto& binding : bindings_)
    if (name == binding.name) return &binding;
  return invalid_argument("the model has no tensor " + name);
}

Result<void> RequestBuffers::bind(const std::string& name, void* data, size_t bytes) {
  for (size_t i = 0; i < bindings_.size(); ++i) {
    if (name != bindings_[i].name) continue;
    if (!data || bytes != bindings_[i].bytes)
      return invalid_argument("the memory for " + name + " has " + std::to_string(data ? bytes : 0) + " bytes; " +
                              std::to_string(bindings_[i].bytes) + " are needed");
    Binding next = bindings_[i];
    next.data = data;
    if (auto rebound = execution_->rebind(i, next); !rebound) return rebound;
    bindings_[i] = std::move(next);
    memory_[i].reset();
    return {};
  }
  return invalid_argument("the model has no tensor " + name);
}

}  // namespace temport::internal
