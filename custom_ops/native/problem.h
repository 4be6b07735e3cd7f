// What a kernel is asked to do: plain data, shared by the op glue and by the kernels of every instruction set.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef TEMPORT_SANITIZED  // a check is compiled once, not wherever its function is called
#define TEMPORT_INLINE inline
#else
#define TEMPORT_INLINE inline __attribute__((always_inline))
#endif

namespace temport {

// Values are those of ONNX TensorProto.DataType.
enum class DType : int { kFloat32 = 1, kFloat16 = 10, kBFloat16 = 16 };

// Which keys query row t may see: always one contiguous range, cut from the keys [0, keys).
// Row t stands at key position t + offset; a window of W means W keys with the row's own position; blocks of `block`
// rows see only themselves.
struct KeyRule {
  bool causal = false;
  int64_t window = 0;
  int64_t offset = 0;
  int64_t block = 0;
  int64_t keys = 0;

  // Forced inline: a copy compiled for a wide instruction set must never be linked into a narrow one.
  TEMPORT_INLINE int64_t clamp(int64_t key) const { return key < 0 ? 0 : (key > keys ? keys : key); }
  TEMPORT_INLINE int64_t lo(int64_t row) const {
    if (block > 0) return row / block * block;
    return window > 0 ? clamp(row + offset - window + 1) : 0;
  }
  TEMPORT_INLINE int64_t hi(int64_t row) const { return causal || window > 0 ? clamp(row + offset + 1) : keys; }
};

// A `[batch, length, heads * dim]` tensor, or the slice of a packed one; strides count elements.
struct Operand {
  const void* data = nullptr;
  int64_t row_stride = 0;
  int64_t batch_stride = 0;
};

// The part that both attention ops share. The output is dense `[batch, length, heads * value_dim]`.
struct AttentionProblem {
  DType dtype = DType::kFloat32;
  DType ring = DType::kFloat32;  // of k and v where they are the rings of a stream; elsewhere they have `dtype`
  Operand q, k, v;
  const uint8_t* key_mask = nullptr;  // [batch, keys], 0: left out, and bytes out of a file may be anything else
  void* y = nullptr;
  int64_t batch = 0, heads = 0, kv_heads = 0, length = 0, dim = 0, value_dim = 0;
  KeyRule rule;
  float scale = 1;

  // Filled by plan(): the tiles, and how many tasks there are.
  int64_t tile_rows = 0, tile_keys = 0, row_block = 0, score_blocks = 0, group_blocks = 0, tiles = 0, tasks = 0;
  int64_t workers = 1;  // threads that may run tasks, set by the caller: tiles stay small enough to share among them
  size_t scratch_floats = 0;
};

// The running sums of one (batch, head) of the block-linear op where chunks hand them over. `turn` is the next chunk
// that may touch them.
struct alignas(64) LinearState {
  int64_t turn = 0;  // met by atomic operations alone
  float* sum = nullptr;       // running S and z
  float* snapshot = nullptr;  // S and z at the start of the current block, where a block has several chunks
};

// The linear branch of the block-linear ops: phi is the identity or elu + 1, and what it gives may be divided by eps +
// the sum of phi(q) . phi(k).
struct LinearBranch {
  bool elu1 = false;
  bool divide = true;
  float eps = 1e-8f;
};

struct BlockLinearProblem : LinearBranch {
  AttentionProblem attention;

  // Filled by plan().
  int64_t state_floats = 0;
  int64_t run = 1;  // chunks of a task
  bool several_blocks = false, split_blocks = false;
  bool hands_over = false;  // chunks of one sequence share its sums, in `states`

  LinearState* states = nullptr;      // [batch * heads], where chunks hand over
  void (*wait)(int spins) = nullptr;  // called while another chunk holds the turn
};

// The linear branch of one frame of a stream: what it adds to a row of `y`, and the sums of phi(k)^T [v 1] with this
// frame. Sums are `[batch, heads, dim, dim + 1]` with rows of `row` floats; where these are dense, those that come out lie
// in other memory than those that go in.
struct LinearStepProblem : LinearBranch {
  DType dtype = DType::kFloat32;
  const void* qkv = nullptr;  // [batch, 3, heads * dim]
  const void *earlier = nullptr, *block = nullptr, *lost = nullptr;
  void *next_earlier = nullptr, *next_block = nullptr, *next_lost = nullptr;
  void* y = nullptr;  // [batch, heads * dim]
  int64_t heads = 0, dim = 0, row = 0;
};

// Element types of weights, numbered likewise. Bytes have a scale per output, integers of 4 bits one per output and block of
// inputs.
enum class Weight : int { kFloat32 = 1, kInt8 = 3, kFloat16 = 10, kInt4 = 22 };

// Inputs of an output that are packed next to each other. A packed weight has a whole number of such groups, of bytes the three
// before the first are readable, and of 4 bits the scale of a block lies in front of its groups.
TEMPORT_INLINE constexpr int64_t depth_of(Weight weight) {
  return weight == Weight::kInt4 ? 8 : weight == Weight::kInt8 ? 4 : 1;
}
// Of a packed weight for each of its columns; `block` is of 4 bits.
TEMPORT_INLINE constexpr int64_t column_bytes(Weight weight, int64_t inputs, int64_t block) {
  switch (weight) {
    case Weight::kInt4: return (inputs / depth_of(weight) + inputs / block) * 4;
    case Weight::kInt8: return (inputs + depth_of(weight) - 1) / depth_of(weight) * depth_of(weight);
    case Weight::kFloat16: return 2 * inputs;
    case Weight::kFloat32: break;
  }
  return 4 * inputs;
}

// A weight that is to be packed.
struct WeightData {
  Weight type = Weight::kFloat32;
  const void* data = nullptr;    // of 4 bits two in a byte, the first in its lower ones
  const float* scale = nullptr;  // of integers; of 4 bits as `data` with a block in the place of an input
  int64_t block = 0;             // inputs, of 4 bits: whole groups that lie together
};

enum class Activation : int { kNone, kRelu, kGelu, kSigmoid, kSilu };

// What becomes of x before it is multiplied: nothing; x_scale times the nearest integer of a byte, as a float; or these
// integers.
enum class Rounding : int { kNone, kFloats, kIntegers };
// Integers whose sums of products with bytes 32 bits hold, whichever way they are multiplied.
constexpr int64_t kMostIntegers = 65536;

// y = activation(x w scale + bias) * factor + addend, group by group: x `[rows, groups * inputs]`, the others
// `[rows, groups * outputs]`.
struct DenseProblem {
  const float* x = nullptr;
  const void* w = nullptr;        // packed by pack_dense
  const float* bias = nullptr;    // likewise, with one input
  const float* scale = nullptr;   // likewise, where weights are bytes
  const float* factor = nullptr;  // null: 1
  const float* addend = nullptr;  // null: 0
  float* y = nullptr;
  int64_t rows = 0, groups = 1, inputs = 0, outputs = 0;
  Activation activation = Activation::kNone;
  Weight weight = Weight::kFloat32;
  int64_t block = 0;  // inputs that share a scale of 4 bits
  Rounding rounding = Rounding::kNone;
  float x_scale = 1;         // with another rounding; of integers `scale` is the product of both scales
  void* integers = nullptr;  // what round_dense makes of x, 4 bytes for each input and whole vectors of a group
  bool fours = false;        // whether the processor multiplies four integers at a time
  int64_t workers = 1;

  // Filled by plan(): a task has some rows and some panels, where one of the two may be all.
  int64_t task_rows = 0, task_panels = 0, tasks = 0;
};

// A recurrent layer with one forward direction and so many gates, dense but for what is packed for it.
struct RecurrentProblem {
  const float* x = nullptr;               // [frames, batch, inputs]
  const void* w = nullptr;                // packed [gates * hidden, inputs]
  const void* r = nullptr;                // packed [gates * hidden, hidden]
  const float* w_scale = nullptr;         // packed [gates * hidden, 1], where weights are bytes
  const float* r_scale = nullptr;         // likewise
  const float* bias = nullptr;            // packed [gates * hidden, 1]: the biases that are added to x W^T
  const float* recurrent_bias = nullptr;  // likewise: those of a GRU's gate h that are not among them
  const float* hidden_before = nullptr;   // [batch, hidden], null: zero
  float* gates = nullptr;                 // [frames * batch, gate_floats], from project to step
  float* state = nullptr;                 // [batch, state_floats], c or h before the first frame; then after the last
  float* y = nullptr;                     // [frames, batch, hidden]
  int64_t frames = 0, batch = 0, inputs = 0, hidden = 0;
  Weight w_type = Weight::kFloat32, r_type = Weight::kFloat32;
  int64_t w_block = 0, r_block = 0;  // inputs that share a scale of 4 bits
  bool fours = false;                // as in DenseProblem
  int64_t workers = 1;

  // Filled by plan().
  int64_t task_teams = 0, tasks = 0, gate_floats = 0, state_floats = 0;
  size_t scratch_floats = 0;
};

// Two causal depthwise convolutions, the second over every taps-th frame: x and y `[batch, length, channels]`.
struct MovingAverageProblem {
  const float* x = nullptr;
  const float* near = nullptr;  // [taps, channels]
  const float* far = nullptr;   // likewise
  float* y = nullptr;
  int64_t length = 0, channels = 0, taps = 0;
};

// y = (x + addend - mean) / sqrt(variance + epsilon) * scale + bias, row by row; x, addend and y `[rows, width]`, scale and
// bias `[width]`.
struct LayerNormProblem {
  const float* x = nullptr;
  const float* addend = nullptr;  // null: 0
  const float* scale = nullptr;
  const float* bias = nullptr;
  float* y = nullptr;
  int64_t rows = 0, width = 0;
  float epsilon = 0;
  bool centred = true;  // false: around 0, not around the mean
  int64_t workers = 1;

  // Filled by plan().
  int64_t task_rows = 0, tasks = 0;
};

// The kernels of one kind of recurrent layer.
struct RecurrentKernels {
  int64_t (*elements)(int64_t hidden);  // of a packed weight per input
  void (*pack)(const WeightData& w, int64_t hidden, int64_t inputs, void* to);
  void (*plan)(RecurrentProblem&);
  void (*project)(const RecurrentProblem&, int64_t task);
  // A frame's tasks may start when all those of the frame before have ended.
  void (*step)(const RecurrentProblem&, int64_t frame, int64_t task, float* scratch);
};

// The kernels of one instruction set. A task index runs from 0 to `tasks`; tasks may run on any thread, each with a
// scratch buffer of its own that is 64-byte aligned and need not be initialised.
struct Kernels {
  const char* isa;
  void (*plan_attention)(AttentionProblem&);
  void (*run_attention)(const AttentionProblem&, int64_t task, float* scratch);
  // Heads [first, first + heads) of the only row of the only batch entry.
  size_t (*single_row_floats)(const AttentionProblem&, int64_t heads);  // of scratch
  void (*run_single_row)(const AttentionProblem&, int64_t first, int64_t heads, float* scratch);
  // to[0, n) = x, rounded to the nearest half, of two the even one.
  void (*round_to_halves)(const float* x, int64_t n, uint16_t* to);
  void (*plan_block_linear)(BlockLinearProblem&);
  // Tasks have to be STARTED in the order of their index: a task waits for earlier ones of the same head.
  void (*run_block_linear)(const BlockLinearProblem&, int64_t task, float* scratch);
  // Of one head of a batch entry; `ends`: its block is complete with this frame.
  size_t (*linear_step_floats)(int64_t dim);  // of scratch
  void (*run_linear_step)(const LinearStepProblem&, int64_t entry, int64_t head, bool ends, float* scratch);
  // Elements of a packed weight per input, over all its panels, and the packing of w `[groups, inputs, outputs]`.
  int64_t (*dense_elements)(int64_t groups, int64_t outputs);
  void (*pack_dense)(const WeightData& w, int64_t groups, int64_t inputs, int64_t outputs, void* to);
  void (*plan_dense)(DenseProblem&);
  void (*round_dense)(const DenseProblem&, int64_t row, int64_t end);  // rows [row, end) of x
  void (*run_dense)(const DenseProblem&, int64_t task);
  RecurrentKernels lstm, gru;
  // One batch entry; what the first convolution makes, `[length, channels]`, lies in the scratch buffer.
  void (*run_moving_average)(const MovingAverageProblem&, int64_t entry, float* scratch);
  void (*plan_layer_norm)(LayerNormProblem&);
  void (*run_layer_norm)(const LayerNormProblem&, int64_t task);
  double (*spend_flops)(int64_t rounds);
};

}  // namespace temport
