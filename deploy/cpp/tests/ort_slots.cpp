// Every slot number of the view against the real header.
#include <cstddef>

#include "onnxruntime_c_api.h"
#include "ort_api.h"

#define CHECK_SLOT_AS(ours, theirs)                                                                         \
  static_assert(temport::internal::ort::ours::number == offsetof(OrtApi, theirs) / sizeof(void*), #theirs " has moved")
#define CHECK_SLOT(name) CHECK_SLOT_AS(name, name)

CHECK_SLOT(GetErrorCode);
CHECK_SLOT(GetErrorMessage);
CHECK_SLOT(CreateEnv);
CHECK_SLOT(CreateSessionFromArray);
CHECK_SLOT(Run);
CHECK_SLOT(CreateSessionOptions);
CHECK_SLOT(SetIntraOpNumThreads);
CHECK_SLOT(SetInterOpNumThreads);
CHECK_SLOT(SessionGetInputCount);
CHECK_SLOT(SessionGetOutputCount);
CHECK_SLOT(SessionGetInputTypeInfo);
CHECK_SLOT(SessionGetOutputTypeInfo);
CHECK_SLOT(SessionGetInputName);
CHECK_SLOT(SessionGetOutputName);
CHECK_SLOT(CreateTensorWithDataAsOrtValue);
CHECK_SLOT(CastTypeInfoToTensorInfo);
CHECK_SLOT(GetTensorElementType);
CHECK_SLOT(GetDimensionsCount);
CHECK_SLOT(GetDimensions);
CHECK_SLOT(CreateCpuMemoryInfo);
CHECK_SLOT(AllocatorFree);
CHECK_SLOT(GetAllocatorWithDefaultOptions);
CHECK_SLOT(ReleaseEnv);
CHECK_SLOT(ReleaseStatus);
CHECK_SLOT(ReleaseMemoryInfo);
CHECK_SLOT(ReleaseSession);
CHECK_SLOT(ReleaseValue);
CHECK_SLOT(ReleaseTypeInfo);
CHECK_SLOT(ReleaseSessionOptions);
CHECK_SLOT(AddSessionConfigEntry);
CHECK_SLOT(AddExternalInitializersFromFilesInMemory);
CHECK_SLOT_AS(RegisterCustomOpsLibrary, RegisterCustomOpsLibrary_V2);

static_assert(int{temport::internal::ort::kNotImplemented} == static_cast<int>(ORT_NOT_IMPLEMENTED));
static_assert(int{temport::internal::ort::kFloat} == static_cast<int>(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT));
static_assert(int{temport::internal::ort::kInt32} == static_cast<int>(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32));
static_assert(int{temport::internal::ort::kInt64} == static_cast<int>(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64));
static_assert(int{temport::internal::ort::kBool} == static_cast<int>(ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL));
static_assert(int{temport::internal::ort::kFloat16} == static_cast<int>(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16));
static_assert(int{temport::internal::ort::kDouble} == static_cast<int>(ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE));
static_assert(int{temport::internal::ort::kBfloat16} == static_cast<int>(ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16));
