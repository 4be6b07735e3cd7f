#include "node.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <exception>
#include <mutex>

namespace temport {

namespace {

// True for success; a failed status is released.
bool succeeded(const ort::Api& api, ort::Status* status) {
  if (status != nullptr) ort::ReleaseStatus::call(api, status);
  return status == nullptr;
}

void require(const ort::Api& api, ort::Status* status, const std::string& label, const char* what) {
  if (!succeeded(api, status)) throw NodeError(label + ": ONNX Runtime could not give " + what + ".");
}

// A tensor without elements may have no data, which would say that it is absent.
void* present(void* data) {
  static char empty = 0;
  return data == nullptr ? &empty : data;
}

void need_few(const std::string& label, const char* what, const std::vector<int64_t>& shape) {
  try {
    elements(shape);
  } catch (const SizeError&) {
    throw NodeError(label + ": " + what + " has shape " + shape_text(shape) + "; a tensor may have " +
                    std::to_string(kMostElements) + " elements, where an axis of 0 counts as 1.");
  }
}

// As part of a sentence: short, and in characters that every terminal and every reader of text takes.
std::string quoted(const std::string& text) {
  constexpr size_t kLongest = 40;
  std::string shown;
  for (const char c : text.substr(0, kLongest)) {
    char escaped[5];
    std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned char>(c));
    shown += c >= ' ' && c <= '~' ? std::string(1, c) : escaped;
  }
  return "'" + shown + (text.size() > kLongest ? "...'" : "'");
}

// No data for no value.
Tensor read_tensor(const ort::Api& api, const ort::Value* value, const std::string& label) {
  Tensor tensor;
  if (value == nullptr) return tensor;
  ort::TensorInfo* info = nullptr;
  require(api, ort::GetTensorTypeAndShape::call(api, value, &info), label, "an input's shape");
  size_t rank = 0;
  bool ok = succeeded(api, ort::GetTensorElementType::call(api, info, &tensor.type)) &&
            succeeded(api, ort::GetDimensionsCount::call(api, info, &rank));
  if (ok) {
    tensor.shape.resize(rank);
    ok = succeeded(api, ort::GetDimensions::call(api, info, tensor.shape.data(), rank));
  }
  ort::ReleaseTensorTypeAndShapeInfo::call(api, info);
  if (!ok) throw NodeError(label + ": ONNX Runtime could not give an input's shape.");
  need_few(label, "an input", tensor.shape);
  void* data = nullptr;
  require(api, ort::GetTensorMutableData::call(api, const_cast<ort::Value*>(value), &data), label,
          "an input's data");
  tensor.data = present(data);
  return tensor;
}

}  // namespace

int64_t tasks_worth(int64_t items, int64_t floats) {
  constexpr int64_t kWorthATask = 1 << 17, kMostTasks = 1 << 16;
  return std::clamp<int64_t>(items * floats / kWorthATask, 1, std::clamp<int64_t>(items, 1, kMostTasks));
}

void share(const NodeCall& call, int64_t items, int64_t floats, const std::function<void(int64_t)>& body) {
  const int64_t tasks = tasks_worth(items, floats);
  call.parallel(tasks, [&](int64_t task) {
    for (int64_t i = items * task / tasks; i < items * (task + 1) / tasks; ++i) body(i);
  });
}

const void* data_of(const std::string& label, const char* name, const Tensor& tensor, const std::vector<int64_t>& shape) {
  if (tensor.data == nullptr)
    throw NodeError(label + ": " + name + " is missing; it must be given with shape " + shape_text(shape) + ".");
  if (tensor.shape != shape)
    throw NodeError(label + ": " + name + " has shape " + shape_text(tensor.shape) + "; it must be " + shape_text(shape) +
                    ".");
  return tensor.data;
}

int64_t head_dim(const std::string& label, const char* name, int64_t width, int64_t heads, const char* heads_name) {
  if (width <= 0 || width % heads != 0)
    throw NodeError(label + ": the last axis of " + name + " is " + std::to_string(width) +
                    "; it must be a positive multiple of " + heads_name + " = " + std::to_string(heads) + ".");
  if (width / heads > kMostHeadDim)
    throw NodeError(label + ": the head dim of " + name + " is " + std::to_string(width / heads) + "; it must be at most " +
                    std::to_string(kMostHeadDim) + ".");
  return width / heads;
}

const float* floats(const std::string& label, const char* name, const Tensor& tensor, const std::vector<int64_t>& shape) {
  return static_cast<const float*>(data_of(label, name, tensor, shape));
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

NodeInfo::NodeInfo(const ort::Api& api, const ort::KernelInfo* info, const char* op_name)
    : api_(api), info_(info), label_(op_name) {
  size_t size = 0;
  const auto name = [&](char* to) {
    return succeeded(api, ort::KernelInfo_GetNodeName::call(api, info, to, &size));
  };
  if (name(nullptr) && size > 1) {  // size counts the terminating zero
    std::string text(size, '\0');
    if (name(text.data())) {
      text.resize(size - 1);
      label_ += " '" + text + "'";
    }
  }
  int64_t since = 1;
  if (read("since_version", since) && since > kDomainVersion)
    throw NodeError(label_ + ": it means what version " + std::to_string(since) +
                    " of the domain temport says, and this library knows version " + std::to_string(kDomainVersion) +
                    "; take a library as new as the file.");
}

bool NodeInfo::read(const char* name, int64_t& value) const {
  return succeeded(api_, ort::KernelInfoGetAttribute_int64::call(api_, info_, name, &value));
}

bool NodeInfo::read(const char* name, float& value) const {
  return succeeded(api_, ort::KernelInfoGetAttribute_float::call(api_, info_, name, &value));
}

bool NodeInfo::read(const char* name, std::string& value) const {
  size_t size = 0;
  if (!succeeded(api_, ort::KernelInfoGetAttribute_string::call(api_, info_, name, nullptr, &size))) return false;
  value.assign(size, '\0');
  if (!succeeded(api_, ort::KernelInfoGetAttribute_string::call(api_, info_, name, value.data(), &size)))
    return false;
  value.resize(size == 0 ? 0 : size - 1);  // size counts the terminating zero
  return true;
}

bool NodeInfo::has(const char* name) const {
  int64_t i;
  float f;
  std::string s;
  size_t size = 0;
  if (read(name, i) || read(name, f) || read(name, s) ||
      succeeded(api_, ort::KernelInfoGetAttributeArray_int64::call(api_, info_, name, nullptr, &size)) ||
      succeeded(api_, ort::KernelInfoGetAttributeArray_float::call(api_, info_, name, nullptr, &size)))
    return true;
  ort::Allocator* allocator = nullptr;
  ort::Value* tensor = nullptr;
  if (!succeeded(api_, ort::GetAllocatorWithDefaultOptions::call(api_, &allocator)) ||
      !succeeded(api_, ort::KernelInfoGetAttribute_tensor::call(api_, info_, name, allocator, &tensor)))
    return false;
  ort::ReleaseValue::call(api_, tensor);
  return true;
}

int64_t NodeInfo::integer(const char* name, int64_t fallback, int64_t minimum, int64_t maximum) const {
  int64_t value = fallback;
  if (!read(name, value)) {
    if (has(name)) throw NodeError(label_ + ": attribute " + name + " must be an integer.");
    return fallback;
  }
  if (value < minimum || value > maximum)
    throw NodeError(label_ + ": attribute " + name + " is " + std::to_string(value) + "; it must be at " +
                    (value < minimum ? "least " + std::to_string(minimum) : "most " + std::to_string(maximum)) + ".");
  return value;
}

int64_t NodeInfo::required_integer(const char* name, int64_t minimum, int64_t maximum) const {
  if (!has(name))
    throw NodeError(label_ + ": attribute " + name + " is missing; it must be an integer of at least " +
                    std::to_string(minimum) + ".");
  return integer(name, minimum, minimum, maximum);
}

float NodeInfo::number(const char* name, float fallback) const {
  float value = fallback;
  if (!read(name, value)) {
    if (has(name)) throw NodeError(label_ + ": attribute " + name + " must be a float.");
    return fallback;
  }
  if (!std::isfinite(value)) throw NodeError(label_ + ": attribute " + name + " must be a finite number.");
  return value;
}

int NodeInfo::choice(const char* name, std::initializer_list<const char*> options) const {
  std::string value, allowed;
  if (!read(name, value)) {
    if (has(name)) throw NodeError(label_ + ": attribute " + name + " must be a string.");
    return 0;
  }
  for (const char* const* option = options.begin(); option != options.end(); ++option) {
    if (value == *option) return int(option - options.begin());
    allowed += (option == options.begin() ? "" : option + 1 == options.end() ? " or " : ", ") + std::string(*option);
  }
  throw NodeError(label_ + ": attribute " + name + " is " + quoted(value) + "; it must be " + allowed + ".");
}

Tensor NodeInfo::constant(size_t index) const {
  int constant = 0;
  const ort::Value* value = nullptr;
  if (!succeeded(api_, ort::KernelInfoGetConstantInput_tensor::call(api_, info_, index, &constant, &value)))
    return {};  // the node has no such input
  return read_tensor(api_, constant ? value : nullptr, label_);
}

NodeCall::NodeCall(const ort::Api& api, ort::KernelContext* context, const std::string& label)
    : api_(api), context_(context), label_(label) {}

const ort::Value* NodeCall::value(size_t index) const {
  size_t count = 0;
  require(api_, ort::KernelContext_GetInputCount::call(api_, context_, &count), label_, "the input count");
  const ort::Value* value = nullptr;
  if (index < count)
    require(api_, ort::KernelContext_GetInput::call(api_, context_, index, &value), label_, "an input");
  return value;
}

Tensor NodeCall::input(size_t index) const { return read_tensor(api_, value(index), label_); }

void* NodeCall::output(size_t index, const std::vector<int64_t>& shape) const {
  need_few(label_, "an output", shape);
  ort::Value* value = nullptr;
  void* data = nullptr;
  require(api_, ort::KernelContext_GetOutput::call(api_, context_, index, shape.data(), shape.size(), &value), label_,
          "an output");
  if (value == nullptr) return nullptr;
  require(api_, ort::GetTensorMutableData::call(api_, value, &data), label_, "an output's data");
  return present(data);
}

void NodeCall::parallel(int64_t tasks, const std::function<void(int64_t)>& body) const {
  if (tasks <= 0) return;
  if (tasks == 1) return body(0);
  struct Job {
    const std::function<void(int64_t)>& body;
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::exception_ptr error;
  } job{body, {}, {}, {}};
  // The runtime hands out indices in an order of its own; the counter gives them an order.
  void (*run)(void*, size_t) = [](void* data, size_t) {
    Job& j = *static_cast<Job*>(data);
    try {
      j.body(j.next.fetch_add(1, std::memory_order_relaxed));
    } catch (...) {
      const std::lock_guard<std::mutex> lock(j.mutex);
      j.error = std::current_exception();
    }
  };
  require(api_, ort::KernelContext_ParallelFor::call(api_, context_, run, size_t(tasks), 0, &job), label_,
          "its thread pool");
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace temport
