#include "tensor.h"

namespace temport::internal {
namespace {

struct DtypeRow {
  temport_dtype dtype;
  const char* name;
  size_t bytes;
  int32_t onnx;
};

constexpr DtypeRow kDtypes[] = {
    {TEMPORT_BOOL, "bool", 1, 9},         {TEMPORT_INT32, "int32", 4, 6},        {TEMPORT_INT64, "int64", 8, 7},
    {TEMPORT_FLOAT16, "float16", 2, 10},  {TEMPORT_BFLOAT16, "bfloat16", 2, 16}, {TEMPORT_FLOAT32, "float32", 4, 1},
    {TEMPORT_FLOAT64, "float64", 8, 11},  {TEMPORT_UINT8, "uint8", 1, 2},        {TEMPORT_INT8, "int8", 1, 3},
    {TEMPORT_UINT16, "uint16", 2, 4},     {TEMPORT_INT16, "int16", 2, 5},
};

}  // namespace

size_t element_size(temport_dtype dtype) { return kDtypes[dtype].bytes; }
const char* dtype_name(temport_dtype dtype) { return kDtypes[dtype].name; }
int32_t onnx_type(temport_dtype dtype) { return kDtypes[dtype].onnx; }

std::optional<temport_dtype> dtype_from_name(std::string_view name) {
  for (const auto& row : kDtypes)
    if (name == row.name) return row.dtype;
  return std::nullopt;
}

std::optional<int64_t> element_count(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 0 || size > kMaxElements) return std::nullopt;
    // Divide instead of multiplying first: the product itself must not overflow.
    if (size != 0 && count > kMaxElements / size) return std::nullopt;
    count *= size;
  }
  return count;
}

std::optional<size_t> state_at(const Signature& signature, size_t StateSpec::* side, size_t position) {
  for (size_t i = 0; i < signature.states.size(); ++i)
    if (signature.states[i].*side == position) return i;
  return std::nullopt;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace temport::internal
