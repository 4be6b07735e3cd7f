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

// What an output may be off, as recorded beside it; NaN where there is no such number.
struct Bound {
  double allowed;      // the largest absolute error that passes; NaN where the case cannot be judged
  double torch_error;  // of torch itself in the model's type; NaN where torch left the finite numbers
  double scale;        // the largest value of the oracle
  double rms_ratio;    // the largest root mean square of the error that passes, by that of the oracle
};

// The recorded array; bundles written before 0.2 know no root mean square.
Bound bound_of(const internal::ArrayView& recorded);

// Any element type as float64.
std::vector<double> to_doubles(const internal::ArrayView& array);

// SHA-256 of the bytes of all outputs, as exporter/parity/replay.py computes it: every NaN counts as the same one.
std::string outputs_sha256(const std::vector<internal::ArrayView>& outputs);

// `precision` is what the model computes in. Both vectors have the same length. Where torch itself overflows in
// a half type nobody is judged; NaN and infinity where only the oracle is finite are wrong.
Comparison compare(const std::vector<double>& output, const std::vector<double>& oracle, const Bound& bound,
                   temport_dtype precision);

}  // namespace temport::runner
