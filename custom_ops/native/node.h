// A node of an ONNX Runtime graph as the ops see it: attributes, inputs, output, thread pool, errors that name it.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

#include "checked.h"
#include "ort_abi.h"
#include "problem.h"

namespace temport {

// A wrong attribute or shape; the message becomes the status that ONNX Runtime reports.
struct NodeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Inputs, `count` of them from `index` on, that have not the element type of the others, which the op is registered with;
// kUndefined: each has any type.
struct OtherInput {
  size_t index;
  ort::ElementType type;
  size_t count = 1;
};
constexpr OtherInput kNoOtherInput = {SIZE_MAX, ort::kUndefined, 0};

// Of at most kMostElements elements, an axis of 0 counted as 1.
struct Tensor {
  const void* data = nullptr;  // null: the optional input is absent
  std::vector<int64_t> shape;
  ort::ElementType type = ort::kUndefined;
};

// The version of the domain that the kernels know, `VERSION` of domain.py. A runtime tells a kernel of the attributes that
// it asks for and of no others, so a later meaning of a node would not be seen: such a node says it, in `since_version`.
constexpr int64_t kDomainVersion = TEMPORT_DOMAIN_VERSION;

// Attributes and constant inputs, read when the kernel is created.
class NodeInfo {
 public:
  // Throws NodeError for a node of a later version of the domain.
  NodeInfo(const ort::Api& api, const ort::KernelInfo* info, const char* op_name);

  const std::string& label() const { return label_; }  // "OnlineSoftmaxAttention 'node name'"
  // The attribute, or `fallback` where the node has none. Throws NodeError when it has another type or lies outside the
  // two bounds.
  int64_t integer(const char* name, int64_t fallback, int64_t minimum, int64_t maximum) const;
  int64_t required_integer(const char* name, int64_t minimum, int64_t maximum) const;
  int64_t required_count(const char* name) const { return required_integer(name, 1, kMostCount); }
  float number(const char* name, float fallback) const;
  // Index of the string attribute among the options, the first of which stands where the node has none.
  int choice(const char* name, std::initializer_list<const char*> options) const;
  bool has(const char* name) const;
  // The input where it is a constant of the model, which the runtime keeps as long as the kernel; else no data.
  Tensor constant(size_t index) const;

 private:
  bool read(const char* name, int64_t& value) const;
  bool read(const char* name, float& value) const;
  bool read(const char* name, std::string& value) const;

  const ort::Api& api_;
  const ort::KernelInfo* info_;
  std::string label_;
};

// Inputs, output and thread pool of one call.
class NodeCall {
 public:
  NodeCall(const ort::Api& api, ort::KernelContext* context, const std::string& label);

  Tensor input(size_t index) const;
  bool has_input(size_t index) const { return value(index) != nullptr; }
  // Throws NodeError for more elements than a tensor may have.
  void* output(const std::vector<int64_t>& shape) const { return output(0, shape); }
  void* output(size_t index, const std::vector<int64_t>& shape) const;  // null where the node leaves it out
  // Runs body(0) ... body(tasks - 1) on the session's threads. Tasks are started in the order of their index.
  void parallel(int64_t tasks, const std::function<void(int64_t)>& body) const;

 private:
  const ort::Value* value(size_t index) const;  // null for an absent input

  const ort::Api& api_;
  ort::KernelContext* context_;
  const std::string& label_;
};

// Runs body(0) ... body(items - 1), of which each touches about `floats` numbers, on as many of the session's threads
// as that is worth: a small tensor takes less time than waking a thread.
void share(const NodeCall& call, int64_t items, int64_t floats, const std::function<void(int64_t)>& body);
int64_t tasks_worth(int64_t items, int64_t floats);  // how many tasks that makes, at least 1

// The part of a row of `width` numbers that each of the heads has. Throws NodeError where they do not divide it, or where
// that is more than kMostHeadDim.
int64_t head_dim(const std::string& label, const char* name, int64_t width, int64_t heads, const char* heads_name);

// Fills operands and sizes from inputs Q, K, V (K and V absent: Q is packed) and checks that they fit each other.
void read_qkv(const std::string& label, const NodeCall& call, AttentionProblem& p);

// The data of a tensor. Throws NodeError with its `name` where it is absent or has another shape.
const void* data_of(const std::string& label, const char* name, const Tensor& tensor, const std::vector<int64_t>& shape);

// The same, float32.
const float* floats(const std::string& label, const char* name, const Tensor& tensor, const std::vector<int64_t>& shape);

std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace temport
