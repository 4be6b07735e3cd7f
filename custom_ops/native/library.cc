// The entry point that SessionOptions.register_custom_ops_library looks up.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>

#include "../block_linear_attention/ort_op.h"
#include "../fused_dense/ort_op.h"
#include "../fused_lstm/ort_op.h"
#include "../online_softmax_attention/ort_op.h"
#include "../shift_append/ort_op.h"
#include "op_entry.h"

namespace temport {
namespace {

// Before 1.24 ONNX Runtime crashes, on its way to an op's shape inference, on a node whose optional input is an empty
// name (packed QKV with a key_mask). There output shapes stay unknown until the model runs.
bool can_infer_shapes(const char* version) {
  char* end = nullptr;
  const long major = std::strtol(version, &end, 10);
  const long minor = *end == '.' ? std::strtol(end + 1, nullptr, 10) : 0;
  return major > 1 || (major == 1 && minor >= 24);
}

// Domain and ops have to outlive every session, so they live as long as the process, once per runtime in it.
ort::Status* make_domain(const ort::Api& api, bool infer, ort::CustomOpDomain*& domain) {
  ort::Status* status = api.call<ort::Status*>(ort::kCreateCustomOpDomain, "temport", &domain);
  const auto add = [&](const ort::CustomOp* op) {
    if (status == nullptr) status = api.call<ort::Status*>(ort::kCustomOpDomainAdd, domain, op);
  };
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    add(new OpEntry<OnlineSoftmaxAttention>(api, dtype, infer));
    add(new OpEntry<BlockLinearAttention>(api, dtype, infer));
  }
  add(new OpEntry<FusedDense>(api, DType::kFloat32, infer));
  add(new OpEntry<FusedLstm>(api, DType::kFloat32, infer));
  add(new OpEntry<ShiftAppend>(api, DType::kFloat32, infer));
  return status;
}

}  // namespace
}  // namespace temport

extern "C" __attribute__((visibility("default"))) temport::ort::Status* RegisterCustomOps(
    temport::ort::SessionOptions* options, const temport::ort::ApiBase* base) {
  namespace ort = temport::ort;
  const ort::Api* api = base->GetApi(ort::kApiVersion);
  if (api == nullptr) return nullptr;  // no table to report with: ONNX Runtime is older than 1.17 and says so itself
  static std::mutex mutex;
  static auto& domains = *new std::map<const ort::Api*, ort::CustomOpDomain*>;
  const std::lock_guard<std::mutex> lock(mutex);
  ort::CustomOpDomain*& domain = domains[api];
  if (domain == nullptr) {
    ort::Status* status = temport::make_domain(*api, temport::can_infer_shapes(base->GetVersionString()), domain);
    if (status != nullptr) return status;
  }
  return api->call<ort::Status*>(ort::kAddCustomOpDomain, options, domain);
}

// The version of the library and the instruction set whose kernels run in this process: "0.1.0, avx2".
extern "C" __attribute__((visibility("default"))) const char* temport_ops_description() {
  static const std::string text = [] {
    std::string error;
    const temport::Kernels* kernels = temport::choose_kernels(error);
    return std::string(TEMPORT_VERSION ", ") + (kernels != nullptr ? kernels->isa : "no kernel can run here");
  }();
  return text.c_str();
}

// For benchmarks: FLOP/s of one thread doing nothing but fused multiply-adds with the vectors that the kernels use, the
// best of `trials` short trials; 0 where no kernel can run.
extern "C" __attribute__((visibility("default"))) double temport_peak_flops(int trials) {
  std::string error;
  const temport::Kernels* kernels = temport::choose_kernels(error);
  double best = 0;
  for (int i = 0; i < trials && kernels != nullptr; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const double flops = kernels->spend_flops(100000);
    best = std::max(best, flops / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}
