#include "ring_cache.h"

#include <algorithm>
#include <cstring>

namespace temport {

void need_apart(const std::string& label, std::initializer_list<State> states, int64_t bytes, bool in_place) {
  const auto overlap = [&](const void* x, const void* y) {
    const char *a = static_cast<const char*>(x), *b = static_cast<const char*>(y);
    return a < b + bytes && b < a + bytes;
  };
  for (const State& state : states)
    for (const State& other : states) {
      const bool own = &state == &other, held = own && in_place && state.after == state.before;
      const bool over_input = !held && overlap(state.after, other.before);
      if (over_input || (!own && overlap(state.after, other.after)))
        throw NodeError(label + ": Next" + state.name + " overlaps " + (over_input ? "" : "Next") + other.name +
                        "; it must lie in other memory" +
                        (in_place ? std::string(" or where ") + state.name + " lies." : "."));
    }
}

RingCache::RingCache(const std::string& label, const NodeCall& call, size_t frames_input, AttentionProblem& p) {
  const Tensor keys = call.input(1);
  if (keys.data == nullptr) throw NodeError(label + ": Keys is missing; it must be given with shape [batch, N, C].");
  if (keys.shape.size() != 3 || keys.shape[1] < 1)
    throw NodeError(label + ": Keys has shape " + shape_text(keys.shape) +
                    "; it must be [batch, N, C] with N at least 1.");
  batch_ = keys.shape[0];
  rows_ = keys.shape[1];
  width_ = keys.shape[2];
  p.dim = p.value_dim = head_dim(label, "Keys", width_, p.heads, "num_heads");
  dtype_ = p.dtype;
  p.ring = ring_ = DType(keys.type);
  keys_ = keys.data;
  const Tensor qkv = call.input(0);
  const bool flat = qkv.shape.size() == 2;
  const auto frame = [&](int64_t width) {
    return flat ? std::vector<int64_t>{batch_, width} : std::vector<int64_t>{batch_, 1, width};
  };
  qkv_ = data_of(label, "QKV", qkv, frame(times(3, width_)));
  values_ = data_of(label, "Values", call.input(2), keys.shape);
  frames_ = static_cast<const int64_t*>(data_of(label, "Frames", call.input(frames_input), {batch_, 1}));
  y_ = call.output(0, frame(width_));
  next_keys_ = call.output(1, keys.shape);
  next_values_ = call.output(2, keys.shape);
  if (next_keys_ == nullptr || next_values_ == nullptr)
    throw NodeError(label + ": outputs NextKeys and NextValues must be given; the attention reads them.");
  need_apart(label, {{"Keys", keys_, next_keys_}, {"Values", values_, next_values_}},
             elements(keys.shape) * bytes_of(ring_), true);

  p.batch = p.length = 1;
  p.rule.keys = rows_;
  p.q = {qkv_, 3 * width_, 3 * width_};
  p.k = {next_keys_, width_, times(rows_, width_)};
  p.v = {next_values_, width_, p.k.batch_stride};
  p.y = y_;
}

void RingCache::write_newest(const NodeCall& call, const Kernels& kernels) const {
  const int64_t cache = rows_ * width_;
  const size_t row_bytes = static_cast<size_t>(width_ * bytes_of(ring_));
  const bool copies = next_keys_ != keys_ || next_values_ != values_;
  share(call, batch_, copies ? 2 * cache : 2 * width_, [&](int64_t b) {
    const auto write = [&](const void* before, void* after, int64_t chunk) {
      char* to = const_cast<char*>(element_at(after, ring_, b * cache));
      if (after != before) std::memcpy(to, element_at(before, ring_, b * cache), static_cast<size_t>(rows_) * row_bytes);
      to += slot(b) * width_ * bytes_of(ring_);
      const char* newest = element_at(qkv_, dtype_, (3 * b + chunk) * width_);
      if (ring_ == dtype_)
        std::memcpy(to, newest, row_bytes);
      else
        kernels.round_to_halves(reinterpret_cast<const float*>(newest), width_, reinterpret_cast<uint16_t*>(to));
    };
    write(keys_, next_keys_, 1);
    write(values_, next_values_, 2);
  });
}

AttentionProblem RingCache::entry(const AttentionProblem& p, int64_t entry, int64_t filled) const {
  AttentionProblem own = p;
  own.rule.keys = filled;
  own.q.data = element_at(p.q.data, dtype_, entry * p.q.batch_stride);
  own.k.data = element_at(p.k.data, ring_, entry * p.k.batch_stride);
  own.v.data = element_at(p.v.data, ring_, entry * p.v.batch_stride);
  own.y = const_cast<char*>(element_at(p.y, dtype_, entry * width_));
  return own;
}

void share_heads(const NodeCall& call, int64_t batch, int64_t heads, int64_t floats,
                 const std::function<void(int64_t, int64_t, int64_t)>& body) {
  const int64_t parts = tasks_worth(heads, floats);
  share(call, batch * parts, heads * floats / parts, [&](int64_t i) {
    const int64_t part = i % parts, first = heads * part / parts;
    body(i / parts, first, heads * (part + 1) / parts - first);
  });
}

ort::Status* infer_ring_shapes(const ShapeInference& node) {
  Shape qkv, keys, values;
  if (!node.input(1, keys) || !keys.has_rank(3)) return nullptr;
  ort::Status* status = nullptr;
  if (node.input(0, qkv)) {
    Shape y;
    y.element_type = qkv.element_type;
    y.append(keys, 0);
    if (!qkv.has_rank(2)) y.append(1);
    y.append(keys, 2);
    status = node.set_output(0, y);
  }
  if (status == nullptr) status = node.set_output(1, keys);
  return status != nullptr || !node.input(2, values) ? status : node.set_output(2, values);
}

}  // namespace temport
