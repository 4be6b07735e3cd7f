// Nodes that are right, by op, as bytes choose them: what the fuzzer of the ops then spoils.
#pragma once

#include <climits>

#include "stand_in_node.h"

namespace temport {

using ort::OpAttr;
using Sizes = std::vector<int64_t>;

// Numbers that a model can hold and nobody means.
constexpr int64_t kHostile[] = {
    0, 1, 2, 3, -1, -3, INT64_MIN, INT64_MAX, INT64_MAX - 1, 1ll << 16, 1ll << 20, 1ll << 31, 1ll << 40, 1ll << 62,
    (1ll << 62) + 1, 0x5555555555555556};  // three times the last is 2, modulo 2^64

// What the bytes say; 0 when they are used up.
struct Draw {
  const uint8_t* next;
  size_t left;

  int byte() { return left == 0 ? 0 : (--left, *next++); }
  bool flag() { return byte() & 1; }
  int below(size_t bound) { return byte() % int(bound); }
  template <typename T, size_t N>
  T one_of(const T (&from)[N]) {
    return from[byte() % N];
  }
  int64_t hostile() { return one_of(kHostile); }
  int64_t few() {
    constexpr int64_t kFew[] = {1, 2, 1, 3};
    return one_of(kFew);
  }
  int64_t size() {  // mostly small, else around the widths of vectors and panels
    constexpr int64_t kSizes[] = {1, 2, 3, 4, 1, 2, 5, 8, 9, 7, 0, 16, 17, 3, 4, 33};
    return one_of(kSizes);
  }
};

struct Written : Node {
  Draw draw;

  void integer(const char* attribute, int64_t value) { attributes.push_back({attribute, OpAttr::kInteger, value, 0, {}}); }
  void number(const char* attribute, float value) { attributes.push_back({attribute, OpAttr::kNumber, 0, value, {}}); }
  void text(const char* attribute, const char* value) { attributes.push_back({attribute, OpAttr::kText, 0, 0, value}); }
  void tensor(const Sizes& shape, bool given = true) {
    inputs.emplace_back();
    inputs.back().value.shape = shape;
    inputs.back().given = given;
  }
  // Stores the weight `place` in fewer bits, as a rule not at all; its scales are the next input.
  void store(size_t place, size_t outputs_axis) {
    constexpr ort::ElementType kTypes[] = {ort::kFloat, ort::kFloat16, ort::kInt8, ort::kInt4};
    Sizes scales = inputs[place].value.shape;
    const ort::ElementType type = kTypes[draw.below(4)];
    inputs[place].value.type = type;
    if (draw.flag())
      scales = {scales[outputs_axis]};
    else if (int64_t& size = scales[size_t(draw.below(scales.size()))]; size > 0)
      size = 1 + (size - 1) / (1 + draw.below(8));
    tensor(scales, type == ort::kInt8 || type == ort::kInt4);
  }
  void linear_branch() {
    if (draw.flag()) text("feature_map", draw.flag() ? "identity" : "elu1");
    if (draw.flag()) text("normalizer", draw.flag() ? "key_sum" : "none");
    if (draw.flag()) number("eps", 1e-3f);
  }
  void qkv(int64_t heads, int64_t kv_heads, int64_t batch, int64_t length, int64_t keys) {
    const int64_t dim = 1 + draw.size(), value_dim = draw.flag() ? dim : 1 + draw.size();
    if (draw.flag()) return tensor({batch, length, (heads + 2 * kv_heads) * dim});
    tensor({batch, length, heads * dim});
    tensor({batch, keys, kv_heads * dim});
    tensor({batch, keys, kv_heads * value_dim});
  }
  void ring(int64_t heads, int64_t batch, int64_t dim) {
    const int64_t rows = 1 + draw.size(), width = heads * dim;
    tensor(draw.flag() ? Sizes{batch, 3 * width} : Sizes{batch, 1, 3 * width});
    tensor({batch, rows, width});
    tensor({batch, rows, width});
    in_place = draw.flag();
  }
  void recurrent_layer(int64_t gates, int states) {
    const int64_t hidden = 1 + draw.size(), features = draw.size(), frames = draw.below(5), batch = draw.below(4);
    integer("hidden_size", hidden);
    tensor({frames, batch, features});
    tensor({1, gates * hidden, features});
    tensor({1, gates * hidden, hidden});
    tensor({1, 2 * gates * hidden}, draw.flag());
    for (int i = 0; i < states; ++i) tensor({1, batch, hidden}, draw.flag());
    store(1, 1);
    store(2, 1);
  }
};

// A node that is right, by op. A new op needs a row.
struct Row {
  const char* op;
  void (*write)(Written& n, Draw& d);
};
constexpr Row kRows[] = {
    {"OnlineSoftmaxAttention",
     [](Written& n, Draw& d) {
       const int64_t kv_heads = d.few(), heads = kv_heads * d.few(), batch = d.few(), length = d.size();
       n.integer("num_heads", heads);
       if (kv_heads != heads || d.flag()) n.integer("kv_num_heads", kv_heads);
       if (d.flag()) n.integer("causal", d.flag());
       if (d.flag()) n.integer("window", d.size());
       if (d.flag()) n.integer("query_offset", d.size());
       if (d.flag()) n.number("scale", 0.5f);
       n.qkv(heads, kv_heads, batch, length, d.size());
       if (!d.flag()) return;
       const int64_t keys = n.inputs.size() == 1 ? length : n.inputs[1].value.shape[1];
       while (n.inputs.size() < 3) n.tensor({}, false);
       n.tensor({batch, keys});
     }},
    {"BlockLinearAttention",
     [](Written& n, Draw& d) {
       const bool split = d.byte() == 200;  // blocks of several chunks
       const int64_t heads = split ? 1 : d.few(), batch = split ? 1 : d.few(), length = split ? 90 + d.byte() : d.size();
       n.integer("num_heads", heads);
       n.integer("block_size", split ? 129 + d.below(60) : 1 + d.size());
       if (d.flag()) n.number("scale", 0.5f);
       n.linear_branch();
       n.qkv(heads, heads, batch, d.below(8) == 0 ? 3 * length : length, length);
     }},
    {"CachedAttention",
     [](Written& n, Draw& d) {
       const int64_t heads = d.few(), batch = d.few();
       n.integer("num_heads", heads);
       if (d.flag()) n.number("scale", 0.5f);
       n.ring(heads, batch, 1 + d.size());
       n.tensor({batch, 1});
     }},
    {"CachedBlockLinearAttention",
     [](Written& n, Draw& d) {
       const int64_t heads = d.few(), batch = d.few(), dim = 1 + d.below(20);
       n.integer("num_heads", heads);
       n.linear_branch();
       n.ring(heads, batch, dim);
       for (int i = 0; i < 3; ++i) n.tensor({batch, heads, dim, dim + 1});
       n.tensor({batch, 1});
     }},
    {"FusedDense",
     [](Written& n, Draw& d) {
       const int64_t groups = d.flag() ? 1 : d.few(), inputs = d.size(), outputs = d.size();
       Sizes x = groups == 1 && d.flag() ? Sizes{d.few(), d.size(), inputs} : Sizes{d.size(), groups * inputs}, y = x;
       y.back() = groups * outputs;
       constexpr const char* kNames[] = {"none", "relu", "gelu", "sigmoid", "silu"};
       if (groups > 1 || d.flag()) n.integer("groups", groups);
       if (d.flag()) n.text("activation", d.one_of(kNames));
       n.tensor(x);
       n.tensor(groups == 1 ? Sizes{inputs, outputs} : Sizes{groups, inputs, outputs});
       n.tensor({groups * outputs});
       n.tensor(y, d.flag());
       n.tensor(y, d.flag());
       n.store(1, n.inputs[1].value.shape.size() - 1);
       n.tensor({}, d.flag());
     }},
    {"FusedGRU", [](Written& n, Draw&) { n.recurrent_layer(3, 1); }},
    {"FusedLSTM", [](Written& n, Draw&) { n.recurrent_layer(4, 2); }},
    {"MovingAverage",
     [](Written& n, Draw& d) {
       const int64_t channels = 1 + d.size(), taps = 1 + d.below(12);
       n.integer("channels", channels);
       n.integer("taps", taps);
       n.tensor({d.few(), d.size(), channels});
       n.tensor({channels, 1, 1, taps});
       n.tensor({channels, 1, 1, taps});
     }},
    {"ResidualLayerNorm",
     [](Written& n, Draw& d) {
       const int64_t width = d.size();
       if (d.flag()) n.number("epsilon", 1e-3f);
       if (d.flag()) n.integer("centred", d.flag());
       n.tensor(d.flag() ? Sizes{d.size(), width} : Sizes{d.few(), d.few(), width});
       n.tensor({width});
       n.tensor({width});
       n.tensor(n.inputs[0].value.shape, d.flag());
     }},
};

}  // namespace temport
