// The few CUDA runtime calls that a TensorRT session needs, from the library found when it is opened.
#pragma once

#include <cuda_runtime_api.h>
#include <memory>

#include "temport/result.hpp"

namespace temport::internal {

struct Cuda {
  // libcudart of the major version whose headers this was built with.
  static Result<Cuda> load();

  Result<void> check(cudaError_t code, const char* what) const;

  decltype(&::cudaGetErrorString) error_string;
  decltype(&::cudaStreamCreateWithFlags) stream_create;
  decltype(&::cudaStreamDestroy) stream_destroy;
  decltype(&::cudaStreamSynchronize) stream_synchronize;
  decltype(&::cudaMemcpyAsync) copy;
  cudaError_t (*allocate)(void**, size_t);  // ::cudaMalloc has C++ overloads
  decltype(&::cudaFree) release;
};

}  // namespace temport::internal
