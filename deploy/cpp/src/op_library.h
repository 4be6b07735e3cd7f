// The library of native kernels as found on this machine, and which nodes of a model it has kernels for.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "custom_nodes.h"
#include "temport/result.hpp"

namespace temport::internal {

struct OpLibrary {
  // The library `asked` for, else $TEMPORT_OPS_LIBRARY, both by absolute path, else the one beside this code. "none" is
  // none; one that was not asked for and is not there is none as well.
  static Result<OpLibrary> find(const std::string& asked);

  // In how many domains an op has kernels, and the element types of these, by their numbers in ONNX.
  struct Kernels {
    int domains = 0;
    std::set<int> types;
  };

  // What of the model runs as function bodies while the library is registered: "MovingAverage as its body; FusedDense as
  // its body in 2 of 5 nodes", or that the library does not say it. Empty: every node has a kernel.
  std::string bodies(const std::vector<CustomNode>& nodes) const;

  std::string path;         // absolute; empty where there is none
  std::string description;  // version and instruction set of its kernels, or its file name where it does not say them
  bool in_place = false;    // its kernels of the cached ops may be given one buffer for a cache before and after a frame
  std::optional<std::map<std::string, Kernels>> kernels;  // by op; absent where the library is too old to say it
};

}  // namespace temport::internal
