// The Q, K, V inputs that both attention ops share.
#include "node.h"

namespace temport {
namespace {

void agree(const std::string& label, const char* one, int64_t a, const char* other, int64_t b) {
  if (a != b)
    throw NodeError(label + ": " + one + " is " + std::to_string(a) + " but " + other + " is " + std::to_string(b) +
                    "; they must be equal.");
}

void need_rank(const std::string& label, const char* name, const Tensor& x, size_t rank) {
  if (x.shape.size() != rank)
    throw NodeError(label + ": " + name + " has shape " + shape_text(x.shape) + "; it must have " +
                    std::to_string(rank) + " axes.");
}

Operand rows_of(const void* data, int64_t width, int64_t length) { return {data, width, times(width, length)}; }

}  // namespace

void read_qkv(const std::string& label, const NodeCall& call, AttentionProblem& p) {
  const Tensor q = call.input(0), k = call.input(1), v = call.input(2);
  need_rank(label, "Q", q, 3);
  if ((k.data == nullptr) != (v.data == nullptr))
    throw NodeError(label + ": K and V must both be given, or both be left out with Q carrying packed QKV.");
  p.batch = q.shape[0];
  p.length = q.shape[1];
  const int64_t width = q.shape[2];
  p.q = rows_of(q.data, width, p.length);
  if (k.data == nullptr) {
    p.dim = p.value_dim = head_dim(label, "packed Q", width, plus(p.heads, 2 * p.kv_heads), "num_heads + 2*kv_num_heads");
    p.rule.keys = p.length;
    const size_t element = p.dtype == DType::kFloat32 ? 4 : 2;
    const char* base = static_cast<const char*>(q.data);
    p.k = p.v = p.q;
    p.k.data = base + size_t(times(p.heads, p.dim)) * element;
    p.v.data = base + size_t(times(plus(p.heads, p.kv_heads), p.dim)) * element;
    return;
  }
  need_rank(label, "K", k, 3);
  need_rank(label, "V", v, 3);
  p.dim = head_dim(label, "Q", width, p.heads, "num_heads");
  agree(label, "the head dim of Q", p.dim, "the head dim of K", head_dim(label, "K", k.shape[2], p.kv_heads, "kv_num_heads"));
  p.value_dim = head_dim(label, "V", v.shape[2], p.kv_heads, "kv_num_heads");
  agree(label, "the batch of Q", p.batch, "the batch of K", k.shape[0]);
  agree(label, "the batch of K", k.shape[0], "the batch of V", v.shape[0]);
  agree(label, "the length of K", k.shape[1], "the length of V", v.shape[1]);
  p.rule.keys = k.shape[1];
  p.k = rows_of(k.data, k.shape[2], p.rule.keys);
  p.v = rows_of(v.data, v.shape[2], p.rule.keys);
}

}  // namespace temport
