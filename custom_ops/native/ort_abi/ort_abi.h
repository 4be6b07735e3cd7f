// The part of ONNX Runtime's C ABI that our two libraries use, so that neither needs ONNX Runtime's headers.
//
// OrtApi is an append-only table of function pointers: a slot keeps its number for ever. Version 17 of the table is
// asked for, so the libraries load in ONNX Runtime 1.17 and every newer one. check.cc compares every line below with
// the real header, and the tests compile it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace temport::ort {

constexpr uint32_t kApiVersion = 17;

// Opaque objects of the runtime.
struct Allocator;
struct Api;
struct CustomOpDomain;
struct Env;
struct KernelContext;
struct KernelInfo;
struct MemoryInfo;
struct OpAttr;
struct RunOptions;
struct Session;
struct SessionOptions;
struct ShapeInferContext;
struct Status;
struct TensorInfo;
struct TypeInfo;
struct Value;
struct CustomOp;

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2, kNotImplemented = 9, kInvalidGraph = 10 };
enum LoggingLevel : int { kWarning = 2, kError = 3 };
enum AllocatorType : int { kArenaAllocator = 1 };
enum MemType : int { kMemTypeDefault = 0 };
enum Characteristic : int { kRequired = 0, kOptional = 1 };
enum OpAttrType : int { kAttrInt = 1 };
enum ElementType : int {
  kUndefined = 0,
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kBfloat16 = 16,
  kInt4 = 22,
};

// One typed entry of the table.
template <size_t Number, class Signature>
struct Slot;

template <size_t Number, class R, class... Args>
struct Slot<Number, R(Args...)> {
  using Signature = R(Args...);
  static constexpr size_t number = Number;
  static R call(const Api& api, Args... args) {
    return reinterpret_cast<R (*const*)(Args...)>(&api)[Number](args...);
  }
};

// Number, name in OrtApi, signature.
#define TEMPORT_ORT_SLOTS(SLOT) \
  SLOT(0, CreateStatus, Status*(ErrorCode, const char*)) \
  SLOT(1, GetErrorCode, ErrorCode(const Status*)) \
  SLOT(2, GetErrorMessage, const char*(const Status*)) \
  SLOT(3, CreateEnv, Status*(LoggingLevel, const char*, Env**)) \
  SLOT(8, CreateSessionFromArray, Status*(const Env*, const void*, size_t, const SessionOptions*, Session**)) \
  SLOT(9, Run, Status*(Session*, const RunOptions*, const char* const*, const Value* const*, size_t, \
                       const char* const*, size_t, Value**)) \
  SLOT(10, CreateSessionOptions, Status*(SessionOptions**)) \
  SLOT(24, SetIntraOpNumThreads, Status*(SessionOptions*, int)) \
  SLOT(25, SetInterOpNumThreads, Status*(SessionOptions*, int)) \
  SLOT(26, CreateCustomOpDomain, Status*(const char*, CustomOpDomain**)) \
  SLOT(27, CustomOpDomain_Add, Status*(CustomOpDomain*, const CustomOp*)) \
  SLOT(28, AddCustomOpDomain, Status*(SessionOptions*, CustomOpDomain*)) \
  SLOT(30, SessionGetInputCount, Status*(const Session*, size_t*)) \
  SLOT(31, SessionGetOutputCount, Status*(const Session*, size_t*)) \
  SLOT(33, SessionGetInputTypeInfo, Status*(const Session*, size_t, TypeInfo**)) \
  SLOT(34, SessionGetOutputTypeInfo, Status*(const Session*, size_t, TypeInfo**)) \
  SLOT(36, SessionGetInputName, Status*(const Session*, size_t, Allocator*, char**)) \
  SLOT(37, SessionGetOutputName, Status*(const Session*, size_t, Allocator*, char**)) \
  SLOT(49, CreateTensorWithDataAsOrtValue, Status*(const MemoryInfo*, void*, size_t, const int64_t*, size_t, \
                                                   ElementType, Value**)) \
  SLOT(51, GetTensorMutableData, Status*(Value*, void**)) \
  SLOT(55, CastTypeInfoToTensorInfo, Status*(const TypeInfo*, const TensorInfo**)) \
  SLOT(57, CreateTensorTypeAndShapeInfo, Status*(TensorInfo**)) \
  SLOT(58, SetTensorElementType, Status*(TensorInfo*, ElementType)) \
  SLOT(59, SetDimensions, Status*(TensorInfo*, const int64_t*, size_t)) \
  SLOT(60, GetTensorElementType, Status*(const TensorInfo*, ElementType*)) \
  SLOT(61, GetDimensionsCount, Status*(const TensorInfo*, size_t*)) \
  SLOT(62, GetDimensions, Status*(const TensorInfo*, int64_t*, size_t)) \
  SLOT(63, GetSymbolicDimensions, Status*(const TensorInfo*, const char**, size_t)) \
  SLOT(65, GetTensorTypeAndShape, Status*(const Value*, TensorInfo**)) \
  SLOT(69, CreateCpuMemoryInfo, Status*(AllocatorType, MemType, MemoryInfo**)) \
  SLOT(76, AllocatorFree, Status*(Allocator*, void*)) \
  SLOT(78, GetAllocatorWithDefaultOptions, Status*(Allocator**)) \
  SLOT(85, KernelInfoGetAttribute_float, Status*(const KernelInfo*, const char*, float*)) \
  SLOT(86, KernelInfoGetAttribute_int64, Status*(const KernelInfo*, const char*, int64_t*)) \
  SLOT(87, KernelInfoGetAttribute_string, Status*(const KernelInfo*, const char*, char*, size_t*)) \
  SLOT(88, KernelContext_GetInputCount, Status*(const KernelContext*, size_t*)) \
  SLOT(90, KernelContext_GetInput, Status*(const KernelContext*, size_t, const Value**)) \
  SLOT(91, KernelContext_GetOutput, Status*(KernelContext*, size_t, const int64_t*, size_t, Value**)) \
  SLOT(92, ReleaseEnv, void(Env*)) \
  SLOT(93, ReleaseStatus, void(Status*)) \
  SLOT(94, ReleaseMemoryInfo, void(MemoryInfo*)) \
  SLOT(95, ReleaseSession, void(Session*)) \
  SLOT(96, ReleaseValue, void(Value*)) \
  SLOT(98, ReleaseTypeInfo, void(TypeInfo*)) \
  SLOT(99, ReleaseTensorTypeAndShapeInfo, void(TensorInfo*)) \
  SLOT(100, ReleaseSessionOptions, void(SessionOptions*)) \
  SLOT(130, AddSessionConfigEntry, Status*(SessionOptions*, const char*, const char*)) \
  SLOT(162, KernelInfoGetAttributeArray_float, Status*(const KernelInfo*, const char*, float*, size_t*)) \
  SLOT(163, KernelInfoGetAttributeArray_int64, Status*(const KernelInfo*, const char*, int64_t*, size_t*)) \
  SLOT(228, RegisterCustomOpsLibrary_V2, Status*(SessionOptions*, const char*)) \
  SLOT(236, KernelInfoGetAttribute_tensor, Status*(const KernelInfo*, const char*, Allocator*, Value**)) \
  SLOT(244, KernelInfo_GetNodeName, Status*(const KernelInfo*, char*, size_t*)) \
  SLOT(249, KernelInfoGetConstantInput_tensor, Status*(const KernelInfo*, size_t, int*, const Value**)) \
  SLOT(267, ShapeInferContext_GetInputCount, Status*(const ShapeInferContext*, size_t*)) \
  SLOT(268, ShapeInferContext_GetInputTypeShape, Status*(const ShapeInferContext*, size_t, TensorInfo**)) \
  SLOT(269, ShapeInferContext_GetAttribute, Status*(const ShapeInferContext*, const char*, const OpAttr**)) \
  SLOT(270, ShapeInferContext_SetOutputTypeShape, Status*(const ShapeInferContext*, size_t, const TensorInfo*)) \
  SLOT(271, SetSymbolicDimensions, Status*(TensorInfo*, const char**, size_t)) \
  SLOT(272, ReadOpAttr, Status*(const OpAttr*, OpAttrType, void*, size_t, size_t*)) \
  SLOT(274, KernelContext_ParallelFor, Status*(const KernelContext*, void (*)(void*, size_t), size_t, size_t, void*)) \
  /* Of version 18: to be called where GetApi(18) gives a table. */ \
  SLOT(279, AddExternalInitializersFromFilesInMemory, Status*(SessionOptions*, const char* const*, char* const*, \
                                                              const size_t*, size_t))

#define TEMPORT_ORT_SLOT(number, name, ...) using name = Slot<number, __VA_ARGS__>;
TEMPORT_ORT_SLOTS(TEMPORT_ORT_SLOT)
#undef TEMPORT_ORT_SLOT

struct ApiBase {
  const Api* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

// The callbacks of OrtCustomOp after its version, in order.
#define TEMPORT_ORT_CALLBACKS(CALLBACK) \
  CALLBACK(CreateKernel, void*(const CustomOp*, const Api*, const KernelInfo*)) \
  CALLBACK(GetName, const char*(const CustomOp*)) \
  CALLBACK(GetExecutionProviderType, const char*(const CustomOp*)) \
  CALLBACK(GetInputType, ElementType(const CustomOp*, size_t)) \
  CALLBACK(GetInputTypeCount, size_t(const CustomOp*)) \
  CALLBACK(GetOutputType, ElementType(const CustomOp*, size_t)) \
  CALLBACK(GetOutputTypeCount, size_t(const CustomOp*)) \
  CALLBACK(KernelCompute, void(void*, KernelContext*)) \
  CALLBACK(KernelDestroy, void(void*)) \
  CALLBACK(GetInputCharacteristic, Characteristic(const CustomOp*, size_t)) \
  CALLBACK(GetOutputCharacteristic, Characteristic(const CustomOp*, size_t)) \
  CALLBACK(GetInputMemoryType, MemType(const CustomOp*, size_t)) \
  CALLBACK(GetVariadicInputMinArity, int(const CustomOp*)) \
  CALLBACK(GetVariadicInputHomogeneity, int(const CustomOp*)) \
  CALLBACK(GetVariadicOutputMinArity, int(const CustomOp*)) \
  CALLBACK(GetVariadicOutputHomogeneity, int(const CustomOp*)) \
  CALLBACK(CreateKernelV2, Status*(const CustomOp*, const Api*, const KernelInfo*, void**)) \
  CALLBACK(KernelComputeV2, Status*(void*, KernelContext*)) \
  CALLBACK(InferOutputShapeFn, Status*(const CustomOp*, ShapeInferContext*)) \
  CALLBACK(GetStartVersion, int(const CustomOp*)) \
  CALLBACK(GetEndVersion, int(const CustomOp*)) \
  CALLBACK(GetMayInplace, size_t(int**, int**)) \
  CALLBACK(ReleaseMayInplace, void(int*, int*)) \
  CALLBACK(GetAliasMap, size_t(int**, int**)) \
  CALLBACK(ReleaseAliasMap, void(int*, int*))

template <class Signature>
using Callback = Signature*;

struct CustomOp {
  uint32_t version;
#define TEMPORT_ORT_CALLBACK(name, ...) Callback<__VA_ARGS__> name;
  TEMPORT_ORT_CALLBACKS(TEMPORT_ORT_CALLBACK)
#undef TEMPORT_ORT_CALLBACK
};

}  // namespace temport::ort
