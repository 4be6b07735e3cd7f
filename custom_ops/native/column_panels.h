// Products of rows with a dense weight that was packed once, when the model was loaded: panels of kPanel outputs, and in a
// panel kPanel floats for every input, so that a product reads the weight from front to back.
//
// A weight is of floats, of halves, of bytes that a scale per output turns into numbers, or of 4 bits (nibble_panels.h). Sums
// here are of float products in any case (digits.h has others); those of bytes are multiplied with the scale when they are
// complete. Four inputs of an output are the bytes of a word, each 128 more than it is, so that one load serves four vectors of
// sums, and so that products of integers take them as they lie.
//
// Every sum here is made in the order of its inputs, so that it does not depend on the instruction set, on how many rows there
// are, or on which thread made it.
#pragma once

#include "nibble_panels.h"

namespace temport::TEMPORT_ISA {

// Inputs of an output that lie next to each other in a panel; what is missing in the last of them is 0.
template <typename Element>
constexpr int kDepth = 1;
template <>
inline constexpr int kDepth<int8_t> = int(depth_of(Weight::kInt8));

// An element as a panel has it.
template <typename Element>
TEMPORT_INLINE Element as_packed(Element x) {
  return x;
}
TEMPORT_INLINE int8_t as_packed(int8_t x) { return int8_t(x ^ -128); }

template <typename Element>
constexpr bool kInBlocks = false;
template <>
inline constexpr bool kInBlocks<Nibbles> = true;
template <typename Element>
constexpr bool kOfFloats = false;
template <>
inline constexpr bool kOfFloats<float> = true;
template <typename Element>
constexpr bool kOfIntegers = kInBlocks<Element> || kDepth<Element> > 1;

// The inputs of a weight as its panels have them; `block` is of 4 bits.
template <typename Element, typename Size>
constexpr auto packed_inputs(Size inputs, int64_t block) {
  if constexpr (kInBlocks<Element>)
    return InBlocksOf<Size>{{inputs, block}};
  else
    return inputs;
}
TEMPORT_INLINE constexpr int64_t run_time(int64_t inputs) { return inputs; }
TEMPORT_INLINE constexpr InBlocks run_time(InBlocks inputs) { return inputs; }
template <typename Element>
using RunTimeInputs = decltype(run_time(packed_inputs<Element>(int64_t{}, int64_t{})));
// Elements of each column of a panel in front of input k.
template <typename Element, typename Size>
constexpr int64_t elements_before(Size inputs, int64_t k) {
  if constexpr (kInBlocks<Element>)
    return inputs.words_before(k);
  else
    return (k + kDepth<Element> - 1) / kDepth<Element> * kDepth<Element>;
}
template <typename Element, typename Size>
constexpr int64_t column_elements(Size inputs) {
  return elements_before<Element>(inputs, inputs);
}

// kWidth elements of an input as numbers, the Nth of those that lie together.
//
// A byte becomes a number as the uppermost of a word, with zeros below: kUnit times what it says, which the sums carry to
// their end; float32 holds them up to 2^104. A load that begins some bytes earlier has it there: shuffles, or to extend signs,
// would keep the unit waiting that makes floats of integers. So kBefore bytes before a packed weight have to be readable.
constexpr int kByteBias = 128;
constexpr int64_t kBefore = 3;
constexpr float kUnit = 0x1p24f;
template <int Nth>
TEMPORT_INLINE Float numbers_at(const float* p) {
  return load(p);
}
template <int Nth>
TEMPORT_INLINE Float numbers_at(const uint16_t* p) {
  return load_halves(p);
}
template <int Nth>
TEMPORT_INLINE Float numbers_at(const int8_t* p) {
  Int words;
  __builtin_memcpy(&words, p + Nth - kBefore, sizeof words);
  return __builtin_convertvector((words & int32_t(0xff000000)) ^ INT32_MIN, Float);
}

// Of a product of integers with integers, whose sums are what they are.
struct Integers {};

template <typename Element>
constexpr bool kScaled = false;
template <>
inline constexpr bool kScaled<int8_t> = true;
template <>
inline constexpr bool kScaled<Integers> = true;
template <typename Element>
constexpr float kUnitOf = 1.0f;
template <>
inline constexpr float kUnitOf<int8_t> = kUnit;

// Calls body with an element of that type.
template <typename Body>
TEMPORT_INLINE void with_element(Weight type, const Body& body) {
  if (type == Weight::kInt4) return body(Nibbles{});
  if (type == Weight::kInt8) return body(int8_t{});
  if (type == Weight::kFloat16) return body(uint16_t{});
  body(float{});
}

// sums / kUnitOf * scale + bias, a vector of each, where the weight's elements have scales; else sums + bias.
template <typename Element>
TEMPORT_INLINE Float scaled_sum(const float* sums, const float* scale, Float bias) {
  if constexpr (kScaled<Element>) return fused(load(sums) * (1 / kUnitOf<Element>), load(scale), bias);
  return load(sums) + bias;
}

// Panels that one row meets at once: eight sums in flight, for two multiply-adds a cycle that take four cycles each.
constexpr int kRowPanels = 8 / kPanelVectors;
constexpr int64_t kBlockRows = 16 * kMaxRows;
constexpr int64_t kBlockInputs = 4096 / kPanel;  // of a panel, 16 KiB: half a first-level cache

constexpr int64_t panels_of(int64_t outputs) { return (outputs + kPanel - 1) / kPanel; }
// Of a panel with so many columns left for it and those that follow.
constexpr int64_t vectors_of(int64_t columns) { return least(kPanelVectors, (columns + kWidth - 1) / kWidth); }

// Panels of a weight whose column c of panel p begins at w[column_of(p, c, inputs)], -1 for a column of zeros, and has an
// input every `stride` floats.
template <typename Element, typename ColumnOf>
inline void pack_columns(const Element* w, int64_t inputs, int64_t stride, int64_t panels, const ColumnOf& column_of,
                         Element* to) {
  constexpr int64_t kD = kDepth<Element>;
  const int64_t whole = column_elements<Element>(inputs);
  for (int64_t p = 0; p < panels; ++p, to += whole * kPanel)
    for (int64_t c = 0; c < kPanel; ++c) {
      const int64_t column = column_of(p, c, inputs);
      for (int64_t k = 0; k < whole; ++k)
        to[(k / kD * kPanel + c) * kD + k % kD] = as_packed(column < 0 || k >= inputs ? Element{} : w[column + k * stride]);
    }
}

// The same of a weight in any type.
template <typename ColumnOf>
inline void pack_weight(const WeightData& w, int64_t inputs, int64_t stride, int64_t panels, const ColumnOf& column_of,
                        void* to) {
  with_element(w.type, [&](auto element) {
    using Element = decltype(element);
    if constexpr (kInBlocks<Element>)
      pack_blocks(w, inputs, stride, panels, column_of, static_cast<Element*>(to));
    else
      pack_columns(static_cast<const Element*>(w.data), inputs, stride, panels, column_of, static_cast<Element*>(to));
  });
}

// Products of the inputs from Nth on of the first Count that lie together, added to the sums of all panels one input after
// the other: a sum waits for itself less.
template <int P, int Count, int Nth = 0, typename Element>
TEMPORT_INLINE void add_products(const float* x, int64_t x_apart, const Element* panels, int64_t apart,
                                 Float (&sum)[P][kPanelVectors]) {
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
    const Float value = broadcast(x[p * x_apart + Nth]);
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v)
      sum[p][v] = fused(value, numbers_at<Nth>(panels + p * apart + v * kWidth * kDepth<Element>), sum[p][v]);
  }
  if constexpr (Nth + 1 < Count) add_products<P, Count, Nth + 1>(x, x_apart, panels, apart, sum);
}

// All products of one row with P panels, added to their sums.
template <int P, typename Element, typename Size>
TEMPORT_INLINE void add_row(const float* x, int64_t x_apart, const Element* panels, int64_t apart, Size inputs,
                            Float (&sum)[P][kPanelVectors]) {
  constexpr int64_t kD = kDepth<Element>;
  int64_t k = 0;
  for (; k + kD <= inputs; k += kD)
    add_products<P, kD>(x + k, x_apart, panels + k * kPanel, apart, sum);
  if constexpr (kD == 4) {
    if (inputs - k == 1) add_products<P, 1>(x + k, x_apart, panels + k * kPanel, apart, sum);
    if (inputs - k == 2) add_products<P, 2>(x + k, x_apart, panels + k * kPanel, apart, sum);
    if (inputs - k == 3) add_products<P, 3>(x + k, x_apart, panels + k * kPanel, apart, sum);
  }
}

// One row times P panels, about kRowPanels: as many streams of weights and sums as keep memory and arithmetic units busy.
// The processor fetches such streams ahead by itself; asking for them here made it slower. Panel p begins at
// panels[p * apart] and meets the row at x[p * x_apart].
template <int P, typename Element, typename Size>
TEMPORT_INLINE void multiply_one_row(const float* x, int64_t x_apart, const Element* panels, int64_t apart, Size inputs,
                                     float* sums) {
  Float sum[P][kPanelVectors] = {};
  add_row<P>(x, x_apart, panels, apart, inputs, sum);
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) store(sums + p * kPanel + v * kWidth, sum[p][v]);
}

// `count` inputs of a panel from `first` on, the first V vectors of each, as floats: `[count, kPanel]`, whole groups of kDepth.
template <int V, typename Element>
TEMPORT_INLINE void unpack_part(const Element* panel, int64_t first, int64_t count, int64_t, float* to) {
  constexpr int kD = kDepth<Element>;
  panel += first * kPanel;
  for (int64_t k = 0; k < count; k += kD, panel += kD * kPanel, to += kD * kPanel)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const Element* from = panel + v * kWidth * kD;
      float* at = to + v * kWidth;
      store(at, numbers_at<0>(from));
      if constexpr (kD > 1) {
        store(at + kPanel, numbers_at<1>(from));
        store(at + 2 * kPanel, numbers_at<2>(from));
        store(at + 3 * kPanel, numbers_at<3>(from));
      }
    }
}

// Up to kBlockRows rows times the first V vectors of one panel, `[rows, kPanel]`. All rows meet a few inputs after the other:
// their part of the panel stays in the first-level cache, where a weight in fewer bits becomes floats. Meanwhile the part that
// comes next is fetched, a little by every tile: what is asked for at once has to be waited for. Floats would not have room in
// the first-level cache beside those that it holds.
template <int V, typename Element>
__attribute__((noinline)) void multiply_block(const float* x, int64_t rows, int64_t x_stride, const Element* panel,
                                              RunTimeInputs<Element> inputs, float* sums) {
  constexpr Fetch kFetch = kOfFloats<Element> ? Fetch::kToSecond : Fetch::kToFirst;
  constexpr int64_t kLine = 64, kBytes = kPanel * sizeof(Element);
  alignas(64) float unpacked[kOfFloats<Element> ? 1 : kBlockInputs * kPanel];
  const int64_t tiles = (rows + kMaxRows - 1) / kMaxRows;
  const int64_t fetches = tiles * most(1, inputs);
  const int64_t stride = least(kLine, (column_elements<Element>(inputs) * kBytes + fetches - 1) / fetches);
  for (int64_t first = 0; first == 0 || first < inputs; first += kBlockInputs) {
    const int64_t some = least(kBlockInputs, inputs - first);
    const float* part = unpacked;
    if constexpr (kOfFloats<Element>)
      part = panel + first * kPanel;
    else
      unpack_part<V>(panel, first, some, inputs, unpacked);
    const char* next = reinterpret_cast<const char*>(panel) + elements_before<Element>(inputs, first + some) * kBytes;
    for (int64_t m = 0; m < rows; m += kMaxRows, next += some * stride)
      multiply_rows<V, kFetch>(int(least(kMaxRows, rows - m)), x + m * x_stride + first, x_stride, some, part, kPanel,
                             sums + m * kPanel, kPanel, first > 0, next, stride);
  }
}

// Like `multiply_one_row` with the last `count` <= P panels.
template <int P, typename Element, typename Size>
TEMPORT_INLINE void multiply_some(int64_t count, const float* x, int64_t x_apart, const Element* panels, int64_t apart,
                                  Size inputs, float* sums) {
  if (P == 1 || count == P) return multiply_one_row<P>(x, x_apart, panels, apart, inputs, sums);
  if constexpr (P > 1) multiply_some<P - 1>(count, x, x_apart, panels, apart, inputs, sums);
}
// The same with sizes that are known when it runs: one function for all that do something else with the sums.
template <int P, typename Element>
__attribute__((noinline)) void multiply_any(int64_t count, const float* x, const Element* panels, int64_t apart,
                                            RunTimeInputs<Element> inputs, float* sums) {
  multiply_some<P>(count, x, 0, panels, apart, inputs, sums);
}

// All rows times panels with so many columns, of which a row alone meets P at once, and for every part of the result
// finish(first row, rows, panel, sums `[rows, kPanel]`); of the last panel these are whole vectors, as many as it needs.
template <int P = kRowPanels, typename Element, typename Rows, typename Size, typename Finish>
inline void multiply_panels(const float* x, Rows rows, int64_t x_stride, const Element* panels, Size inputs,
                            int64_t columns, const Finish& finish) {
  alignas(64) float sums[most(least(kMost<Rows>, kBlockRows), P) * kPanel];
  const int64_t count = panels_of(columns), apart = column_elements<Element>(inputs) * kPanel;
  if (rows == 1) {
    for (int64_t p = 0; p < count; p += P) {
      const int64_t some = least(P, count - p);
      if constexpr (kAtRunTime<Size>)
        multiply_any<P>(some, x, panels + p * apart, apart, inputs, sums);
      else
        multiply_some<P>(some, x, 0, panels + p * apart, apart, inputs, sums);
      for (int64_t i = 0; i < some; ++i) finish(0, 1, p + i, sums + i * kPanel);
    }
    return;
  }
  for (int64_t m = 0; m < rows; m += kBlockRows)
    for (int64_t q = 0; q < count; ++q) {
      const int64_t some = least(kBlockRows, rows - m);
      with_vectors(vectors_of(columns - q * kPanel), [&](auto v) __attribute__((always_inline)) {
        multiply_block<int(decltype(v){})>(x + m * x_stride, some, x_stride, panels + q * apart, inputs, sums);
      });
      finish(m, some, q, sums);
    }
}

// Shares `parts` of a product of `rows` rows with a weight of so many floats among as many tasks as its time is worth,
// and returns how many each gets. Reading the weight takes the time of about kReading rows.
inline int64_t share_parts(int64_t parts, int64_t rows, int64_t weights, int64_t workers, int64_t& tasks) {
  constexpr int64_t kReading = 12, kLeast = 48 << 10;  // floats whose reading takes longer than waking a thread
  tasks = (rows + kReading) * weights / (kReading * kLeast);
  tasks = tasks < 1 ? 1 : tasks > workers ? workers : tasks;
  const int64_t share = (parts + tasks - 1) / tasks;
  tasks = (parts + share - 1) / share;
  return share;
}

}  // namespace temport::TEMPORT_ISA
