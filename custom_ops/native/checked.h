// Sizes out of a model are anybody's numbers: the most that the ops take of each, and arithmetic that refuses to go beyond.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace temport {

// Elements of a tensor, where an axis of 0 counts as 1: then the product of any of its axes is no more either, and sums
// and small multiples of such products fit into int64 wherever the kernels form them.
constexpr int64_t kMostElements = int64_t{1} << 40;
// Whatever an attribute counts: heads, groups, channels, taps, hidden units.
constexpr int64_t kMostCount = int64_t{1} << 20;
// Numbers of a head. The sums of a block-linear head are the square of it.
constexpr int64_t kMostHeadDim = int64_t{1} << 16;
// A position in time, beyond any length.
constexpr int64_t kFar = kMostElements;

// What is too large, as the end of a sentence that names the node.
struct SizeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void refuse_size(int64_t a, const char* joined, int64_t b) {
  throw SizeError("a size of " + std::to_string(a) + joined + std::to_string(b) + " is out of range; the most is " +
                  std::to_string(kMostElements) + ".");
}

// a * b, where neither may be negative nor the product above kMostElements.
inline int64_t times(int64_t a, int64_t b) {
  int64_t product;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product) || product > kMostElements)
    refuse_size(a, " times ", b);
  return product;
}

// a + b, likewise.
inline int64_t plus(int64_t a, int64_t b) {
  int64_t sum;
  if (a < 0 || b < 0 || __builtin_add_overflow(a, b, &sum) || sum > kMostElements)
    refuse_size(a, " plus ", b);
  return sum;
}

// How many elements a tensor has. Throws where its axes without those of 0 would have too many.
template <typename Shape>
int64_t elements(const Shape& shape) {
  int64_t product = 1;
  bool empty = false;
  for (const int64_t size : shape) {
    empty |= size == 0;
    product = times(product, size == 0 ? 1 : size);
  }
  return empty ? 0 : product;
}

}  // namespace temport
