// The size of an output axis as an expression of input axes, such as "(seq + 1) // 2": names, whole numbers,
// + - * // % (rounding down, as Python does), max, min and parentheses.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace temport::internal {

// The size of an axis by its name; nothing for an axis that is not known.
using SizeOf = std::function<std::optional<int64_t>(std::string_view)>;

// The expression's value; nothing where it is malformed, names an unknown axis, divides by zero or leaves the sizes
// that a tensor can have.
std::optional<int64_t> evaluate(std::string_view expression, const SizeOf& size_of);

}  // namespace temport::internal
