// ort_abi.h against ONNX Runtime's own header: every number, every signature, every constant. Compiled by the tests.
#pragma GCC diagnostic ignored "-Wignored-attributes"  // their functions' attributes say nothing about types
#include <onnxruntime_c_api.h>

#include <type_traits>

#include "ort_abi.h"

namespace {

namespace ours = temport::ort;

// The type of ort_abi.h that stands for a type of the real header; a type without a name of ours is itself.
template <class T>
struct Named {
  using type = T;
};
#define TEMPORT_NAMED(theirs, name) \
  template <> \
  struct Named<theirs> { \
    using type = ours::name; \
  };
TEMPORT_NAMED(OrtAllocator, Allocator)
TEMPORT_NAMED(OrtAllocatorType, AllocatorType)
TEMPORT_NAMED(OrtApi, Api)
TEMPORT_NAMED(OrtCustomOp, CustomOp)
TEMPORT_NAMED(OrtCustomOpDomain, CustomOpDomain)
TEMPORT_NAMED(OrtCustomOpInputOutputCharacteristic, Characteristic)
TEMPORT_NAMED(OrtEnv, Env)
TEMPORT_NAMED(OrtErrorCode, ErrorCode)
TEMPORT_NAMED(OrtKernelContext, KernelContext)
TEMPORT_NAMED(OrtKernelInfo, KernelInfo)
TEMPORT_NAMED(OrtLoggingLevel, LoggingLevel)
TEMPORT_NAMED(OrtMemType, MemType)
TEMPORT_NAMED(OrtMemoryInfo, MemoryInfo)
TEMPORT_NAMED(OrtOpAttr, OpAttr)
TEMPORT_NAMED(OrtOpAttrType, OpAttrType)
TEMPORT_NAMED(OrtRunOptions, RunOptions)
TEMPORT_NAMED(OrtSession, Session)
TEMPORT_NAMED(OrtSessionOptions, SessionOptions)
TEMPORT_NAMED(OrtShapeInferContext, ShapeInferContext)
TEMPORT_NAMED(OrtStatus, Status)
TEMPORT_NAMED(OrtTensorTypeAndShapeInfo, TensorInfo)
TEMPORT_NAMED(OrtTypeInfo, TypeInfo)
TEMPORT_NAMED(OrtValue, Value)
TEMPORT_NAMED(ONNXTensorElementDataType, ElementType)

template <class T>
struct Translated : Named<T> {};
template <class T>
struct Translated<const T> {
  using type = const typename Translated<T>::type;
};
template <class T>
struct Translated<T*> {
  using type = typename Translated<T>::type*;
};
template <class T>
struct Translated<T* const> {
  using type = typename Translated<T>::type* const;
};
template <class R, class... Args>
struct Translated<R(Args...)> {
  using type = typename Translated<R>::type(typename Translated<Args>::type...);
};
template <class R, class... Args>
struct Translated<R(Args...) noexcept> : Translated<R(Args...)> {};

template <class Ours, class Theirs>
constexpr bool same = std::is_same_v<Ours, typename Translated<Theirs>::type>;

#define TEMPORT_SLOT(number, name, ...) \
  static_assert(number == offsetof(OrtApi, name) / sizeof(void*), "the slot of " #name); \
  static_assert(same<ours::name::Signature*, decltype(OrtApi::name)>, "the signature of " #name);
TEMPORT_ORT_SLOTS(TEMPORT_SLOT)

#define TEMPORT_MEMBER(ours_of, theirs_of, name) \
  static_assert(offsetof(ours_of, name) == offsetof(theirs_of, name), "the place of " #name); \
  static_assert(same<decltype(ours_of::name), decltype(theirs_of::name)>, "the signature of " #name);
#define TEMPORT_CALLBACK(name, ...) TEMPORT_MEMBER(ours::CustomOp, OrtCustomOp, name)
TEMPORT_MEMBER(ours::CustomOp, OrtCustomOp, version)
TEMPORT_ORT_CALLBACKS(TEMPORT_CALLBACK)
TEMPORT_MEMBER(ours::ApiBase, OrtApiBase, GetApi)
TEMPORT_MEMBER(ours::ApiBase, OrtApiBase, GetVersionString)

#define TEMPORT_CONSTANT(name, theirs) static_assert(int{ours::name} == int{theirs}, #theirs);
TEMPORT_CONSTANT(kFail, ORT_FAIL)
TEMPORT_CONSTANT(kInvalidArgument, ORT_INVALID_ARGUMENT)
TEMPORT_CONSTANT(kNotImplemented, ORT_NOT_IMPLEMENTED)
TEMPORT_CONSTANT(kInvalidGraph, ORT_INVALID_GRAPH)
TEMPORT_CONSTANT(kWarning, ORT_LOGGING_LEVEL_WARNING)
TEMPORT_CONSTANT(kError, ORT_LOGGING_LEVEL_ERROR)
TEMPORT_CONSTANT(kArenaAllocator, OrtArenaAllocator)
TEMPORT_CONSTANT(kMemTypeDefault, OrtMemTypeDefault)
TEMPORT_CONSTANT(kRequired, INPUT_OUTPUT_REQUIRED)
TEMPORT_CONSTANT(kOptional, INPUT_OUTPUT_OPTIONAL)
TEMPORT_CONSTANT(kAttrInt, ORT_OP_ATTR_INT)
TEMPORT_CONSTANT(kUndefined, ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED)
TEMPORT_CONSTANT(kFloat, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
TEMPORT_CONSTANT(kInt32, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32)
TEMPORT_CONSTANT(kInt64, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64)
TEMPORT_CONSTANT(kBool, ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL)
TEMPORT_CONSTANT(kFloat16, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16)
TEMPORT_CONSTANT(kDouble, ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE)
TEMPORT_CONSTANT(kBfloat16, ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16)

}  // namespace
