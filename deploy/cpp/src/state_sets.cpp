#include "state_sets.h"

namespace temport::internal {

Result<std::unique_ptr<Steps>> StateSets::create(const Model& model, const Signature& signature, const AxisSizes& sizes,
                                                 const std::vector<Buffer>& inputs, const std::vector<Buffer>& outputs) {
  auto made = std::make_unique<StateSets>();
  for (auto& set : made->sets_) {
    auto buffers = allocate_states(signature, sizes);
    if (!buffers) return buffers.error();
    set = *std::move(buffers);
  }
  for (size_t i = 0; i < signature.states.size(); ++i) {
    const Binding& first = made->sets_[0][i].binding;
    if (signature.states[i].in_place && model.writes_in_place(first.dtype)) made->sets_[1][i] = {nullptr, first};
  }
  const auto bindings = [&](const std::vector<TensorSpec>& specs, size_t StateSpec::* side,
                            const std::vector<Buffer>& others, const std::vector<Buffer>& states) {
    std::vector<Binding> all;
    auto other = others.begin();
    for (size_t i = 0; i < specs.size(); ++i) {
      const auto state = state_at(signature, side, i);
      all.push_back(state ? states[*state].binding : (other++)->binding);
      all.back().name = specs[i].name.c_str();  // a state's buffer bears two names
    }
    return all;
  };
  for (const int turn : {0, 1}) {
    auto execution = model.prepare(bindings(signature.inputs, &StateSpec::input, inputs, made->sets_[turn]),
                                   bindings(signature.outputs, &StateSpec::output, outputs, made->sets_[1 - turn]));
    if (!execution) return execution.error();
    made->executions_[turn] = *std::move(execution);
  }
  return std::unique_ptr<Steps>(std::move(made));
}

Result<void> StateSets::run() {
  auto done = executions_[turn_]->run();
  if (done) turn_ = 1 - turn_;
  return done;
}

Result<std::unique_ptr<Steps>> Model::steps(const Signature& signature, const AxisSizes& sizes,
                                            const std::vector<Buffer>& inputs, const std::vector<Buffer>& outputs) const {
  return StateSets::create(*this, signature, sizes, inputs, outputs);
}

}  // namespace temport::internal
