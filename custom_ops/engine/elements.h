// Functions of single elements of any type, for what is not done with vectors of float32; and those that take any number of
// operands, elements or vectors. An engine has no way to fail in the middle of a run: a quotient by a whole 0 is 0.
#pragma once

#include "functions.h"
#include "traits.h"

namespace temport::TEMPORT_ISA {

template <>
constexpr bool kFloating<Float> = true;  // a vector of them

// In place of an input that is left out.
struct Missing {};

// Whole numbers saturate, and a NaN becomes 0.
template <typename Y, typename T>
TEMPORT_INLINE Y cast(T a) {
  if constexpr (kSame<Y, bool>) {
    return a != 0;
  } else if constexpr (kFloating<T> && !kFloating<Y>) {
    constexpr Y kLeast = kSigned<Y> ? Y(Y{1} << (8 * sizeof(Y) - 1)) : Y{0}, kMost = Y(~kLeast);
    // the float at kMost, or the one above it, which is no Y any more
    return a != a ? Y{0} : a >= T(kMost) ? kMost : a <= T(kLeast) ? kLeast : Y(a);
  } else {
    return static_cast<Y>(a);
  }
}

// Whole numbers wrap around, of which only unsigned ones do so in C++.
template <typename T>
TEMPORT_INLINE T plus(T a, T b) {
  if constexpr (kFloating<T>) return a + b;
  else return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
template <typename T>
TEMPORT_INLINE T minus(T a, T b) {
  if constexpr (kFloating<T>) return a - b;
  else return static_cast<T>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
}
template <typename T>
TEMPORT_INLINE T times(T a, T b) {
  if constexpr (kFloating<T>) return a * b;
  else return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
template <typename T>
TEMPORT_INLINE T negative(T a) {
  if constexpr (kFloating<T>) return -a;
  else return minus(T{0}, a);
}

template <typename T>
TEMPORT_INLINE T magnitude(T a) { return a < 0 ? negative(a) : a; }
template <typename T>
TEMPORT_INLINE T sign(T a) { return T((a > 0) - (a < 0)); }
template <typename T>
TEMPORT_INLINE T maximum(T a, T b) { return a != a || a > b ? a : b; }
template <typename T>
TEMPORT_INLINE T minimum(T a, T b) { return a != a || a < b ? a : b; }

template <typename T>
TEMPORT_INLINE T quotient(T a, T b) { return b == 0 ? T{0} : b == T(-1) ? negative(a) : T(a / b); }
// What is left of a by b with the sign of a: exact for floats too, digit by digit of the quotient.
template <typename T>
TEMPORT_INLINE T remainder(T a, T b) {
  if constexpr (kFloating<T>) {
    if (!(a - a == 0) || b == 0 || b != b) return T(__builtin_nanf(""));
    T rest = magnitude(a), by = magnitude(b);
    for (T step = by; rest >= by; rest -= step)
      for (step = by; step <= rest / 2;) step *= 2;
    return a < 0 ? -rest : rest;
  } else {
    return b == 0 || b == T(-1) ? T{0} : T(a % b);
  }
}
// Likewise; with the sign of b where not `Truncated`.
template <bool Truncated, typename T>
TEMPORT_INLINE T modulo(T a, T b) {
  const T rest = remainder(a, b);
  return !Truncated && rest != 0 && (rest < 0) != (b < 0) ? T(rest + b) : rest;
}

template <typename A, typename B>
TEMPORT_INLINE A power(A a, B b) {
  if constexpr (kFloating<A> || kFloating<B>) {
    return cast<A>(pow(broadcast(float(a)), broadcast(float(b)))[0]);
  } else {
    if (b < 0) return a == 1 || (a == A(-1) && b % 2 == 0) ? A{1} : a == A(-1) ? A(-1) : A{0};
    A result{1};
    for (; b > 0; b = B(b / 2), a = times(a, a))
      if (b % 2 == 1) result = times(result, a);
    return result;
  }
}

enum class Direction { LEFT, RIGHT };
template <Direction D, typename T>
TEMPORT_INLINE T shifted(T a, T by) {
  if (by >= T(8 * sizeof(T))) return 0;
  return D == Direction::LEFT ? T(a << by) : T(a >> by);
}

template <bool Negative, bool Positive>
TEMPORT_INLINE bool infinite(float a) {
  return (Negative && a == -__builtin_inff()) || (Positive && a == __builtin_inff());
}

// Any number of operands.
template <typename T>
TEMPORT_INLINE T sum(T a) { return a; }
template <typename T, typename... Rest>
TEMPORT_INLINE T sum(T a, T b, Rest... rest) { return sum(plus(a, b), rest...); }
template <typename T, typename... Rest>
TEMPORT_INLINE T mean(T a, Rest... rest) { return sum(a, rest...) / float(1 + sizeof...(rest)); }
template <typename T>
TEMPORT_INLINE T greatest(T a) { return a; }
template <typename T, typename... Rest>
TEMPORT_INLINE T greatest(T a, T b, Rest... rest) { return greatest(maximum(a, b), rest...); }
template <typename T>
TEMPORT_INLINE T least_of(T a) { return a; }
template <typename T, typename... Rest>
TEMPORT_INLINE T least_of(T a, T b, Rest... rest) { return least_of(minimum(a, b), rest...); }

// The upper end counts where the lower one lies above it.
template <typename T, typename L = Missing, typename H = Missing>
TEMPORT_INLINE T clip(T a, L low = {}, H high = {}) {
  if constexpr (!kSame<L, Missing>) a = maximum(a, low);
  if constexpr (!kSame<H, Missing>) a = minimum(a, high);
  return a;
}

}  // namespace temport::TEMPORT_ISA
