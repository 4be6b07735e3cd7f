// The bundle's own engine as a runtime: what it computes lies in the memory of an instance, and a stream's state stays there.
#include <algorithm>
#include <cstdlib>

#include "native_engine.h"
#include "steps.h"

namespace temport::internal {
namespace {

using SharedEngine = std::shared_ptr<const temport_engine>;

std::vector<void*> addresses(const std::vector<Buffer>& buffers) {
  std::vector<void*> all;
  for (const auto& buffer : buffers) all.push_back(buffer.binding.data);
  return all;
}

// One instance of the engine at chosen sizes of its axes, in the order of its table.
class Instance {
 public:
  static Result<Instance> create(SharedEngine engine, std::vector<int64_t> sizes) {
    const size_t to = engine->alignment, bytes = std::max<size_t>(1, (engine->memory_bytes + to - 1) / to) * to;
    std::unique_ptr<void, Free> memory(std::aligned_alloc(to, bytes));
    if (!memory) return failed("there is no memory for the " + std::to_string(bytes) + " bytes of the native engine");
    engine->reset(memory.get());
    return Instance(std::move(engine), std::move(memory), std::move(sizes));
  }

  // NaN and infinity are numbers here: a stream has looked for them before, a request computes them.
  Result<void> run(const std::vector<void*>& inputs, const std::vector<void*>& outputs) {
    const auto code =
        engine_->run(memory_.get(), sizes_.data(), inputs.data(), outputs.data(), TEMPORT_ENGINE_PASS_NONFINITE);
    if (code == TEMPORT_ENGINE_OK) return {};
    return failed("the native engine failed with code " + std::to_string(code));
  }
  void load(const std::vector<void*>& states) { engine_->load(memory_.get(), sizes_.data(), states.data()); }
  void store(const std::vector<void*>& states) const { engine_->store(memory_.get(), sizes_.data(), states.data()); }

 private:
  Instance(SharedEngine engine, std::unique_ptr<void, Free> memory, std::vector<int64_t> sizes)
      : engine_(std::move(engine)), memory_(std::move(memory)), sizes_(std::move(sizes)) {}

  SharedEngine engine_;
  std::unique_ptr<void, Free> memory_;
  std::vector<int64_t> sizes_;
};

// A step model's states are among the tensors of a request: they are loaded before the frame and stored after it.
class NativeExecution final : public Execution {
 public:
  NativeExecution(Instance instance, const Signature& signature) : instance_(std::move(instance)) {
    const auto sort = [&](size_t count, size_t StateSpec::* side, std::vector<void*>& others, std::vector<void*>& states) {
      others.resize(count - signature.states.size());
      states.resize(signature.states.size());
      for (size_t i = 0, next = 0; i < count; ++i) {
        const auto state = state_at(signature, side, i);
        places_.push_back(state ? &states[*state] : &others[next++]);
      }
    };
    sort(signature.inputs.size(), &StateSpec::input, inputs_, before_);
    sort(signature.outputs.size(), &StateSpec::output, outputs_, after_);
  }

  Result<void> rebind(size_t index, const Binding& binding) override {
    *places_[index] = binding.data;
    return {};
  }
  Result<void> run() override {
    instance_.load(before_);
    auto done = instance_.run(inputs_, outputs_);
    if (done) instance_.store(after_);
    return done;
  }

 private:
  Instance instance_;
  std::vector<void*> inputs_, outputs_, before_, after_;
  std::vector<void**> places_;  // into these, in the order of the bindings
};

// The state is in the engine's own layout, and a tensor of the model when somebody asks for it.
class NativeSteps final : public Steps {
 public:
  NativeSteps(Instance instance, const std::vector<Buffer>& inputs, const std::vector<Buffer>& outputs,
              std::vector<Buffer> state)
      : instance_(std::move(instance)), inputs_(addresses(inputs)), outputs_(addresses(outputs)), state_(std::move(state)),
        states_(addresses(state_)) {}

  Result<void> run() override { return instance_.run(inputs_, outputs_); }
  const std::vector<Buffer>& state() override {
    instance_.store(states_);
    return state_;
  }
  void take() override { instance_.load(states_); }

 private:
  Instance instance_;
  const std::vector<void*> inputs_, outputs_;
  const std::vector<Buffer> state_;
  const std::vector<void*> states_;
};

class NativeModel final : public Model {
 public:
  NativeModel(SharedEngine engine, Signature signature, std::string library)
      : engine_(std::move(engine)), signature_(std::move(signature)), library_(std::move(library)) {}

  Result<std::unique_ptr<Execution>> prepare(const std::vector<Binding>& inputs,
                                             const std::vector<Binding>& outputs) const override {
    auto instance = Instance::create(engine_, sizes_of(inputs));
    if (!instance) return instance.error();
    auto execution = std::make_unique<NativeExecution>(*std::move(instance), signature_);
    for (size_t i = 0; i < inputs.size() + outputs.size(); ++i)
      if (auto bound = execution->rebind(i, i < inputs.size() ? inputs[i] : outputs[i - inputs.size()]); !bound)
        return bound.error();
    return std::unique_ptr<Execution>(std::move(execution));
  }
  Result<std::unique_ptr<Steps>> steps(const Signature& signature, const AxisSizes& sizes,
                                       const std::vector<Buffer>& inputs,
                                       const std::vector<Buffer>& outputs) const override {
    auto state = allocate_states(signature, sizes);
    if (!state) return state.error();
    std::vector<Binding> shaped;
    for (const auto& buffer : inputs) shaped.push_back(buffer.binding);
    for (const auto& buffer : *state) shaped.push_back(buffer.binding);
    auto instance = Instance::create(engine_, sizes_of(shaped));
    if (!instance) return instance.error();
    return std::unique_ptr<Steps>(
        std::make_unique<NativeSteps>(*std::move(instance), inputs, outputs, *std::move(state)));
  }
  // The state is not among the tensors.
  bool writes_in_place(temport_dtype) const override { return false; }
  std::string version() const override { return engine_->temport; }
  std::string library() const override { return library_; }
  std::string path() const override { return std::string("native engine ") + engine_->temport + ", " + engine_->isa; }

 private:
  // The sizes of the engine's axes, as the shapes of the inputs have them.
  std::vector<int64_t> sizes_of(const std::vector<Binding>& inputs) const {
    std::vector<int64_t> sizes(std::max(1u, engine_->axis_count));
    for (const auto& input : inputs)
      for (const auto& spec : signature_.inputs)
        for (size_t d = 0; spec.name == input.name && d < spec.axes.size(); ++d)
          for (uint32_t i = 0; i < engine_->axis_count; ++i)
            if (spec.axes[d].name == engine_->axis[i].name) sizes[i] = input.shape[d];
    return sizes;
  }

  SharedEngine engine_;
  Signature signature_;
  std::string library_;
};

}  // namespace

Result<std::unique_ptr<Model>> load_native_engine(const BundleDirectory& bundle) {
  const auto entry = find_engine(bundle);
  if (!entry) return entry.error();
  if (!*entry) return unavailable(bundle.directory() + " has no native engine; temport export --target native compiles one");
  auto engine = load_engine(bundle, **entry);
  if (!engine) return engine.error();
  const std::string& file = (*entry)->file;
  return std::unique_ptr<Model>(std::make_unique<NativeModel>(*std::move(engine), bundle.manifest().signature,
                                                              file.substr(file.rfind('/') + 1)));
}

}  // namespace temport::internal
