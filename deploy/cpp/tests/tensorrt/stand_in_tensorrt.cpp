// TensorRT and CUDA's runtime in one library. Its engine is y = 2 x with x [batch, 3]; its plan is one line of text:
// "rows columns format location", the rows of y for each of x, its columns, and how it wants y.
#include <NvInferRuntime.h>
#include <cstdlib>
#include <cstring>
#include <cuda_runtime_api.h>
#include <sstream>
#include <string>

using namespace nvinfer1;

namespace {

struct Plan {
  int64_t rows = 1, columns = 3;
  int format = 0, location = 0;
};

class Context final : public IExecutionContext {
 public:
  explicit Context(const Plan& plan) : plan_(plan) {}
  bool setInputShape(const char*, const Dims& dims) override { return batch_ = dims.d[0], true; }
  Dims getTensorShape(const char* name) const override {
    if (*name == 'x') return {2, {batch_, 3}};
    return {2, {batch_ * plan_.rows, plan_.columns}};
  }
  bool setTensorAddress(const char* name, void* data) override {
    return (*name == 'x' ? x_ : y_) = static_cast<float*>(data), true;
  }
  // As an engine does it: as much as it says itself, whatever memory it was given.
  bool enqueueV3(void*) override {
    for (int64_t i = 0; i < batch_ * plan_.rows * plan_.columns; ++i) y_[i] = 2 * x_[i % (3 * batch_)];
    return true;
  }

 private:
  Plan plan_;
  int64_t batch_ = 0;
  float *x_ = nullptr, *y_ = nullptr;
};

class Engine final : public ICudaEngine {
 public:
  explicit Engine(const Plan& plan) : plan_(plan) {}
  IExecutionContext* createExecutionContext() override { return new Context(plan_); }
  int32_t getNbIOTensors() const override { return 2; }
  TensorIOMode getTensorIOMode(const char* name) const override {
    return *name == 'x' ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
  }
  DataType getTensorDataType(const char*) const override { return DataType::kFLOAT; }
  Dims getTensorShape(const char*) const override { return {2, {-1, 3}}; }
  TensorFormat getTensorFormat(const char* name) const override {
    return *name == 'y' ? static_cast<TensorFormat>(plan_.format) : TensorFormat::kLINEAR;
  }
  TensorLocation getTensorLocation(const char* name) const override {
    return *name == 'y' ? static_cast<TensorLocation>(plan_.location) : TensorLocation::kDEVICE;
  }

 private:
  Plan plan_;
};

class Runtime final : public IRuntime {
 public:
  ICudaEngine* deserializeCudaEngine(const void* plan, size_t bytes) override {
    std::istringstream text(std::string(static_cast<const char*>(plan), bytes));
    Plan read;
    text >> read.rows >> read.columns >> read.format >> read.location;
    return new Engine(read);
  }
};

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))
EXPORTED void* createInferRuntime_INTERNAL(void*, int32_t) { return static_cast<IRuntime*>(new Runtime); }
EXPORTED int32_t getInferLibVersion() { return 0; }
EXPORTED const char* cudaGetErrorString(cudaError_t) { return "out of memory"; }
EXPORTED cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned) { return cudaSuccess; }
EXPORTED cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
EXPORTED cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
EXPORTED cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
EXPORTED cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = std::malloc(bytes);
  return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}
EXPORTED cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
