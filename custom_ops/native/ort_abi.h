// The part of ONNX Runtime's C ABI that this library uses, so that no ONNX Runtime header is needed to build it.
//
// OrtApi is an append-only table of function pointers: a slot keeps its number for ever. Version 17 of the table is
// asked for, the first that holds every slot used here, so the library loads in ONNX Runtime 1.17 and every newer one.
// abi_check.cc compares the numbers with the real headers wherever those are found.
#pragma once

#include <cstddef>
#include <cstdint>

namespace temport::ort {

constexpr uint32_t kApiVersion = 17;

enum Slot : size_t {
  kCreateStatus = 0,
  kCreateCustomOpDomain = 26,
  kCustomOpDomainAdd = 27,
  kAddCustomOpDomain = 28,
  kGetTensorMutableData = 51,
  kSetTensorElementType = 58,
  kSetDimensions = 59,
  kCreateTensorTypeAndShapeInfo = 57,
  kGetTensorElementType = 60,
  kGetDimensionsCount = 61,
  kGetDimensions = 62,
  kGetSymbolicDimensions = 63,
  kGetTensorTypeAndShape = 65,
  kKernelInfoGetAttributeFloat = 85,
  kKernelInfoGetAttributeInt64 = 86,
  kKernelInfoGetAttributeString = 87,
  kKernelContextGetInputCount = 88,
  kKernelContextGetInput = 90,
  kKernelContextGetOutput = 91,
  kReleaseStatus = 93,
  kReleaseTensorTypeAndShapeInfo = 99,
  kKernelInfoGetNodeName = 244,
  kKernelInfoGetConstantInput = 249,
  kShapeInferContextGetInputCount = 267,
  kShapeInferContextGetInputTypeShape = 268,
  kShapeInferContextGetAttribute = 269,
  kShapeInferContextSetOutputTypeShape = 270,
  kSetSymbolicDimensions = 271,
  kReadOpAttr = 272,
  kKernelContextParallelFor = 274,
};

// Opaque objects of the runtime.
struct Status;
struct KernelInfo;
struct KernelContext;
struct ShapeInferContext;
struct OpAttr;
struct Value;
struct TypeAndShape;
struct SessionOptions;
struct CustomOpDomain;

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2, kInvalidGraph = 10 };
enum Characteristic : int { kRequired = 0, kOptional = 1 };
enum OpAttrType : int { kAttrInt = 1 };

struct Api {
  void* slots[kKernelContextParallelFor + 1];

  // Calls slot N as a function returning R. Every argument has to be passed with the exact type of the C API.
  template <typename R, typename... Args>
  R call(Slot slot, Args... args) const {
    return reinterpret_cast<R (*)(Args...)>(slots[slot])(args...);
  }
};

struct ApiBase {
  const Api* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

struct CustomOp {
  uint32_t version;
  void* (*CreateKernel)(const CustomOp*, const Api*, const KernelInfo*);
  const char* (*GetName)(const CustomOp*);
  const char* (*GetExecutionProviderType)(const CustomOp*);
  int (*GetInputType)(const CustomOp*, size_t index);
  size_t (*GetInputTypeCount)(const CustomOp*);
  int (*GetOutputType)(const CustomOp*, size_t index);
  size_t (*GetOutputTypeCount)(const CustomOp*);
  void (*KernelCompute)(void* kernel, KernelContext*);
  void (*KernelDestroy)(void* kernel);
  int (*GetInputCharacteristic)(const CustomOp*, size_t index);
  int (*GetOutputCharacteristic)(const CustomOp*, size_t index);
  int (*GetInputMemoryType)(const CustomOp*, size_t index);
  int (*GetVariadicInputMinArity)(const CustomOp*);
  int (*GetVariadicInputHomogeneity)(const CustomOp*);
  int (*GetVariadicOutputMinArity)(const CustomOp*);
  int (*GetVariadicOutputHomogeneity)(const CustomOp*);
  Status* (*CreateKernelV2)(const CustomOp*, const Api*, const KernelInfo*, void** kernel);
  Status* (*KernelComputeV2)(void* kernel, KernelContext*);
  Status* (*InferOutputShapeFn)(const CustomOp*, ShapeInferContext*);
  int (*GetStartVersion)(const CustomOp*);
  int (*GetEndVersion)(const CustomOp*);
  size_t (*GetMayInplace)(int** input_index, int** output_index);
  void (*ReleaseMayInplace)(int* input_index, int* output_index);
  size_t (*GetAliasMap)(int** input_index, int** output_index);
  void (*ReleaseAliasMap)(int* input_index, int* output_index);
};

}  // namespace temport::ort
