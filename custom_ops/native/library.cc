// The entry point that SessionOptions.register_custom_ops_library looks up.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "../block_linear_attention/ort_op.h"
#include "../cached_attention/ort_op.h"
#include "../cached_block_linear_attention/ort_op.h"
#include "../fused_dense/ort_op.h"
#include "../fused_lstm/ort_op.h"
#include "../moving_average/ort_op.h"
#include "../online_softmax_attention/ort_op.h"
#include "../residual_layer_norm/ort_op.h"
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

// A file holds several bodies of an op in as many domains, temport, temport.2, temport.3 ...: the ops are in all of them.
constexpr int kMostBodies = 16;

std::vector<const ort::CustomOp*> make_ops(const ort::Api& api, bool infer) {
  std::vector<const ort::CustomOp*> ops;
  const auto add = [&](const ort::CustomOp* op) { ops.push_back(op); };
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    add(new OpEntry<OnlineSoftmaxAttention>(api, dtype, infer));
    add(new OpEntry<BlockLinearAttention>(api, dtype, infer));
    add(new OpEntry<CachedAttention>(api, dtype, infer));
    add(new OpEntry<CachedBlockLinearAttention>(api, dtype, infer));
  }
  add(new OpEntry<FusedDense>(api, DType::kFloat32, infer));
  add(new OpEntry<FusedLstm>(api, DType::kFloat32, infer));
  add(new OpEntry<MovingAverage>(api, DType::kFloat32, infer));
  add(new OpEntry<ResidualLayerNorm>(api, DType::kFloat32, infer));
  return ops;
}

// Domains and ops have to outlive every session, so they live as long as the process, once per runtime in it.
ort::Status* make_domains(const ort::Api& api, bool infer, std::vector<ort::CustomOpDomain*>& domains) {
  const std::vector<const ort::CustomOp*> ops = make_ops(api, infer);
  ort::Status* status = nullptr;
  for (int body = 1; body <= kMostBodies && status == nullptr; ++body) {
    const std::string name = body == 1 ? "temport" : "temport." + std::to_string(body);
    status = api.call<ort::Status*>(ort::kCreateCustomOpDomain, name.c_str(), &domains.emplace_back());
    for (const ort::CustomOp* op : ops)
      if (status == nullptr) status = api.call<ort::Status*>(ort::kCustomOpDomainAdd, domains.back(), op);
  }
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
  static auto& domains_of = *new std::map<const ort::Api*, std::vector<ort::CustomOpDomain*>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::vector<ort::CustomOpDomain*>& domains = domains_of[api];
  ort::Status* status = nullptr;
  if (domains.empty()) status = temport::make_domains(*api, temport::can_infer_shapes(base->GetVersionString()), domains);
  if (status != nullptr) domains.clear();
  for (size_t i = 0; i < domains.size() && status == nullptr; ++i)
    status = api->call<ort::Status*>(ort::kAddCustomOpDomain, options, domains[i]);
  return status;
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

// Not 0: the cached ops may be given one buffer for a cache before and after a frame, and write its newest row there.
extern "C" __attribute__((visibility("default"))) int temport_ops_write_in_place() { return 1; }

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
