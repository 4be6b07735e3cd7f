#include "stream.h"

#include <algorithm>
#include <cstring>

#include "manifest.h"
#include "nonfinite.h"

namespace temport::internal {

Result<std::unique_ptr<StreamBuffers>> StreamBuffers::create(std::shared_ptr<const LoadedModel> model,
                                                             const AxisSizes& sizes,
                                                             temport_on_nonfinite on_nonfinite) {
  if (model->signature.states.empty())
    return invalid_argument("the model takes whole sequences; a stream needs a step model (temport export --streaming)");
  if (auto known = check_axes(model->signature, sizes); !known) return known.error();
  auto stream = std::make_unique<StreamBuffers>();
  stream->model_ = std::move(model);
  stream->on_nonfinite_ = on_nonfinite;
  const Signature& signature = stream->model_->signature;
  for (const auto* side : {&signature.inputs, &signature.outputs})
    for (size_t i = 0; i < side->size(); ++i) {
      const bool input = side == &signature.inputs;
      if (state_at(signature, input ? &StateSpec::input : &StateSpec::output, i)) continue;
      auto buffer = allocate(signature, (*side)[i], sizes);
      if (!buffer) return buffer.error();
      (input ? stream->inputs_ : stream->outputs_).push_back(*std::move(buffer));
    }
  auto steps = stream->model_->model->steps(signature, sizes, stream->inputs_, stream->outputs_);
  if (!steps) return steps.error();
  stream->steps_ = *std::move(steps);
  stream->state_bytes_ = state_size(stream->rows(0));
  if (stream->model_->frames > 0) stream->seen_.resize(stream->entries());
  return stream;
}

Result<const Binding*> StreamBuffers::tensor(const std::string& name) const {
  for (const auto* side : {&inputs_, &outputs_})
    for (const auto& buffer : *side)
      if (name == buffer.binding.name) return &buffer.binding;
  return invalid_argument("the stream has no frame or output " + name);
}

Result<void> StreamBuffers::run() {
  if (on_nonfinite_ != TEMPORT_PASS_NONFINITE)
    if (auto finite = check_finite(); !finite) return finite;
  if (auto open = check_end(); !open) return open;
  auto done = steps_->run();
  if (done)
    for (auto& frames : seen_) ++frames;
  return done;
}

size_t StreamBuffers::entries() const { return static_cast<size_t>(inputs_[0].binding.shape[0]); }

void StreamBuffers::reset() {
  for (const auto& buffer : steps_->state()) std::memset(buffer.binding.data, 0, buffer.binding.bytes);
  steps_->take();
  std::fill(seen_.begin(), seen_.end(), 0);
}

Result<void> StreamBuffers::reset(size_t entry) {
  if (auto known = check_entry(entry); !known) return known;
  for (const auto& row : rows(entry)) std::memset(row.data, 0, row.bytes);
  steps_->take();
  if (!seen_.empty()) seen_[entry] = 0;
  return {};
}

bool StreamBuffers::poisoned() const {
  const std::vector<Buffer>& state = steps_->state();
  return std::any_of(state.begin(), state.end(), [](const Buffer& buffer) {
    return first_nonfinite(buffer.binding.dtype, buffer.binding.data, buffer.binding.bytes).has_value();
  });
}

Result<bool> StreamBuffers::poisoned(size_t entry) const {
  if (auto known = check_entry(entry); !known) return known.error();
  const auto state = rows(entry);
  return std::any_of(state.begin(), state.end(), [](const StateRow& row) {
    return first_nonfinite(row.dtype, row.data, row.bytes).has_value();
  });
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
  auto done = read_state(model_->identity, bytes, bytes ? size : 0, rows(entry));
  if (done) steps_->take();
  if (done && !seen_.empty()) seen_[entry] = counted(entry);
  return done;
}

Result<void> StreamBuffers::check_entry(size_t entry) const {
  if (entry < entries()) return {};
  return invalid_argument("there is no stream " + std::to_string(entry) + " among " + std::to_string(entries()));
}

Result<void> StreamBuffers::check_finite() const {
  for (const auto& [memory, binding] : inputs_) {
    const auto found = first_nonfinite(binding.dtype, binding.data, binding.bytes);
    if (!found) continue;
    const size_t row = found->element * element_size(binding.dtype) / (binding.bytes / entries());
    return Error{TEMPORT_NONFINITE, std::string("the frame is refused: ") + binding.name + " holds " +
                                        (found->is_nan ? "NaN" : "infinity") + " in row " + std::to_string(row) +
                                        " of the batch; the state is as it was"};
  }
  return {};
}

Result<void> StreamBuffers::check_end() const {
  const auto most = std::max_element(seen_.begin(), seen_.end());
  if (most == seen_.end() || *most < model_->frames) return {};
  return Error{TEMPORT_ENDED, "the frame is refused: stream " + std::to_string(most - seen_.begin()) +
                                  " of the batch has had " + std::to_string(model_->frames) +
                                  " frames, and the model has positions for no more; reset starts it anew"};
}

int64_t StreamBuffers::counted(size_t entry) const {
  const Signature& signature = model_->signature;
  const auto state = rows(entry);
  int64_t frames = 0;
  for (size_t i = 0; i < state.size(); ++i)
    if (signature.inputs[signature.states[i].input].name == kCounter && state[i].bytes == sizeof frames)
      std::memcpy(&frames, state[i].data, sizeof frames);
  return frames;
}

std::vector<StateRow> StreamBuffers::rows(size_t entry) const {
  std::vector<StateRow> found;
  for (const auto& [memory, binding] : steps_->state()) {
    const size_t bytes = binding.bytes / entries();
    found.push_back({binding.dtype, static_cast<uint8_t*>(binding.data) + entry * bytes, bytes});
  }
  return found;
}

}  // namespace temport::internal
