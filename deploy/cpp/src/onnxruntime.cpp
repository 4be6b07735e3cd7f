// The ONNX Runtime backend: the bundle's model in one session, the request's buffers as its tensors.
#include "custom_nodes.h"
#include "op_library.h"
#include "ort_library.h"
#include "runtime.h"

namespace temport::internal {
namespace {

// ONNX Runtime numbers them as ONNX does.
ort::ElementType element_type(temport_dtype dtype) { return static_cast<ort::ElementType>(onnx_type(dtype)); }

class OrtExecution final : public Execution {
 public:
  OrtExecution(ort::Library library, ort::Session* session, const ort::MemoryInfo* memory, size_t inputs)
      : library_(std::move(library)), session_(session), memory_(memory), inputs_(inputs) {}

  Result<void> add(const Binding& binding) {
    names_.push_back(binding.name);
    values_.push_back(nullptr);
    owners_.push_back(library_.own<ort::ReleaseValue>(static_cast<ort::Value*>(nullptr)));
    return rebind(values_.size() - 1, binding);
  }
  Result<void> rebind(size_t index, const Binding& binding) override {
    ort::Value* value = nullptr;
    if (auto made = library_.check<ort::CreateTensorWithDataAsOrtValue>(
            memory_, binding.data, binding.bytes, binding.shape.data(), binding.shape.size(),
            element_type(binding.dtype), &value);
        !made)
      return made;
    owners_[index].reset(value);
    values_[index] = value;
    return {};
  }
  Result<void> run() override {
    return library_.check<ort::Run>(session_, static_cast<const ort::RunOptions*>(nullptr), names_.data(),
                                    const_cast<const ort::Value* const*>(values_.data()), inputs_,
                                    names_.data() + inputs_, names_.size() - inputs_, values_.data() + inputs_);
  }

 private:
  ort::Library library_;
  ort::Session* session_;
  const ort::MemoryInfo* memory_;
  size_t inputs_;
  std::vector<const char*> names_;
  std::vector<ort::Value*> values_;
  std::vector<ort::ValueOwner> owners_;
};

class OrtModel final : public Model {
 public:
  OrtModel(ort::Library library, ort::EnvOwner env, ort::SessionOwner session, ort::MemoryInfoOwner memory,
           std::string path, bool in_place)
      : library_(std::move(library)), env_(std::move(env)), session_(std::move(session)), memory_(std::move(memory)),
        path_(std::move(path)), in_place_(in_place) {}

  Result<std::unique_ptr<Execution>> prepare(const std::vector<Binding>& inputs,
                                             const std::vector<Binding>& outputs) const override {
    auto execution = std::make_unique<OrtExecution>(library_, session_.get(), memory_.get(), inputs.size());
    for (const auto* side : {&inputs, &outputs})
      for (const auto& binding : *side)
        if (auto added = execution->add(binding); !added) return added.error();
    return std::unique_ptr<Execution>(std::move(execution));
  }
  bool writes_in_place(temport_dtype dtype) const override { return in_place_ && dtype == TEMPORT_FLOAT32; }
  std::string version() const override { return library_.version(); }
  std::string library() const override { return library_.file(); }
  std::string path() const override { return path_; }

 private:
  ort::Library library_;
  ort::EnvOwner env_;
  ort::SessionOwner session_;
  ort::MemoryInfoOwner memory_;
  std::string path_;
  bool in_place_;
};

// Weights beside the model, as the bundle verified them: ONNX Runtime is given their bytes and opens no file itself. Given
// no file at all it would look in the working directory, so there is always one, of a name that no model can refer to.
Result<std::vector<Bytes>> give_weights(const ort::Library& library, const BundleDirectory& bundle,
                                        ort::SessionOptions* options) {
  std::vector<Bytes> files(1, Bytes(1));
  std::vector<const char*> names(1, "/");
  std::vector<char*> data(1, reinterpret_cast<char*>(files[0].data()));
  std::vector<size_t> sizes(1, 1);
  for (const auto& [name, entry] : bundle.manifest().files) {
    if (!is_weights(name)) continue;
    auto bytes = bundle.read(name);
    if (!bytes) return bytes.error();
    files.push_back(*std::move(bytes));
    names.push_back(name.c_str());
    data.push_back(reinterpret_cast<char*>(files.back().data()));
    sizes.push_back(files.back().size());
  }
  if (!library.has_version(18)) {
    if (files.size() == 1) return files;
    return unavailable("weights beside the model need ONNX Runtime 1.18 or later; this is " + library.version());
  }
  if (auto given = library.check<ort::AddExternalInitializersFromFilesInMemory>(options, names.data(), data.data(),
                                                                               sizes.data(), files.size());
      !given)
    return given.error();
  return files;
}

Result<ort::OptionsOwner> make_options(const ort::Library& library, const SessionConfig& config,
                                       const std::string& ops, bool fp8) {
  ort::SessionOptions* raw = nullptr;
  if (auto made = library.check<ort::CreateSessionOptions>(&raw); !made) return made.error();
  auto options = library.own<ort::ReleaseSessionOptions>(raw);
  if (auto set = library.check<ort::SetIntraOpNumThreads>(raw, config.threads); !set) return set.error();
  if (auto set = library.check<ort::SetInterOpNumThreads>(raw, 1); !set) return set.error();
  const char* const kConfig[][2] = {
      // ONNX Runtime's fused kernel is about ten times slower than LayerNormalization followed by Add.
      // Of products of fp8 it makes kernels of int8, and then refuses the model.
      {"optimization.disable_specified_optimizers",
       fp8 ? "SkipLayerNormFusion;QDQSelectorActionTransformer" : "SkipLayerNormFusion"},
      // Compressed weights meet activations in float32, not rounded to int8 (level 4, the default).
      {"session.qdq_matmulnbits_accuracy_level", "1"},
  };
  for (const auto& [key, value] : kConfig)
    if (auto set = library.check<ort::AddSessionConfigEntry>(raw, key, value); !set) return set.error();
  if (!ops.empty())
    if (auto set = library.check<ort::RegisterCustomOpsLibrary_V2>(raw, ops.c_str()); !set) return set.error();
  return options;
}

// One side of the loaded graph against the signature: names, element types, ranks and fixed sizes.
template <class Count, class Name, class Type>
Result<void> check_side(const ort::Library& library, const ort::Session* session, const std::vector<TensorSpec>& specs) {
  const auto differs = [](const std::string& what) {
    return refused("model.onnx is refused: its graph " + what + ", against its signature");
  };
  ort::Allocator* allocator = nullptr;
  size_t count = 0;
  if (auto got = library.check<ort::GetAllocatorWithDefaultOptions>(&allocator); !got) return got;
  if (auto got = library.check<Count>(session, &count); !got) return got;
  if (count != specs.size()) return differs("has " + std::to_string(count) + " tensors on one side");
  for (size_t i = 0; i < count; ++i) {
    const TensorSpec& spec = specs[i];
    char* text = nullptr;
    if (auto got = library.check<Name>(session, i, allocator, &text); !got) return got;
    const std::string name = text;
    if (auto freed = library.check<ort::AllocatorFree>(allocator, static_cast<void*>(text)); !freed) return freed;
    if (name != spec.name) return differs("has " + name + " in the place of " + spec.name);

    ort::TypeInfo* raw = nullptr;
    if (auto got = library.check<Type>(session, i, &raw); !got) return got;
    const auto type = library.own<ort::ReleaseTypeInfo>(raw);
    const ort::TensorInfo* info = nullptr;
    ort::ElementType element{};
    size_t rank = 0;
    if (auto got = library.check<ort::CastTypeInfoToTensorInfo>(raw, &info); !got) return got;
    if (!info) return differs("has " + name + ", which is not a tensor");
    if (auto got = library.check<ort::GetTensorElementType>(info, &element); !got) return got;
    if (auto got = library.check<ort::GetDimensionsCount>(info, &rank); !got) return got;
    if (element != element_type(spec.dtype)) return differs("gives " + name + " another element type");
    if (rank != spec.axes.size()) return differs("gives " + name + " rank " + std::to_string(rank));
    std::vector<int64_t> sizes(rank);
    if (auto got = library.check<ort::GetDimensions>(info, sizes.data(), rank); !got) return got;
    for (size_t d = 0; d < rank; ++d) {
      // A negative size is symbolic. Shape inference may leave a fixed output axis symbolic, so only numbers count.
      const Axis& axis = spec.axes[d];
      if (sizes[d] >= 0 && (sizes[d] < axis.min || sizes[d] > axis.max))
        return differs("gives axis " + std::to_string(d) + " of " + name + " the size " + std::to_string(sizes[d]));
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Model>> load_onnxruntime(const BundleDirectory& bundle, const SessionConfig& config) {
  const auto library = ort::Library::load(config.library);
  if (!library) return library.error();
  const auto ops = bundle.manifest().custom_ops ? OpLibrary::find(config.ops) : Result<OpLibrary>(OpLibrary());
  if (!ops) return ops.error();

  ort::Env* raw_env = nullptr;
  if (auto made = library->check<ort::CreateEnv>(ort::kError, "temport", &raw_env); !made) return made.error();
  auto env = library->own<ort::ReleaseEnv>(raw_env);
  const auto options = make_options(*library, config, ops->path, bundle.manifest().fp8);
  if (!options) return options.error();
  const auto weights = give_weights(*library, bundle, options->get());  // kept until the session is made
  if (!weights) return weights.error();

  const auto model = bundle.read(kModelFile);
  if (!model) return model.error();
  ort::Session* raw_session = nullptr;
  if (auto made = library->check<ort::CreateSessionFromArray>(raw_env, static_cast<const void*>(model->data()),
                                                              model->size(), options->get(), &raw_session);
      !made)
    return made.error();
  auto session = library->own<ort::ReleaseSession>(raw_session);

  const Signature& signature = bundle.manifest().signature;
  using namespace ort;
  if (auto same = check_side<SessionGetInputCount, SessionGetInputName, SessionGetInputTypeInfo>(
          *library, raw_session, signature.inputs);
      !same)
    return same.error();
  if (auto same = check_side<SessionGetOutputCount, SessionGetOutputName, SessionGetOutputTypeInfo>(
          *library, raw_session, signature.outputs);
      !same)
    return same.error();

  ort::MemoryInfo* raw_memory = nullptr;
  if (auto made = library->check<ort::CreateCpuMemoryInfo>(ort::kArenaAllocator, ort::kMemTypeDefault, &raw_memory);
      !made)
    return made.error();
  auto memory = library->own<ort::ReleaseMemoryInfo>(raw_memory);
  // A node without a kernel runs as its body, which cannot write where it reads.
  std::string path = !bundle.manifest().custom_ops ? "standard operators"
                     : ops->path.empty()           ? "function body"
                                                   : "native kernels " + ops->description;
  bool in_place = false;
  if (!ops->path.empty()) {
    const auto nodes = read_custom_nodes(model->data(), model->size());
    if (!nodes) return nodes.error();
    const std::string bodies = ops->bodies(*nodes);
    if (!bodies.empty()) path += "; " + bodies;
    in_place = ops->in_place && bodies.empty();
  }
  return std::unique_ptr<internal::Model>(std::make_unique<OrtModel>(*library, std::move(env), std::move(session),
                                                                     std::move(memory), std::move(path), in_place));
}

}  // namespace temport::internal
