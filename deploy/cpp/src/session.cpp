#include "session.h"

namespace temport::internal {
namespace {

// The name of the runtime. Where none is asked for it is the bundle's own engine, if that is for this processor and nothing
// is asked for that ONNX Runtime alone has.
Result<std::string> choose(const BundleDirectory& bundle, const SessionConfig& config) {
  const bool of_onnxruntime = !config.library.empty() || !config.ops.empty() || config.threads != 1;
  if (config.runtime == "native" && of_onnxruntime)
    return invalid_argument("a native engine is a library of its own on its caller's thread: it takes no library, no ops and one thread");
  if (!config.runtime.empty() && config.runtime != "auto") return config.runtime;
  const auto native = of_onnxruntime ? Result<bool>(false) : has_native_engine(bundle);
  if (!native) return native.error();
  return std::string(*native ? "native" : "onnxruntime");
}

Result<std::unique_ptr<Model>> load_runtime(const std::string& name, const BundleDirectory& bundle,
                                            const SessionConfig& config) {
  if (name == "native") return load_native_engine(bundle);
  if (name == "onnxruntime") return load_onnxruntime(bundle, config);
  if (name == "tensorrt" || name == "tensorrt-rtx") return load_tensorrt(bundle, config, name);
  return invalid_argument("runtime " + name + " is not one of auto, native, onnxruntime, tensorrt, tensorrt-rtx");
}

Digest identity(const Manifest& manifest) {
  Sha256 sha;
  for (const auto& [name, entry] : manifest.files)
    if (name == kModelFile || is_weights(name)) sha.update(entry.sha256.data(), entry.sha256.size());
  return sha.digest();
}

}  // namespace

Result<std::shared_ptr<const LoadedModel>> load(const BundleDirectory& bundle, const SessionConfig& config) {
  if (config.threads < 1 || config.threads > 1024)
    return invalid_argument("threads is " + std::to_string(config.threads) + "; give 1 to 1024");
  const auto name = choose(bundle, config);
  if (!name) return name.error();
  auto model = load_runtime(*name, bundle, config);
  if (!model) return model.error();
  auto loaded = std::make_shared<LoadedModel>();
  loaded->runtime = *name;
  loaded->version = (*model)->version();
  loaded->library = (*model)->library();
  loaded->path = (*model)->path();
  loaded->signature = bundle.manifest().signature;
  loaded->identity = identity(bundle.manifest());
  loaded->model = *std::move(model);
  loaded->frames = bundle.manifest().frames;
  return std::shared_ptr<const LoadedModel>(std::move(loaded));
}

Result<std::unique_ptr<RequestBuffers>> RequestBuffers::create(std::shared_ptr<const LoadedModel> model,
                                                               const AxisSizes& sizes) {
  const Signature& signature = model->signature;
  if (auto known = check_axes(signature, sizes); !known) return known.error();
  auto request = std::make_unique<RequestBuffers>();
  request->model_ = std::move(model);
  std::vector<Binding> sides[2];
  for (const auto* side : {&signature.inputs, &signature.outputs})
    for (const auto& spec : *side) {
      auto buffer = allocate(signature, spec, sizes);
      if (!buffer) return buffer.error();
      sides[side == &signature.outputs].push_back(buffer->binding);
      request->buffers_.push_back(*std::move(buffer));
    }
  auto execution = request->model_->model->prepare(sides[0], sides[1]);
  if (!execution) return execution.error();
  request->execution_ = *std::move(execution);
  return request;
}

Result<const Binding*> RequestBuffers::tensor(const std::string& name) const {
  for (const auto& buffer : buffers_)
    if (name == buffer.binding.name) return &buffer.binding;
  return invalid_argument("the model has no tensor " + name);
}

Result<void> RequestBuffers::bind(const std::string& name, void* data, size_t bytes) {
  for (size_t i = 0; i < buffers_.size(); ++i) {
    auto& [memory, binding] = buffers_[i];
    if (name != binding.name) continue;
    if (!data || bytes != binding.bytes)
      return invalid_argument("the memory for " + name + " has " + std::to_string(data ? bytes : 0) + " bytes; " +
                              std::to_string(binding.bytes) + " are needed");
    Binding next = binding;
    next.data = data;
    if (auto rebound = execution_->rebind(i, next); !rebound) return rebound;
    binding = std::move(next);
    memory.reset();
    return {};
  }
  return invalid_argument("the model has no tensor " + name);
}

}  // namespace temport::internal
