// Compiled only where ONNX Runtime's own headers are found: proves that ort_abi.h has the right numbers.
#include <onnxruntime_c_api.h>

#include "ort_abi.h"

#define TEMPORT_SLOT(ours, theirs) \
  static_assert(temport::ort::ours == offsetof(OrtApi, theirs) / sizeof(void*), "slot of " #theirs)
TEMPORT_SLOT(kCreateStatus, CreateStatus);
TEMPORT_SLOT(kCreateCustomOpDomain, CreateCustomOpDomain);
TEMPORT_SLOT(kCustomOpDomainAdd, CustomOpDomain_Add);
TEMPORT_SLOT(kAddCustomOpDomain, AddCustomOpDomain);
TEMPORT_SLOT(kGetTensorMutableData, GetTensorMutableData);
TEMPORT_SLOT(kSetTensorElementType, SetTensorElementType);
TEMPORT_SLOT(kSetDimensions, SetDimensions);
TEMPORT_SLOT(kCreateTensorTypeAndShapeInfo, CreateTensorTypeAndShapeInfo);
TEMPORT_SLOT(kGetTensorElementType, GetTensorElementType);
TEMPORT_SLOT(kGetDimensionsCount, GetDimensionsCount);
TEMPORT_SLOT(kGetDimensions, GetDimensions);
TEMPORT_SLOT(kGetSymbolicDimensions, GetSymbolicDimensions);
TEMPORT_SLOT(kGetTensorTypeAndShape, GetTensorTypeAndShape);
TEMPORT_SLOT(kKernelInfoGetAttributeFloat, KernelInfoGetAttribute_float);
TEMPORT_SLOT(kKernelInfoGetAttributeInt64, KernelInfoGetAttribute_int64);
TEMPORT_SLOT(kKernelInfoGetAttributeString, KernelInfoGetAttribute_string);
TEMPORT_SLOT(kKernelContextGetInputCount, KernelContext_GetInputCount);
TEMPORT_SLOT(kKernelContextGetInput, KernelContext_GetInput);
TEMPORT_SLOT(kKernelContextGetOutput, KernelContext_GetOutput);
TEMPORT_SLOT(kReleaseStatus, ReleaseStatus);
TEMPORT_SLOT(kReleaseTensorTypeAndShapeInfo, ReleaseTensorTypeAndShapeInfo);
TEMPORT_SLOT(kKernelInfoGetNodeName, KernelInfo_GetNodeName);
TEMPORT_SLOT(kKernelInfoGetConstantInput, KernelInfoGetConstantInput_tensor);
TEMPORT_SLOT(kShapeInferContextGetInputCount, ShapeInferContext_GetInputCount);
TEMPORT_SLOT(kShapeInferContextGetInputTypeShape, ShapeInferContext_GetInputTypeShape);
TEMPORT_SLOT(kShapeInferContextGetAttribute, ShapeInferContext_GetAttribute);
TEMPORT_SLOT(kShapeInferContextSetOutputTypeShape, ShapeInferContext_SetOutputTypeShape);
TEMPORT_SLOT(kSetSymbolicDimensions, SetSymbolicDimensions);
TEMPORT_SLOT(kReadOpAttr, ReadOpAttr);
TEMPORT_SLOT(kKernelContextParallelFor, KernelContext_ParallelFor);
#undef TEMPORT_SLOT

#define TEMPORT_FIELD(name) \
  static_assert(offsetof(temport::ort::CustomOp, name) == offsetof(OrtCustomOp, name), "field " #name)
TEMPORT_FIELD(GetName);
TEMPORT_FIELD(GetInputCharacteristic);
TEMPORT_FIELD(CreateKernelV2);
TEMPORT_FIELD(KernelComputeV2);
TEMPORT_FIELD(InferOutputShapeFn);
TEMPORT_FIELD(GetEndVersion);
TEMPORT_FIELD(ReleaseAliasMap);
#undef TEMPORT_FIELD

static_assert(temport::ort::kOptional == int{INPUT_OUTPUT_OPTIONAL});
static_assert(temport::ort::kInvalidArgument == int{ORT_INVALID_ARGUMENT});
static_assert(temport::ort::kInvalidGraph == int{ORT_INVALID_GRAPH});
static_assert(temport::ort::kAttrInt == int{ORT_OP_ATTR_INT});
