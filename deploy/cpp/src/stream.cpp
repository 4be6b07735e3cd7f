#include "stream.h"

#include <cstring>

namespace temport::internal {
Result<std::unique_ptr<StreamBuffers>> StreamBuffers::create(std::shared_ptr<const LoadedModel> model,
                                                             const AxisSizes& sizes) {
  if (model->signature.states.empty())
    return invalid_argument("the model takes whole sequences; a stream needs a step model (temport export --streaming)");
  if (auto known = check_axes(model->signature, sizes); !known) return known.error();
  auto stream = std::make_unique<StreamBuffers>();
  stream->model_ = std::move(model);
  if (auto allocated = stream->allocate_all(sizes); !allocated) return allocated.error();
  for (const int turn : {0, 1})
    if (auto prepared = stream->prepare(turn); !prepared) return prepared.error();
  return stream;
}

Result<void> StreamBuffers::allocate_all(const AxisSizes& sizes) {
  const Signature& signature = model_->signature;
  for (const auto& state : signature.states) {
    const TensorSpec& spec = signature.inputs[state.input];
    const bool in_place = state.in_place && model_->model->writes_in_place(spec.dtype);
    for (auto& set : states_) {
      auto buffer = in_place && &set != &states_[0] ? Result<Buffer>(Buffer{nullptr, states_[0].back().binding})
                                                    : allocate(signature, spec, sizes);
      if (!buffer) return buffer.error();
      set.push_back(*std::move(buffer));
    }
  }
  const auto add = [&](const std::vector<TensorSpec>& specs, size_t StateSpec::* side,
                       std::vector<Buffer>& to) -> Result<void> {
    for (size_t i = 0; i < specs.size(); ++i) {
      if (state_at(signature, side, i)) continue;
      auto buffer = allocate(signature, specs[i], sizes);
      if (!buffer) return buffer.error();
      to.push_back(*std::move(buffer));
    }
    return {};
  };
  if (auto added = add(signature.inputs, &StateSpec::input, inputs_); !added) return added;
  return add(signature.outputs, &StateSpec::output, outputs_);
}

Result<void> StreamBuffers::prepare(int turn) {
  const Signature& signature = model_->signature;
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
  auto execution =
      model_->model->prepare(bindings(signature.inputs, &StateSpec::input, inputs_, states_[turn]),
                             bindings(signature.outputs, &StateSpec::output, outputs_, states_[1 - turn]));
  if (!execution) return execution.error();
  executions_[turn] = *std::move(execution);
  return {};
}

Result<const Binding*> StreamBuffers::tensor(const std::string& name) const {
  for (const auto* side : {&inputs_, &outputs_})
    for (const auto& buffer : *side)
      if (name == buffer.binding.name) return &buffer.binding;
  return invalid_argument("the stream has no frame or output " + name);
}

Result<void> StreamBuffers::run() {
  auto done = executions_[turn_]->run();
  if (done) turn_ = 1 - turn_;
  return done;
}

size_t StreamBuffers::entries() const { return static_cast<size_t>(states_[0][0].binding.shape[0]); }

void StreamBuffers::reset() {
  for (auto& buffer : states_[turn_]) std::memset(buffer.binding.data, 0, buffer.binding.bytes);
}

Result<void> StreamBuffers::reset(size_t entry) {
  if (auto known = check_entry(entry); !known) return known;
  for (const auto& row : rows(entry)) std::memset(row.data, 0, row.bytes);
  return {};
}

Result<void> StreamBuffers::save(size_t entry, uint8_t* bytes, size_t size) const {
  if (auto known = check_entry(entry); !known) return known;
  if (!bytes || size != state_bytes())
    return invalid_argument("the memory for the state has " + std::to_string(bytes ? size : 0) + " bytes; " +
                            std::to_string(state_bytes()) + " are needed");
  write_state(model_->identity, rows(entry), bytes);
  return {};
}

Result<void> StreamBuffers::restore(size_t entry, const uint8_t* bytes, size_t size) {
  if (auto known = check_entry(entry); !known) return known;
  return read_state(model_->identity, bytes, bytes ? size : 0, rows(entry));
}

Result<void> StreamBuffers::check_entry(size_t entry) const {
  if (entry < entries()) return {};
  return invalid_argument("there is no stream " + std::to_string(entry) + " among " + std::to_string(entries()));
}

std::vector<StateRow> StreamBuffers::rows(size_t entry) const {
  std::vector<StateRow> found;
  for (const auto& [memory, binding] : states_[turn_]) {
    const size_t bytes = binding.bytes / entries();
    found.push_back({binding.dtype, static_cast<uint8_t*>(binding.data) + entry * bytes, bytes});
  }
  return found;
}

}  // namespace temport::internal
