// The entry point that SessionOptions.register_custom_ops_library looks up.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "../block_linear_attention/ort_op.h"
#include "../cached_attention/ort_op.h"
#include "../cached_block_linear_attention/ort_op.h"
#include "../fused_dense/ort_op.h"
#include "../fused_gru/ort_op.h"
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

// An op: in how many domains it has kernels, since a file holds the bodies of an op in as many, temport, temport.2,
// temport.3 and so on, and for which element types. Every session pays for each domain of each op, with about 35
// microseconds and 15 KiB, so an op has as many domains as models have bodies of it, and no more.
using MakeEntry = const ort::CustomOp* (*)(const ort::Api&, DType, bool infers_shapes);
struct OpRow {
  const char* name;
  int domains;
  std::vector<DType> types;
  MakeEntry make;
  MakeEntry make_half_ring = nullptr;  // over rings of float16 beside float32
};

template <template <typename> typename Entry, typename Op>
const ort::CustomOp* make_entry(const ort::Api& api, DType dtype, bool infers_shapes) {
  return new Entry<Op>(api, dtype, infers_shapes);
}
template <typename Op>
OpRow row(int domains, std::vector<DType> types) {
  return {Op::kName, domains, std::move(types), make_entry<OpEntry, Op>};
}
template <typename Op>
OpRow ring_row(int domains, std::vector<DType> types) {
  return {Op::kName, domains, std::move(types), make_entry<OpEntry, Op>, make_entry<HalfRingEntry, Op>};
}

const std::vector<OpRow>& op_table() {
  static const std::vector<DType> single = {DType::kFloat32};
  static const std::vector<DType> every = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};
  static const auto& table = *new std::vector<OpRow>{
      row<OnlineSoftmaxAttention>(8, every), row<BlockLinearAttention>(4, every),
      ring_row<CachedAttention>(4, every),   row<CachedBlockLinearAttention>(4, every),
      row<FusedDense>(16, single),           row<FusedGru>(1, single),
      row<FusedLstm>(1, single),             row<MovingAverage>(2, single),
      row<ResidualLayerNorm>(2, single),
  };
  return table;
}

// Domains and ops have to outlive every session, so they live as long as the process, once per runtime in it.
ort::Status* make_domains(const ort::Api& api, bool infers_shapes, std::vector<ort::CustomOpDomain*>& domains) {
  ort::Status* status = nullptr;
  const auto add = [&](const OpRow& op, const ort::CustomOp* entry) {
    for (size_t i = 0; i < size_t(op.domains) && status == nullptr; ++i) {
      if (i == domains.size()) {
        const std::string name = i == 0 ? "temport" : "temport." + std::to_string(i + 1);
        status = ort::CreateCustomOpDomain::call(api, name.c_str(), &domains.emplace_back());
      }
      if (status == nullptr) status = ort::CustomOpDomain_Add::call(api, domains[i], entry);
    }
  };
  for (const OpRow& op : op_table()) {
    for (const DType dtype : op.types) add(op, op.make(api, dtype, infers_shapes));
    if (op.make_half_ring != nullptr) add(op, op.make_half_ring(api, DType::kFloat32, infers_shapes));
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
    status = ort::AddCustomOpDomain::call(*api, options, domains[i]);
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

// What the library has kernels for, a line for each op: its name, the number of its domains, and the element types, by
// their numbers in ONNX: "FusedDense 16 1\n".
extern "C" __attribute__((visibility("default"))) const char* temport_ops_kernels() {
  static const std::string text = [] {
    std::string lines;
    for (const temport::OpRow& op : temport::op_table()) {
      lines += op.name + (" " + std::to_string(op.domains));
      for (const temport::DType dtype : op.types) lines += " " + std::to_string(int(dtype));
      lines += '\n';
    }
    return lines;
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
