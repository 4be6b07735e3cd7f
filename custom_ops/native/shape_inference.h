// What an op sees of its node before the model runs: shapes as far as they are known, integer attributes.
#pragma once

#include <vector>

#include "checked.h"
#include "ort_abi.h"

namespace temport {

constexpr int64_t kUnknown = -1;

struct Shape {
  std::vector<int64_t> sizes;        // kUnknown where only a symbol, or nothing, is known
  std::vector<const char*> symbols;  // "" where there is none
  ort::ElementType element_type = ort::kUndefined;

  bool has_rank(size_t rank) const { return sizes.size() == rank; }
  void append(const Shape& other, size_t axis) {
    sizes.push_back(other.sizes[axis]);
    symbols.push_back(other.symbols[axis]);
  }
  void append(int64_t size) {
    sizes.push_back(size);
    symbols.push_back("");
  }
};

class ShapeInference {
 public:
  ShapeInference(const ort::Api& api, ort::ShapeInferContext* context) : api_(api), context_(context) {}

  // False where the node has no such input, or its rank is unknown: then its element type alone is set.
  bool input(size_t index, Shape& shape) const;
  int64_t attribute(const char* name, int64_t fallback) const;
  // The attribute where it is from 1 to kMostCount, else 0: the kernel refuses it, in a sentence that names the node.
  int64_t count(const char* name, int64_t fallback) const;
  // Leaves the output unknown where a size is neither a number nor a symbol: the runtime would take -1 for a size.
  ort::Status* set_output(size_t index, const Shape& shape) const;

 private:
  bool ok(ort::Status* status) const;

  const ort::Api& api_;
  ort::ShapeInferContext* context_;
};

// Output 0 of an attention op becomes `[B, T, heads * Dv]` of Q's element type. Sizes that do not fit each other, and heads
// of which there are none, are left to the kernel, whose error names the node.
ort::Status* infer_attention_shape(const ShapeInference& node, int64_t heads, int64_t kv_heads);

}  // namespace temport
