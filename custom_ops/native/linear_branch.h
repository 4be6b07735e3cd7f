// The attributes that both block-linear ops share.
#pragma once

#include "node.h"

namespace temport {

inline void read_linear_branch(const NodeInfo& node, LinearBranch& to) {
  to.elu1 = node.choice("feature_map", {"identity", "elu1"}) == 1;
  to.divide = node.choice("normalizer", {"key_sum", "none"}) == 0;
  to.eps = node.number("eps", 1e-8f);
  if (to.eps < 1e-30f)
    throw NodeError(node.label() + ": attribute eps is " + std::to_string(to.eps) + "; it must be at least 1e-30.");
}

}  // namespace temport
