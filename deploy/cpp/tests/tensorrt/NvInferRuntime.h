// The part of TensorRT's interface that tensorrt.cpp uses, with TensorRT's names, for a stand-in behind it.
#pragma once

#include <cstddef>
#include <cstdint>

#define NV_TENSORRT_MAJOR 0
#define NV_TENSORRT_VERSION 0

namespace nvinfer1 {

enum class DataType : int32_t { kFLOAT, kHALF, kINT8, kINT32, kBOOL, kUINT8, kINT64, kBF16 };
enum class TensorIOMode : int32_t { kNONE, kINPUT, kOUTPUT };
enum class TensorFormat : int32_t { kLINEAR, kCHW32 };
enum class TensorLocation : int32_t { kDEVICE, kHOST };

struct Dims {
  int32_t nbDims;
  int64_t d[8];
};

class ILogger {
 public:
  enum class Severity : int32_t { kINTERNAL_ERROR, kERROR, kWARNING };
  virtual void log(Severity severity, const char* message) noexcept = 0;

 protected:
  virtual ~ILogger() = default;
};

class IExecutionContext {
 public:
  virtual ~IExecutionContext() = default;
  virtual bool setInputShape(const char* name, const Dims& dims) = 0;
  virtual Dims getTensorShape(const char* name) const = 0;
  virtual bool setTensorAddress(const char* name, void* data) = 0;
  virtual bool enqueueV3(void* stream) = 0;
};

class ICudaEngine {
 public:
  virtual ~ICudaEngine() = default;
  virtual IExecutionContext* createExecutionContext() = 0;
  virtual int32_t getNbIOTensors() const = 0;
  virtual TensorIOMode getTensorIOMode(const char* name) const = 0;
  virtual DataType getTensorDataType(const char* name) const = 0;
  virtual Dims getTensorShape(const char* name) const = 0;
  virtual TensorFormat getTensorFormat(const char* name) const = 0;
  virtual TensorLocation getTensorLocation(const char* name) const = 0;
};

class IRuntime {
 public:
  virtual ~IRuntime() = default;
  virtual ICudaEngine* deserializeCudaEngine(const void* plan, size_t bytes) = 0;
};

}  // namespace nvinfer1

extern "C" void* createInferRuntime_INTERNAL(void* logger, int32_t version);
