#include "cuda_library.h"

#include <dlfcn.h>
#include <string>

namespace temport::internal {
namespace {

template <class F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(::dlsym(library, name));
  return function != nullptr;
}

}  // namespace

Result<Cuda> Cuda::load() {
  const std::string name = "libcudart.so." + std::to_string(CUDART_VERSION / 1000);
  void* library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return unavailable(name + " cannot be loaded: " + ::dlerror());
  Cuda cuda{};
  const bool complete = find(library, "cudaGetErrorString", cuda.error_string) &&
                        find(library, "cudaStreamCreateWithFlags", cuda.stream_create) &&
                        find(library, "cudaStreamDestroy", cuda.stream_destroy) &&
                        find(library, "cudaStreamSynchronize", cuda.stream_synchronize) &&
                        find(library, "cudaMemcpyAsync", cuda.copy) && find(library, "cudaMalloc", cuda.allocate) &&
                        find(library, "cudaFree", cuda.release);
  if (!complete) return unavailable(name + " is not the CUDA runtime");
  return cuda;
}

Result<void> Cuda::check(cudaError_t code, const char* what) const {
  if (code == cudaSuccess) return {};
  return failed(std::string("CUDA: ") + what + ": " + error_string(code));
}

}  // namespace temport::internal
