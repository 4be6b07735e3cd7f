#include "shape_inference.h"

namespace temport {

bool ShapeInference::ok(ort::Status* status) const {
  if (status != nullptr) ort::ReleaseStatus::call(api_, status);
  return status == nullptr;
}

bool ShapeInference::input(size_t index, Shape& shape) const {
  size_t count = 0;
  ort::TensorInfo* info = nullptr;  // the runtime keeps it
  if (!ok(ort::ShapeInferContext_GetInputCount::call(api_, context_, &count)) || index >= count ||
      !ok(ort::ShapeInferContext_GetInputTypeShape::call(api_, context_, index, &info)) || info == nullptr)
    return false;
  size_t rank = 0;
  if (!ok(ort::GetTensorElementType::call(api_, info, &shape.element_type)) ||
      !ok(ort::GetDimensionsCount::call(api_, info, &rank)) || rank == 0)
    return false;
  shape.sizes.assign(rank, kUnknown);
  shape.symbols.assign(rank, "");
  return ok(ort::GetDimensions::call(api_, info, shape.sizes.data(), rank)) &&
         ok(ort::GetSymbolicDimensions::call(api_, info, shape.symbols.data(), rank));
}

int64_t ShapeInference::attribute(const char* name, int64_t fallback) const {
  const ort::OpAttr* attribute = nullptr;
  int64_t value = fallback;
  size_t size = 0;
  if (!ok(ort::ShapeInferContext_GetAttribute::call(api_, context_, name, &attribute)) || attribute == nullptr ||
      !ok(ort::ReadOpAttr::call(api_, attribute, ort::kAttrInt, &value, sizeof value, &size)))
    return fallback;
  return value;
}

int64_t ShapeInference::count(const char* name, int64_t fallback) const {
  const int64_t value = attribute(name, fallback);
  return value >= 1 && value <= kMostCount ? value : 0;
}

ort::Status* ShapeInference::set_output(size_t index, const Shape& shape) const {
  for (size_t i = 0; i < shape.sizes.size(); ++i)
    if (shape.sizes[i] < 0 && *shape.symbols[i] == 0) return nullptr;
  ort::TensorInfo* info = nullptr;
  ort::Status* status = ort::CreateTensorTypeAndShapeInfo::call(api_, &info);
  if (status != nullptr) return status;
  const size_t rank = shape.sizes.size();
  status = ort::SetTensorElementType::call(api_, info, shape.element_type);
  if (status == nullptr) status = ort::SetDimensions::call(api_, info, shape.sizes.data(), rank);
  if (status == nullptr)
    status = ort::SetSymbolicDimensions::call(api_, info, const_cast<const char**>(shape.symbols.data()), rank);
  if (status == nullptr) status = ort::ShapeInferContext_SetOutputTypeShape::call(api_, context_, index, info);
  ort::ReleaseTensorTypeAndShapeInfo::call(api_, info);
  return status;
}

ort::Status* infer_attention_shape(const ShapeInference& node, int64_t heads, int64_t kv_heads) {
  Shape q, v;
  if (heads == 0 || kv_heads == 0 || !node.input(0, q) || !q.has_rank(3)) return nullptr;
  Shape out = q;  // its element type too: the runtime asks the first of several kernels on behalf of all
  out.sizes[2] = kUnknown;
  out.symbols[2] = "";
  const bool known = node.input(2, v), separate = v.element_type != ort::kUndefined;
  if (separate && !(known && v.has_rank(3))) return nullptr;
  const int64_t width = separate ? v.sizes[2] : q.sizes[2], chunks = separate ? kv_heads : plus(heads, 2 * kv_heads);
  if (width > 0 && width % chunks == 0) out.sizes[2] = times(heads, width / chunks);
  return node.set_output(0, out);
}

}  // namespace temport
