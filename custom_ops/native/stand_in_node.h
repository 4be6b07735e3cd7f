// A node without a runtime: the slots of ONNX Runtime's C table that the ops call, over a node that lies in memory.
//
// It promises no more than the runtime does. Outputs are filled with kNeverWritten, tensors lie in allocations of their very
// size, and whatever a test wants to know of a call stands in the node afterwards.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "ort_abi.h"

namespace temport::ort {

struct Status {
  ErrorCode code;
  std::string message;
};
struct TensorInfo {
  ElementType type = kUndefined;
  std::vector<int64_t> sizes;
  std::vector<const char*> symbols;
};
struct Value {
  ElementType type = kUndefined;
  std::vector<int64_t> shape;
  std::unique_ptr<char[]> own;
  void* data = nullptr;
};
struct OpAttr {
  std::string name;
  enum Kind { kInteger, kNumber, kText, kIntegers } kind;
  int64_t integer = 0;
  float number = 0;
  std::string text;
};
struct CustomOpDomain {};

}  // namespace temport::ort

namespace temport {

constexpr uint8_t kNeverWritten = 0xff;  // of these bytes every floating-point type makes a NaN that no kernel makes
constexpr int64_t kMostGiven = 1 << 20;  // elements of an output; above it the stand-in has no memory

inline size_t bytes_of(ort::ElementType type, size_t elements) {
  if (type == ort::kInt4) return (elements + 1) / 2;
  const bool single = type == ort::kBool || type == ort::kInt8;
  return elements * (type == ort::kInt64 ? 8 : type == ort::kFloat ? 4 : single ? 1 : 2);
}

struct Node {
  struct Input {
    ort::Value value;
    ort::TensorInfo declared;  // what shape inference is told; no type where the input is absent
    bool given = true, constant = false;
  };
  struct Output {
    ort::Value value;
    ort::ElementType type = ort::kUndefined;  // that it is made with
    ort::TensorInfo inferred;
    bool wanted = true;
    bool written_over = false;  // its memory was another tensor's
  };
  const char* name = "fuzzed";
  std::vector<ort::OpAttr> attributes;
  std::vector<Input> inputs;
  std::vector<Output> outputs;
  bool in_place = false;  // an output of an input's shape and index lies in its memory
};

}  // namespace temport

namespace temport::ort {

// What the runtime hands to an op.
struct KernelInfo {
  Node& node;
};
struct KernelContext {
  Node& node;
};
struct ShapeInferContext {
  Node& node;
};

namespace stand_in {

inline Status* error(const char* message) { return new Status{kFail, message}; }

inline const OpAttr* find(const Node& node, const char* name) {
  for (const OpAttr& attribute : node.attributes)
    if (attribute.name == name) return &attribute;
  return nullptr;
}

template <typename N>
const OpAttr* find(const N* node, const char* name, OpAttr::Kind kind) {
  const OpAttr* attribute = find(node->node, name);
  return attribute != nullptr && attribute->kind == kind ? attribute : nullptr;
}

inline Status* copy_text(const std::string& text, char* out, size_t* size) {
  const size_t needed = text.size() + 1;
  if (out != nullptr && *size < needed) return error("too little room");
  if (out != nullptr) std::memcpy(out, text.c_str(), needed);
  *size = needed;
  return nullptr;
}

inline Value* make(Value& value, ElementType type, const std::vector<int64_t>& shape, size_t elements) {
  value.type = type;
  value.shape = shape;
  value.own.reset(new char[bytes_of(type, elements)]);
  value.data = elements == 0 ? nullptr : value.own.get();
  return &value;
}

inline Status* get_output(KernelContext* context, size_t index, const int64_t* sizes, size_t rank, Value** value) {
  Node& node = context->node;
  *value = nullptr;
  if (index >= node.outputs.size()) return error("no such output");
  Node::Output& output = node.outputs[index];
  if (!output.wanted) return nullptr;
  const std::vector<int64_t> shape(sizes, sizes + rank);
  int64_t count = 1;
  for (const int64_t size : shape)
    if (size < 0 || __builtin_mul_overflow(count, size, &count)) return error("no such shape");
  if (count > kMostGiven) return error("no memory");
  const ElementType type = output.type;
  if (node.in_place && index < node.inputs.size() && node.inputs[index].given &&
      node.inputs[index].value.type == type && node.inputs[index].value.shape == shape) {
    output.value.type = type;
    output.value.shape = shape;
    output.value.data = node.inputs[index].value.data;
    output.written_over = true;
  } else {
    make(output.value, type, shape, size_t(count));
    if (count > 0) std::memset(output.value.data, kNeverWritten, bytes_of(type, size_t(count)));
  }
  *value = &output.value;
  return nullptr;
}

inline Status* set_inferred(const ShapeInferContext* context, size_t index, const TensorInfo* info) {
  Node& node = context->node;
  if (index < node.outputs.size()) node.outputs[index].inferred = *info;  // the runtime takes no notice of others either
  return nullptr;
}

template <class S, class F>
void put(const void** table, F* function) {
  table[S::number] = reinterpret_cast<const void*>(function);
}

// `registered` gets the ops of the first domain.
inline std::vector<const CustomOp*>& registered() {
  static auto& ops = *new std::vector<const CustomOp*>;
  return ops;
}
inline CustomOpDomain*& first_domain() {
  static CustomOpDomain* domain = nullptr;
  return domain;
}

inline const Api* api(uint32_t) {
  static const void* table[320] = {};
  if (table[CreateStatus::number] != nullptr) return reinterpret_cast<const Api*>(table);
  put<CreateStatus>(table, +[](ErrorCode code, const char* text) { return new Status{code, text}; });
  put<ReleaseStatus>(table, +[](Status* status) { delete status; });
  put<CreateCustomOpDomain>(table, +[](const char*, CustomOpDomain** domain) -> Status* {
    *domain = new CustomOpDomain;  // lives as long as the library
    if (first_domain() == nullptr) first_domain() = *domain;
    return nullptr;
  });
  put<CustomOpDomain_Add>(table, +[](CustomOpDomain* domain, const CustomOp* op) -> Status* {
    if (domain == first_domain()) registered().push_back(op);
    return nullptr;
  });
  put<AddCustomOpDomain>(table, +[](SessionOptions*, CustomOpDomain*) -> Status* { return nullptr; });

  put<KernelInfo_GetNodeName>(table, +[](const KernelInfo* info, char* out, size_t* size) {
    return copy_text(info->node.name, out, size);
  });
  put<KernelInfoGetAttribute_int64>(table, +[](const KernelInfo* info, const char* name, int64_t* out) -> Status* {
    const OpAttr* found = find(info, name, OpAttr::kInteger);
    if (found == nullptr) return error("no such integer");
    *out = found->integer;
    return nullptr;
  });
  put<KernelInfoGetAttribute_float>(table, +[](const KernelInfo* info, const char* name, float* out) -> Status* {
    const OpAttr* found = find(info, name, OpAttr::kNumber);
    if (found == nullptr) return error("no such number");
    *out = found->number;
    return nullptr;
  });
  put<KernelInfoGetAttribute_string>(table, +[](const KernelInfo* info, const char* name, char* out, size_t* size) {
    const OpAttr* found = find(info, name, OpAttr::kText);
    return found == nullptr ? error("no such text") : copy_text(found->text, out, size);
  });
  put<KernelInfoGetAttributeArray_int64>(table, +[](const KernelInfo* info, const char* name, int64_t*, size_t* size) {
    *size = 2;
    return find(info, name, OpAttr::kIntegers) == nullptr ? error("no such integers") : nullptr;
  });
  put<KernelInfoGetAttributeArray_float>(table, +[](const KernelInfo*, const char*, float*, size_t*) {
    return error("no such numbers");
  });
  put<GetAllocatorWithDefaultOptions>(table, +[](Allocator**) -> Status* { return nullptr; });
  put<KernelInfoGetAttribute_tensor>(table, +[](const KernelInfo*, const char*, Allocator*, Value**) {
    return error("no such tensor");
  });
  put<KernelInfoGetConstantInput_tensor>(
      table, +[](const KernelInfo* info, size_t index, int* constant, const Value** value) -> Status* {
        Node& node = info->node;
        if (index >= node.inputs.size()) return error("no such input");
        *constant = node.inputs[index].given && node.inputs[index].constant;
        *value = *constant ? &node.inputs[index].value : nullptr;
        return nullptr;
      });

  put<KernelContext_GetInputCount>(table, +[](const KernelContext* context, size_t* count) -> Status* {
    *count = context->node.inputs.size();
    return nullptr;
  });
  put<KernelContext_GetInput>(table, +[](const KernelContext* context, size_t index, const Value** value) -> Status* {
    Node::Input& input = context->node.inputs[index];
    *value = input.given ? &input.value : nullptr;
    return nullptr;
  });
  put<KernelContext_GetOutput>(table, get_output);
  put<KernelContext_ParallelFor>(
      table, +[](const KernelContext*, void (*run)(void*, size_t), size_t tasks, size_t, void* data) -> Status* {
        for (size_t i = 0; i < tasks; ++i) run(data, i);
        return nullptr;
      });
  put<GetTensorTypeAndShape>(table, +[](const Value* value, TensorInfo** info) -> Status* {
    *info = new TensorInfo{value->type, value->shape, {}};
    return nullptr;
  });
  put<ReleaseTensorTypeAndShapeInfo>(table, +[](TensorInfo* info) { delete info; });
  put<GetTensorElementType>(table, +[](const TensorInfo* info, ElementType* type) -> Status* {
    *type = info->type;
    return nullptr;
  });
  put<GetDimensionsCount>(table, +[](const TensorInfo* info, size_t* rank) -> Status* {
    *rank = info->sizes.size();
    return nullptr;
  });
  put<GetDimensions>(table, +[](const TensorInfo* info, int64_t* sizes, size_t rank) -> Status* {
    std::copy_n(info->sizes.begin(), rank, sizes);
    return nullptr;
  });
  put<GetSymbolicDimensions>(table, +[](const TensorInfo* info, const char** symbols, size_t rank) -> Status* {
    std::copy_n(info->symbols.begin(), rank, symbols);
    return nullptr;
  });
  put<GetTensorMutableData>(table, +[](Value* value, void** data) -> Status* {
    *data = value->data;
    return nullptr;
  });

  put<ShapeInferContext_GetInputCount>(table, +[](const ShapeInferContext* context, size_t* count) -> Status* {
    *count = context->node.inputs.size();
    return nullptr;
  });
  put<ShapeInferContext_GetInputTypeShape>(
      table, +[](const ShapeInferContext* context, size_t index, TensorInfo** info) -> Status* {
        *info = &context->node.inputs[index].declared;
        return nullptr;
      });
  put<ShapeInferContext_GetAttribute>(
      table, +[](const ShapeInferContext* context, const char* name, const OpAttr** found) -> Status* {
        *found = find(context->node, name);
        return *found == nullptr ? error("no such attribute") : nullptr;
      });
  put<ReadOpAttr>(table, +[](const OpAttr* attribute, OpAttrType, void* out, size_t, size_t*) -> Status* {
    if (attribute->kind != OpAttr::kInteger) return error("no integer");
    std::memcpy(out, &attribute->integer, sizeof attribute->integer);
    return nullptr;
  });
  put<CreateTensorTypeAndShapeInfo>(table, +[](TensorInfo** info) -> Status* {
    *info = new TensorInfo;
    return nullptr;
  });
  put<SetTensorElementType>(table, +[](TensorInfo* info, ElementType type) -> Status* {
    info->type = type;
    return nullptr;
  });
  put<SetDimensions>(table, +[](TensorInfo* info, const int64_t* sizes, size_t rank) -> Status* {
    info->sizes.assign(sizes, sizes + rank);
    return nullptr;
  });
  put<SetSymbolicDimensions>(table, +[](TensorInfo* info, const char** symbols, size_t rank) -> Status* {
    info->symbols.assign(symbols, symbols + rank);
    return nullptr;
  });
  put<ShapeInferContext_SetOutputTypeShape>(table, set_inferred);
  return reinterpret_cast<const Api*>(table);
}

}  // namespace stand_in
}  // namespace temport::ort
