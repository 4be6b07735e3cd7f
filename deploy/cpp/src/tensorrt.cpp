// The TensorRT backend: the bundle's engine, buffers copied to and from the GPU on one stream per request.
//
// One build serves the flavour whose headers it was built with (TensorRT or TensorRT for RTX); the shared libraries are
// opened when a session is, so the program also starts on a machine without them.
#include <NvInferRuntime.h>
#include <dlfcn.h>
#include <mutex>

#include "cuda_library.h"
#include "file.h"
#include "runtime.h"

namespace temport::internal {
namespace {

#ifdef TRT_MAJOR_RTX
constexpr const char* kFlavour = "tensorrt-rtx";
const std::string kLibrary = "libtensorrt_rtx.so." + std::to_string(NV_TENSORRT_MAJOR);
#else
constexpr const char* kFlavour = "tensorrt";
const std::string kLibrary = "libnvinfer.so." + std::to_string(NV_TENSORRT_MAJOR);
#endif

// Keeps the last error, so that it can become the sentence of a Result.
class Logger final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    if (severity > Severity::kERROR) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    last_ = message;
  }
  std::string last() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return last_;
  }

 private:
  mutable std::mutex mutex_;
  std::string last_ = "no reason was given";
};

// Nothing for a type that TensorRT has no tensors of.
std::optional<nvinfer1::DataType> data_type(temport_dtype dtype) {
  switch (dtype) {
    case TEMPORT_BOOL: return nvinfer1::DataType::kBOOL;
    case TEMPORT_INT32: return nvinfer1::DataType::kINT32;
    case TEMPORT_INT64: return nvinfer1::DataType::kINT64;
    case TEMPORT_FLOAT16: return nvinfer1::DataType::kHALF;
    case TEMPORT_BFLOAT16: return nvinfer1::DataType::kBF16;
    case TEMPORT_FLOAT32: return nvinfer1::DataType::kFLOAT;
    case TEMPORT_UINT8: return nvinfer1::DataType::kUINT8;
    case TEMPORT_INT8: return nvinfer1::DataType::kINT8;
    default: return std::nullopt;
  }
}

// Everything that a request still needs when its session handle is gone.
struct Engine {
  Cuda cuda;
  Logger logger;
  std::unique_ptr<nvinfer1::IRuntime> runtime;
  std::unique_ptr<nvinfer1::ICudaEngine> engine;
  std::string version, library;
};

class TensorrtExecution final : public Execution {
 public:
  explicit TensorrtExecution(std::shared_ptr<const Engine> engine) : engine_(std::move(engine)) {}
  ~TensorrtExecution() override {
    for (void* memory : device_) engine_->cuda.release(memory);
    if (stream_) engine_->cuda.stream_destroy(stream_);
  }

  Result<void> prepare(const std::vector<Binding>& inputs, const std::vector<Binding>& outputs) {
    context_.reset(engine_->engine->createExecutionContext());
    if (!context_) return failed("TensorRT: " + engine_->logger.last());
    const Cuda& cuda = engine_->cuda;
    if (auto made = cuda.check(cuda.stream_create(&stream_, cudaStreamNonBlocking), "a stream"); !made) return made;
    inputs_ = inputs.size();
    for (const auto* side : {&inputs, &outputs})
      for (const auto& binding : *side)
        if (auto added = add(binding, side == &inputs); !added) return added;
    return {};
  }
  Result<void> rebind(size_t index, const Binding& binding) override {
    host_[index] = binding;
    return {};
  }
  Result<void> run() override {
    const Cuda& cuda = engine_->cuda;
    for (size_t i = 0; i < inputs_; ++i)
      if (auto copied = cuda.check(
              cuda.copy(device_[i], host_[i].data, host_[i].bytes, cudaMemcpyHostToDevice, stream_), "copying an input");
          !copied)
        return copied;
    if (!context_->enqueueV3(stream_)) return failed("TensorRT: " + engine_->logger.last());
    for (size_t i = inputs_; i < host_.size(); ++i)
      if (auto copied = cuda.check(
              cuda.copy(host_[i].data, device_[i], host_[i].bytes, cudaMemcpyDeviceToHost, stream_), "copying an output");
          !copied)
        return copied;
    return cuda.check(cuda.stream_synchronize(stream_), "the inference");
  }

 private:
  Result<void> add(const Binding& binding, bool input) {
    void* memory = nullptr;
    if (auto made = engine_->cuda.check(engine_->cuda.allocate(&memory, binding.bytes), "GPU memory"); !made) return made;
    device_.push_back(memory);
    host_.push_back(binding);
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<int32_t>(binding.shape.size());
    for (size_t d = 0; d < binding.shape.size(); ++d) dims.d[d] = static_cast<decltype(+dims.d[0])>(binding.shape[d]);
    if ((input && !context_->setInputShape(binding.name, dims)) || !context_->setTensorAddress(binding.name, memory))
      return failed(std::string("TensorRT: ") + binding.name + ": " + engine_->logger.last());
    return {};
  }

  std::shared_ptr<const Engine> engine_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  cudaStream_t stream_ = nullptr;
  size_t inputs_ = 0;
  std::vector<Binding> host_;
  std::vector<void*> device_;
};

class TensorrtModel final : public Model {
 public:
  explicit TensorrtModel(std::shared_ptr<const Engine> engine) : engine_(std::move(engine)) {}

  Result<std::unique_ptr<Execution>> prepare(const std::vector<Binding>& inputs,
                                             const std::vector<Binding>& outputs) const override {
    auto execution = std::make_unique<TensorrtExecution>(engine_);
    if (auto prepared = execution->prepare(inputs, outputs); !prepared) return prepared.error();
    return std::unique_ptr<Execution>(std::move(execution));
  }
  // The state is copied to the GPU and back, from one buffer to the other.
  bool writes_in_place(temport_dtype) const override { return false; }
  std::string version() const override { return engine_->version; }
  std::string library() const override { return engine_->library; }
  std::string path() const override { return "engine"; }

 private:
  std::shared_ptr<const Engine> engine_;
};

Result<void*> open_library(const std::string& name) {
  void* library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return unavailable(std::string(kFlavour) + " is not here (" + ::dlerror() + ")");
  return library;
}

Result<void> check_signature(const nvinfer1::ICudaEngine& engine, const Signature& signature) {
  const auto expected = static_cast<int32_t>(signature.inputs.size() + signature.outputs.size());
  if (engine.getNbIOTensors() != expected) return refused("the engine has another number of tensors than its signature");
  for (const auto* side : {&signature.inputs, &signature.outputs})
    for (const auto& spec : *side) {
      const auto mode = side == &signature.inputs ? nvinfer1::TensorIOMode::kINPUT : nvinfer1::TensorIOMode::kOUTPUT;
      if (engine.getTensorIOMode(spec.name.c_str()) != mode ||
          engine.getTensorDataType(spec.name.c_str()) != data_type(spec.dtype) ||
          engine.getTensorShape(spec.name.c_str()).nbDims != static_cast<int32_t>(spec.axes.size()))
        return refused("the engine's tensor " + spec.name + " is not what the signature says");
    }
  return {};
}

}  // namespace

Result<std::unique_ptr<Model>> load_tensorrt(const BundleDirectory& bundle, const SessionConfig& config,
                                             const std::string& flavour) {
  if (flavour != kFlavour) return unavailable(flavour + " is not in this build, which was made for " + kFlavour);
  const auto plan = bundle.read("engine." + flavour + ".plan");
  if (!plan) return plan.error();
  auto engine = std::make_shared<Engine>();
  auto cuda = Cuda::load();
  if (!cuda) return cuda.error();
  engine->cuda = *cuda;
  const std::string name = config.library.empty() ? kLibrary : config.library;
  const auto library = open_library(name);
  if (!library) return library.error();
  const auto create = reinterpret_cast<decltype(&::createInferRuntime_INTERNAL)>(
      ::dlsym(*library, "createInferRuntime_INTERNAL"));
  const auto version = reinterpret_cast<int32_t (*)()>(::dlsym(*library, "getInferLibVersion"));
  if (!create || !version) return unavailable("the library named for " + flavour + " is not TensorRT");
  engine->version = std::to_string(version());
  engine->library = file_name(name);
  engine->runtime.reset(static_cast<nvinfer1::IRuntime*>(create(&engine->logger, NV_TENSORRT_VERSION)));
  if (!engine->runtime) return unavailable("TensorRT: " + engine->logger.last());
  // `setEngineHostCodeAllowed` is never called. That protects from no hostile engine: it is native code all the same.
  engine->engine.reset(engine->runtime->deserializeCudaEngine(plan->data(), plan->size()));
  if (!engine->engine) return failed("TensorRT: " + engine->logger.last());
  if (auto same = check_signature(*engine->engine, bundle.manifest().signature); !same) return same.error();
  return std::unique_ptr<Model>(std::make_unique<TensorrtModel>(std::move(engine)));
}

}  // namespace temport::internal
