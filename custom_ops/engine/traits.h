// What <type_traits> says of element types; a target without a standard library has none.
#pragma once

namespace temport::TEMPORT_ISA {

template <typename T, typename U>
constexpr bool kSame = false;
template <typename T>
constexpr bool kSame<T, T> = true;

template <typename T>
constexpr bool kFloating = kSame<T, float> || kSame<T, double>;
template <typename T>
constexpr bool kSigned = !kSame<T, bool> && T(-1) < T(0);

}  // namespace temport::TEMPORT_ISA
