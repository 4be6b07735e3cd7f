#include "shape_inference.h"

namespace temport {

bool ShapeInference::ok(ort::Status* status) const {
  if (status != nullptr) api_.call<void>(ort::kReleaseStatus, status);
  return status == nullptr;
}

bool ShapeInference::input(size_t index, Shape& shape) const {
  size_t count = 0;
  const ort::ShapeInferContext* context = context_;
  ort::TypeAndShape* info = nullptr;
  if (!ok(api_.call<ort::Status*>(ort::kShapeInferContextGetInputCount, context, &count)) || index >= count ||
      !ok(api_.call<ort::Status*>(ort::kShapeInferContextGetInputTypeShape, context, index, &info)) || info == nullptr)
    return false;
  const ort::TypeAndShape* read = info;  // the runtime keeps it
  size_t rank = 0;
  if (!ok(api_.call<ort::Status*>(ort::kGetDimensionsCount, read, &rank)) || rank == 0) return false;
  shape.sizes.assign(rank, kUnknown);
  shape.symbols.assign(rank, "");
  return ok(api_.call<ort::Status*>(ort::kGetTensorElementType, read, &shape.element_type)) &&
         ok(api_.call<ort::Status*>(ort::kGetDimensions, read, shape.sizes.data(), rank)) &&
         ok(api_.call<ort::Status*>(ort::kGetSymbolicDimensions, read, shape.symbols.data(), rank));
}

int64_t ShapeInference::attribute(const char* name, int64_t fallback) const {
  const ort::ShapeInferContext* context = context_;
  const ort::OpAttr* attribute = nullptr;
  int64_t value = fallback;
  size_t size = 0;
  if (!ok(api_.call<ort::Status*>(ort::kShapeInferContextGetAttribute, context, name, &attribute)) ||
      attribute == nullptr ||
      !ok(api_.call<ort::Status*>(ort::kReadOpAttr, attribute, ort::kAttrInt, static_cast<void*>(&value), sizeof value,
                                  &size)))
    return fallback;
  return value;
}

ort::Status* ShapeInference::set_output(size_t index, const Shape& shape) const {
  for (size_t i = 0; i < shape.sizes.size(); ++i)
    if (shape.sizes[i] < 0 && *shape.symbols[i] == 0) return nullptr;
  ort::TypeAndShape* info = nullptr;
  ort::Status* status = api_.call<ort::Status*>(ort::kCreateTensorTypeAndShapeInfo, &info);
  if (status != nullptr) return status;
  const size_t rank = shape.sizes.size();
  status = api_.call<ort::Status*>(ort::kSetTensorElementType, info, shape.element_type);
  if (status == nullptr) status = api_.call<ort::Status*>(ort::kSetDimensions, info, shape.sizes.data(), rank);
  if (status == nullptr)
    status = api_.call<ort::Status*>(ort::kSetSymbolicDimensions, info,
                                     const_cast<const char**>(shape.symbols.data()), rank);
  if (status == nullptr) {
    const ort::ShapeInferContext* context = context_;
    const ort::TypeAndShape* set = info;
    status = api_.call<ort::Status*>(ort::kShapeInferContextSetOutputTypeShape, context, index, set);
  }
  api_.call<void>(ort::kReleaseTensorTypeAndShapeInfo, info);
  return status;
}

ort::Status* infer_attention_shape(const ShapeInference& node) {
  Shape q, v;
  const int64_t heads = node.attribute("num_heads", 0), kv_heads = node.attribute("kv_num_heads", heads);
  if (heads < 1 || kv_heads < 1 || !node.input(0, q) || !q.has_rank(3)) return nullptr;
  Shape out = q;  // its element type too: the runtime asks the first of several kernels on behalf of all
  out.sizes[2] = kUnknown;
  out.symbols[2] = "";
  const bool separate = node.input(2, v) && v.has_rank(3);
  const int64_t width = separate ? v.sizes[2] : q.sizes[2], chunks = separate ? kv_heads : heads + 2 * kv_heads;
  if (width > 0 && width % chunks == 0) out.sizes[2] = heads * (width / chunks);
  return node.set_output(0, out);
}

}  // namespace temport
