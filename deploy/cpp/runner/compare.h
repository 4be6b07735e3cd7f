// How far an output is from its float64 oracle, in the measures of the parity report.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tensor.h"

namespace temport::runner {

// max_rel divides each error by |oracle|, but by no less than one ulp of the output's scale; quantiles of |error| at
// 5, 25, 50, 75, 95 and 100 %, interpolated linearly. An absent measure is undefined.
struct Comparison {
  std::string verdict, reason;
  std::optional<double> max_abs, max_rel, rms_ratio, cosine;
  std::vector<double> quantiles;
};

// Any element type as float64.
std::vector<double> to_doubles(const internal::ArrayView& array);

// `allowed` is the largest absolute error that passes; NaN where the case cannot be judged. `dtype` is that of the
// output before it was widened. Both vectors have the same length.
Comparison compare(const std::vector<double>& output, const std::vector<double>& oracle, double allowed,
                   temport_dtype dtype);

}  // namespace temport::runner
