#include "compare.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>

#include "sha256.h"

namespace temport::runner {
namespace {

// IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits.
double half_to_double(uint16_t bits) {
  const double sign = bits & 0x8000 ? -1.0 : 1.0;
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent == 31) return fraction ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(fraction + 1024, exponent - 25);
}

// bfloat16 is the upper half of a binary32.
double bfloat16_to_double(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

template <class T, class Convert>
std::vector<double> convert(const internal::ArrayView& array, Convert to_double) {
  std::vector<double> values(array.bytes / sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, array.data + i * sizeof(T), sizeof(T));
    values[i] = to_double(value);
  }
  return values;
}

// Numbers as their bits, where those of every NaN above `infinity` become `nan`.
template <class Bits>
void update(internal::Sha256& digest, const internal::ArrayView& array, Bits infinity, Bits nan) {
  constexpr Bits kMagnitude = static_cast<Bits>(~Bits{0}) >> 1;
  for (size_t i = 0; i < array.bytes / sizeof(Bits); ++i) {
    Bits value;
    std::memcpy(&value, array.data + i * sizeof(Bits), sizeof(Bits));
    if ((value & kMagnitude) > infinity) value = nan;
    digest.update(&value, sizeof value);
  }
}

double spacing_at_one(temport_dtype precision) {
  switch (precision) {
    case TEMPORT_FLOAT64: return 0x1p-52;
    case TEMPORT_FLOAT16: return 0x1p-10;
    case TEMPORT_BFLOAT16: return 0x1p-7;
    default: return 0x1p-23;
  }
}

double largest(const std::vector<double>& values) {
  double peak = 0;
  for (const double value : values) peak = std::max(peak, std::abs(value));
  return peak;
}

// Scaled by the largest value first, so that squares neither overflow nor vanish.
double root_mean_square(const std::vector<double>& values) {
  const double peak = largest(values);
  if (peak == 0) return 0;
  double sum = 0;
  for (const double value : values) sum += (value / peak) * (value / peak);
  return peak * std::sqrt(sum / static_cast<double>(values.size()));
}

std::optional<double> cosine(const std::vector<double>& a, const std::vector<double>& b) {
  const double peak_a = largest(a), peak_b = largest(b);
  if (peak_a == 0 && peak_b == 0) return 1.0;
  if (peak_a == 0 || peak_b == 0) return std::nullopt;
  double aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = a[i] / peak_a, y = b[i] / peak_b;
    aa += x * x, bb += y * y, ab += x * y;
  }
  return std::clamp(ab / std::sqrt(aa * bb), -1.0, 1.0);
}

std::optional<double> ratio(double numerator, double denominator) {
  if (denominator == 0) return numerator == 0 ? std::optional<double>(0) : std::nullopt;
  const double value = numerator / denominator;
  return std::isfinite(value) ? std::optional<double>(value) : std::nullopt;
}

std::vector<double> quantiles_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  std::vector<double> result;
  for (const double q : {.05, .25, .5, .75, .95, 1.}) {
    const double place = q * static_cast<double>(values.size() - 1);
    const auto below = static_cast<size_t>(place);
    const size_t above = std::min(below + 1, values.size() - 1);
    result.push_back(values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]));
  }
  return result;
}

std::string above(const char* measure, double value, double allowed) {
  char text[96];
  std::snprintf(text, sizeof text, "%s %.3g is above %.3g", measure, value, allowed);
  return text;
}

void measure(const std::vector<double>& output, const std::vector<double>& oracle, double eps, Comparison& result) {
  const double scale = largest(oracle);
  std::vector<double> error(output.size());
  double relative = 0;
  for (size_t i = 0; i < error.size(); ++i) {
    error[i] = std::abs(output[i] - oracle[i]);
    if (scale > 0) relative = std::max(relative, error[i] / std::max(std::abs(oracle[i]), eps * scale));
  }
  result.max_abs = largest(error);
  if (scale > 0 || *result.max_abs == 0) result.max_rel = relative;
  result.rms_ratio = ratio(root_mean_square(error), root_mean_square(oracle));
  result.cosine = cosine(output, oracle);
  if (!error.empty()) result.quantiles = quantiles_of(std::move(error));
}

}  // namespace

std::string outputs_sha256(const std::vector<internal::ArrayView>& outputs) {
  internal::Sha256 digest;
  for (const auto& output : outputs) switch (output.dtype) {
      case TEMPORT_FLOAT32: update<uint32_t>(digest, output, 0x7f800000, 0x7fc00000); break;
      case TEMPORT_FLOAT16: update<uint16_t>(digest, output, 0x7c00, 0x7e00); break;
      default: digest.update(output.data, output.bytes);
    }
  return digest.hex();
}

std::vector<double> to_doubles(const internal::ArrayView& array) {
  const auto plain = [](auto value) { return static_cast<double>(value); };
  switch (array.dtype) {
    case TEMPORT_BOOL: return convert<uint8_t>(array, plain);
    case TEMPORT_UINT8: return convert<uint8_t>(array, plain);
    case TEMPORT_INT8: return convert<int8_t>(array, plain);
    case TEMPORT_UINT16: return convert<uint16_t>(array, plain);
    case TEMPORT_INT16: return convert<int16_t>(array, plain);
    case TEMPORT_INT32: return convert<int32_t>(array, plain);
    case TEMPORT_INT64: return convert<int64_t>(array, plain);
    case TEMPORT_FLOAT16: return convert<uint16_t>(array, half_to_double);
    case TEMPORT_BFLOAT16: return convert<uint16_t>(array, bfloat16_to_double);
    case TEMPORT_FLOAT64: return convert<double>(array, plain);
    case TEMPORT_FLOAT32: break;
  }
  return convert<float>(array, plain);
}

Bound bound_of(const internal::ArrayView& recorded) {
  const auto numbers = to_doubles(recorded);
  const auto at = [&](size_t i) { return i < numbers.size() ? numbers[i] : std::nan(""); };
  return {at(0), at(1), at(2), at(4)};
}

Comparison compare(const std::vector<double>& output, const std::vector<double>& oracle, const Bound& bound,
                   temport_dtype precision) {
  Comparison result;
  const auto not_finite = [](double value) { return !std::isfinite(value); };
  if (std::any_of(oracle.begin(), oracle.end(), not_finite)) {
    result.verdict = "ill-conditioned";
    result.reason = "the oracle itself is not finite here";
    return result;
  }
  const bool half = precision == TEMPORT_FLOAT16 || precision == TEMPORT_BFLOAT16;
  if (half && std::isnan(bound.torch_error) && !std::isnan(bound.scale)) {
    result.verdict = "ill-conditioned";
    result.reason = std::string("the source itself gives NaN or infinity in ") + internal::dtype_name(precision);
    return result;
  }
  if (const auto bad = std::count_if(output.begin(), output.end(), not_finite)) {
    result.verdict = "fail";
    result.reason = std::to_string(bad) + " of " + std::to_string(output.size()) +
                    " values are NaN or infinite where the oracle is finite";
    return result;
  }
  measure(output, oracle, spacing_at_one(precision), result);
  if (std::isnan(bound.allowed)) {
    result.verdict = "ill-conditioned";
    result.reason = "the source's own error is above the ceiling here";
  } else if (!(*result.max_abs <= bound.allowed)) {
    result.verdict = "fail";
    result.reason = above("max abs error", *result.max_abs, bound.allowed);
  } else if (result.rms_ratio && *result.rms_ratio > bound.rms_ratio) {
    result.verdict = "fail";
    result.reason = above("rms ratio", *result.rms_ratio, bound.rms_ratio);
  } else {
    result.verdict = "pass";
  }
  return result;
}

}  // namespace temport::runner
