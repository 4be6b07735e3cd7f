#include "inference.h"

#include <algorithm>
#include <cstring>

#include "file.h"
#include "output.h"

namespace temport::runner {

bool frames_in_place(const temport_tensor_spec& spec) {
  return spec.rank >= 2 && spec.axes[1].min == 1 && spec.axes[1].max == 1;
}

namespace {

constexpr uint64_t kMaxState = uint64_t{1} << 30;
constexpr size_t kMaxRefusedNamed = 100;

template <const char* temport_state_spec::* side>
std::vector<temport_tensor_spec> without_states(const Bundle& bundle, std::vector<temport_tensor_spec> specs) {
  const auto states = bundle.states();
  const auto is_state = [&](const temport_tensor_spec& spec) {
    return std::any_of(states.begin(), states.end(), [&](const auto& state) { return std::strcmp(state.*side, spec.name) == 0; });
  };
  specs.erase(std::remove_if(specs.begin(), specs.end(), is_state), specs.end());
  return specs;
}

// The sizes of the named axes that the shapes imply, or where they contradict the signature or each other.
Result<std::vector<AxisSize>> sizes_of(const std::vector<temport_tensor_spec>& specs,
                                       const std::vector<std::vector<int64_t>>& shapes) {
  std::vector<AxisSize> sizes;
  for (size_t i = 0; i < specs.size(); ++i) {
    if (shapes[i].size() != specs[i].rank) return invalid_argument(std::string(specs[i].name) + " has another rank");
    for (size_t d = 0; d < specs[i].rank; ++d) {
      const temport_axis& axis = specs[i].axes[d];
      const int64_t size = shapes[i][d];
      if (!axis.name && size != axis.opt)
        return invalid_argument("axis " + std::to_string(d) + " of " + specs[i].name + " is " + std::to_string(size) +
                                "; the model takes " + std::to_string(axis.opt));
      if (!axis.name) continue;
      for (const auto& known : sizes)
        if (known.axis == axis.name && known.size != size)
          return invalid_argument("axis " + known.axis + " is " + std::to_string(known.size) + " in one input and " +
                                  std::to_string(size) + " in " + specs[i].name);
      sizes.push_back({axis.name, size});
    }
  }
  return sizes;
}

Array like(const temport_tensor_spec& spec, std::vector<int64_t> shape) {
  Bytes bytes(static_cast<size_t>(*internal::element_count(shape)) * internal::element_size(spec.dtype));
  const ArrayView view{spec.dtype, std::move(shape), bytes.data(), bytes.size()};
  return {std::move(bytes), view};
}

// Row `frame` of every stream: [batch, frames, ...] on one side, [batch, ...] on the other.
struct Row {
  size_t bytes, stride, offset;
  size_t count;
};

Row row_of(const std::vector<int64_t>& shape, size_t total, int64_t frame) {
  const auto batch = static_cast<size_t>(shape[0]), frames = static_cast<size_t>(shape[1]);
  const size_t bytes = total / (batch * frames);
  return {bytes, bytes * frames, bytes * static_cast<size_t>(frame), batch};
}

void write_frame(const Tensor& buffer, const ArrayView& input, int64_t frame) {
  const Row row = row_of(input.shape, input.bytes, frame);
  for (size_t i = 0; i < row.count; ++i)
    std::memcpy(static_cast<uint8_t*>(buffer.data) + i * row.bytes, input.data + i * row.stride + row.offset, row.bytes);
}

void read_frame(const Tensor& buffer, Array& output, int64_t frame) {
  const Row row = row_of(output.view.shape, output.view.bytes, frame);
  for (size_t i = 0; i < row.count; ++i)
    std::memcpy(output.bytes.data() + i * row.stride + row.offset,
                static_cast<const uint8_t*>(buffer.data) + i * row.bytes, row.bytes);
}

// The row of a frame that was refused: NaN, as every byte set is in each of the floating-point types, or else 0.
void spoil_frame(Array& output, int64_t frame) {
  const temport_dtype type = output.view.dtype;
  const bool has_nan = type == TEMPORT_FLOAT16 || type == TEMPORT_BFLOAT16 || type == TEMPORT_FLOAT32 || type == TEMPORT_FLOAT64;
  const Row row = row_of(output.view.shape, output.view.bytes, frame);
  for (size_t i = 0; i < row.count; ++i)
    std::memset(output.bytes.data() + i * row.stride + row.offset, has_nan ? 0xff : 0, row.bytes);
}

Result<Stream> stream_for(const Opened& opened, const std::vector<ArrayView>& inputs) {
  const auto specs = data_inputs(opened.bundle);
  std::vector<std::vector<int64_t>> one_frame;
  for (size_t i = 0; i < specs.size(); ++i) {
    const auto& shape = inputs[i].shape;
    const bool in_place = frames_in_place(specs[i]);
    if (shape.size() != specs[i].rank + (in_place ? 0 : 1) || shape.size() < 2 || shape[1] < 1 ||
        inputs[0].shape.size() < 2 || shape[1] != inputs[0].shape[1])
      return invalid_argument(std::string(specs[i].name) + " is " + internal::shape_text(shape) +
                              "; a stream is [batch, frames, ...] with as many frames in every input");
    one_frame.push_back(shape);
    if (in_place)
      one_frame.back()[1] = 1;
    else
      one_frame.back().erase(one_frame.back().begin() + 1);
  }
  const auto sizes = sizes_of(specs, one_frame);
  if (!sizes) return sizes.error();
  return opened.session.stream(*sizes, opened.stream);
}

Result<void> restore(Stream& stream, const std::string& file) {
  const auto state = internal::read_file(file, kMaxState, internal::Links::kFollow);
  if (!state) return state.error();
  if (auto done = stream.restore(*state); !done) return invalid_argument(file + ": " + done.error().message);
  return {};
}

Result<void> save(const Stream& stream, const std::string& file) {
  const auto state = stream.save();
  if (!state) return state.error();
  return write_file(file, *state);
}

Result<Inferred> infer_stream(const Opened& opened, const std::vector<ArrayView>& inputs, const StateFiles& state) {
  auto stream = stream_for(opened, inputs);
  if (!stream) return stream.error();
  if (!(state.restore + state.save).empty() && stream->entries() != 1)
    return invalid_argument("a saved state is that of one stream; the input holds " + std::to_string(stream->entries()));
  if (!state.restore.empty())
    if (auto done = restore(*stream, state.restore); !done) return done.error();
  const int64_t frames = inputs[0].shape[1];
  StreamReport report{frames, {}, false};
  std::vector<Tensor> frame_buffers, output_buffers;
  std::vector<Array> outputs;
  for (const auto& spec : data_inputs(opened.bundle)) frame_buffers.push_back(*stream->tensor(spec.name));
  for (const auto& spec : data_outputs(opened.bundle)) {
    const Tensor buffer = *stream->tensor(spec.name);
    std::vector<int64_t> shape(buffer.shape, buffer.shape + buffer.rank);
    shape.insert(shape.begin() + 1, frames);
    if (!internal::element_count(shape)) return invalid_argument("the stream is longer than any memory");
    outputs.push_back(like(spec, std::move(shape)));
    output_buffers.push_back(buffer);
  }
  for (int64_t frame = 0; frame < frames; ++frame) {
    for (size_t i = 0; i < inputs.size(); ++i) write_frame(frame_buffers[i], inputs[i], frame);
    const auto done = stream->run();
    const bool refused = !done && done.error().code == TEMPORT_NONFINITE;
    if (!done && !refused) return failed("frame " + std::to_string(frame) + ": " + done.error().message);
    if (refused) report.refused.push_back(frame);
    for (size_t i = 0; i < outputs.size(); ++i)
      refused ? spoil_frame(outputs[i], frame) : read_frame(output_buffers[i], outputs[i], frame);
  }
  report.poisoned = stream->poisoned();
  if (!state.save.empty())
    if (auto done = save(*stream, state.save); !done) return done.error();
  return Inferred{std::move(outputs), std::move(report)};
}

}  // namespace

std::vector<temport_tensor_spec> data_inputs(const Bundle& bundle) {
  return without_states<&temport_state_spec::input>(bundle, bundle.inputs());
}

std::vector<temport_tensor_spec> data_outputs(const Bundle& bundle) {
  return without_states<&temport_state_spec::output>(bundle, bundle.outputs());
}

ArrayView view_of(const Tensor& tensor) {
  return {tensor.dtype, {tensor.shape, tensor.shape + tensor.rank}, static_cast<const uint8_t*>(tensor.data), tensor.bytes};
}

Json as_json(const StreamReport& stream) {
  const size_t named = std::min(stream.refused.size(), kMaxRefusedNamed);
  return {{"frames", stream.frames},
          {"refused", stream.refused.size()},
          {"refused_frames", std::vector<int64_t>(stream.refused.begin(), stream.refused.begin() + static_cast<std::ptrdiff_t>(named))},
          {"poisoned", stream.poisoned}};
}

Result<Inferred> infer(const Opened& opened, const std::vector<ArrayView>& inputs, const StateFiles& state) {
  if (!opened.bundle.states().empty()) return infer_stream(opened, inputs, state);
  if (!(state.restore + state.save).empty())
    return invalid_argument("--restore and --save need a step model (temport export --streaming)");
  const auto specs = data_inputs(opened.bundle);
  std::vector<std::vector<int64_t>> shapes;
  for (const auto& input : inputs) shapes.push_back(input.shape);
  const auto sizes = sizes_of(specs, shapes);
  if (!sizes) return sizes.error();
  auto request = opened.session.request(*sizes);
  if (!request) return request.error();
  for (size_t i = 0; i < specs.size(); ++i) {
    const auto buffer = request->tensor(specs[i].name);
    if (!buffer) return buffer.error();
    std::memcpy(buffer->data, inputs[i].data, buffer->bytes);
  }
  if (auto done = request->run(); !done) return done.error();
  std::vector<Array> outputs;
  for (const auto& spec : data_outputs(opened.bundle)) {
    const auto buffer = request->tensor(spec.name);
    if (!buffer) return buffer.error();
    outputs.push_back(like(spec, {buffer->shape, buffer->shape + buffer->rank}));
    std::memcpy(outputs.back().bytes.data(), buffer->data, buffer->bytes);
  }
  return Inferred{std::move(outputs), std::nullopt};
}

}  // namespace temport::runner
