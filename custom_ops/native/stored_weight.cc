#include "stored_weight.h"

namespace temport {

namespace {

// Where scales lie: one for every `block` entries of an axis with so many, `before` times, and for each of `behind` entries
// that follow; shared by all of those where there is one for an entry of the axis alone.
struct Scales {
  int64_t before, entries, behind, block;
  bool shared;
  size_t axis;

  int64_t of(int64_t before_it, int64_t entry, int64_t behind_it) const {
    return shared ? entry : (before_it * (entries / block) + entry / block) * behind + behind_it;
  }
};

Scales scales_of(const std::string& label, const char* name, const std::vector<int64_t>& w,
                 const std::vector<int64_t>& scales, size_t outputs) {
  const bool shared = scales.size() == 1 && w.size() > 1;
  size_t axis = shared ? outputs : 0;
  bool fits = shared ? scales[0] == w[outputs] : !w.empty() && scales.size() == w.size();
  if (fits && !shared) {
    while (axis + 1 < w.size() && scales[axis] == w[axis]) ++axis;
    for (size_t i = axis + 1; i < w.size(); ++i) fits = fits && scales[i] == w[i];
  }
  Scales found{1, fits ? w[axis] : 0, 1, 1, shared, axis};
  if (fits && !shared) {
    fits = scales[axis] > 0 && w[axis] >= scales[axis] && w[axis] % scales[axis] == 0;
    if (fits) found.block = w[axis] / scales[axis];
  }
  if (!fits)
    throw NodeError(label + ": the scales of " + name + " have shape " + shape_text(scales) +
                    "; there must be one per output or per block of " + shape_text(w) + ".");
  for (size_t i = 0; i < axis; ++i) found.before *= w[i];
  for (size_t i = axis + 1; i < w.size(); ++i) found.behind *= w[i];
  return found;
}

int integer_at(const Tensor& w, int64_t i) {
  if (w.type == ort::kInt8) return static_cast<const int8_t*>(w.data)[i];
  const int pair = static_cast<const uint8_t*>(w.data)[i / 2];  // the first of two lies in the lower bits
  return (((i % 2 == 0 ? pair : pair >> 4) & 15) ^ 8) - 8;
}

std::vector<float> unpacked(const Tensor& w, const float* values, const Scales& scales) {
  std::vector<float> numbers(static_cast<size_t>(scales.before * scales.entries * scales.behind));
  int64_t i = 0;
  for (int64_t b = 0; b < scales.before; ++b)
    for (int64_t e = 0; e < scales.entries; ++e)
      for (int64_t n = 0; n < scales.behind; ++n, ++i)
        numbers[size_t(i)] = float(integer_at(w, i)) * values[scales.of(b, e, n)];
  return numbers;
}

// How many inputs of an output share a scale; -1 where outputs share one, or scales lie along another axis.
int64_t inputs_of_a_scale(const std::vector<int64_t>& w, const Scales& scales, size_t inputs, size_t outputs) {
  if (w.size() <= inputs) return -1;
  if (!scales.shared) return scales.axis == inputs ? scales.block : -1;
  for (size_t axis = 0; axis < w.size(); ++axis)
    if (axis != inputs && axis != outputs && w[axis] != 1) return -1;
  return w[inputs];
}

}  // namespace

StoredWeight stored_weight(const std::string& label, const char* name, const Tensor& w, const Tensor& scales,
                           size_t inputs, size_t outputs) {
  const bool integers = w.type == ort::kInt8 || w.type == ort::kInt4;
  if (!integers && w.type != ort::kFloat && w.type != ort::kFloat16)
    throw NodeError(label + ": " + name + " has element type " + std::to_string(int(w.type)) +
                    "; it must be float32, float16, int8 or int4.");
  if (integers != (scales.data != nullptr))
    throw NodeError(label + ": " + name + (integers ? " is of integers, and their scales are missing."
                                                    : " is of floats, which have no scales."));
  StoredWeight stored;
  stored.data = w.data;
  if (!integers) {
    stored.type = w.type == ort::kFloat ? Weight::kFloat32 : Weight::kFloat16;
    return stored;
  }
  const Scales found = scales_of(label, name, w.shape, scales.shape, outputs);
  const auto* values = static_cast<const float*>(scales.data);
  const int64_t sharing = inputs_of_a_scale(w.shape, found, inputs, outputs);
  if (w.type == ort::kInt8 && sharing >= 0 && sharing == w.shape[inputs]) {
    stored.type = Weight::kInt8;
    stored.scale = values;
  } else if (w.type == ort::kInt4 && sharing > 0 && sharing % depth_of(Weight::kInt4) == 0) {
    stored.type = Weight::kInt4;
    stored.scale = values;
    stored.block = sharing;
  } else {
    stored.unpacked = unpacked(w, values, found);
    stored.data = stored.unpacked.data();
  }
  return stored;
}

}  // namespace temport
