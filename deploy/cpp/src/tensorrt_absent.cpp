// What stands in for the TensorRT backend in a build that did not find the SDK's headers.
#include "runtime.h"

namespace temport::internal {

Result<std::unique_ptr<Model>> load_tensorrt(const BundleDirectory&, const SessionConfig&, const std::string& flavour) {
  return unavailable(flavour + " is not in this build: NvInferRuntime.h or cuda_runtime_api.h was not found; configure with "
                               "-DTENSORRT_ROOT=<sdk> and -DCUDAToolkit_ROOT=<cuda>");
}

}  // namespace temport::internal
