// vectors.npz: the recorded cases that any runtime can replay.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bundle.h"
#include "temport/result.hpp"

namespace temport::internal {

class TestVectors {
 public:
  // Every case must hold `input/` for each input, and `output/` (float64) and `bound/` (float64, the
  // allowed absolute error first, NaN where the case cannot be judged) for each output. Those of a step model are whole
  // streams, [batch, frames, ...], without its states.
  static Result<std::unique_ptr<TestVectors>> read(const BundleDirectory& bundle);

  const std::vector<std::string>& cases() const { return cases_; }
  Result<const ArrayView*> tensor(const std::string& case_name, const std::string& kind, const std::string& name) const;

 private:
  Result<void> check_case(const std::string& name, const Signature& signature) const;

  std::map<std::string, Bytes> storage_;
  std::map<std::string, ArrayView> arrays_;
  std::vector<std::string> cases_;
};

}  // namespace temport::internal
