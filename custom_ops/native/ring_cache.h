// The ring of keys and values that the attention of a stream carries from frame to frame: frame n of a batch entry lies
// in row n mod N, and when it is written the rows 0 .. min(n, N - 1) are filled.
#pragma once

#include <functional>
#include <initializer_list>

#include "node.h"
#include "shape_inference.h"

namespace temport {

class RingCache {
 public:
  // Reads the inputs QKV `[batch, 1, 3*C]` or `[batch, 3*C]`, Keys and Values `[batch, N, C]` (0 to 2) and Frames
  // `[batch, 1]`, asks for the outputs Y, of QKV's axes, NextKeys and NextValues (0 to 2), and makes `p`, whose dtype and
  // heads are set, the problem of one query row over N keys. Keys and Values have its dtype, or are float16 beside float32.
  // Throws NodeError where shapes do not fit each other.
  RingCache(const std::string& label, const NodeCall& call, size_t frames_input, AttentionProblem& p);

  int64_t batch() const { return batch_; }
  int64_t rows() const { return rows_; }
  int64_t frames(int64_t entry) const { return frames_[entry]; }
  int64_t slot(int64_t entry) const {
    const int64_t rest = frames_[entry] % rows_;
    return rest < 0 ? rest + rows_ : rest;
  }

  // NextKeys and NextValues: Keys and Values, copied unless they lie in the same memory, and the newest rows.
  void write_newest(const NodeCall& call, const Kernels& kernels) const;

  // The problem `p` for one batch entry, over the first `filled` rows.
  AttentionProblem entry(const AttentionProblem& p, int64_t entry, int64_t filled) const;

 private:
  int64_t batch_ = 0, rows_ = 0, width_ = 0;
  DType dtype_ = DType::kFloat32, ring_ = DType::kFloat32;
  const void *qkv_ = nullptr, *keys_ = nullptr, *values_ = nullptr;
  const int64_t* frames_ = nullptr;
  void *y_ = nullptr, *next_keys_ = nullptr, *next_values_ = nullptr;
};

inline int64_t bytes_of(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }
// Element `index`.
inline const char* element_at(const void* data, DType dtype, int64_t index) {
  return static_cast<const char*>(data) + index * bytes_of(dtype);
}

// A state of the node: input `name` and output Next`name`.
struct State {
  const char* name;
  const void *before, *after;
};

// Throws NodeError where the output of a state overlaps the input or the output of any of them, which have `bytes` each:
// what is read there would have been written over. `in_place`: it may lie where its own input lies.
void need_apart(const std::string& label, std::initializer_list<State> states, int64_t bytes, bool in_place);

// `share` for body(entry, first, heads), which is for heads [first, first + heads) of a batch entry and touches about
// `floats` numbers for each of them.
void share_heads(const NodeCall& call, int64_t batch, int64_t heads, int64_t floats,
                 const std::function<void(int64_t, int64_t, int64_t)>& body);

// Outputs 0 to 2: Y `[batch, 1, C]` or `[batch, C]`, as input 0 is, and the caches with the shapes of inputs 1 and 2.
ort::Status* infer_ring_shapes(const ShapeInference& node);

}  // namespace temport
