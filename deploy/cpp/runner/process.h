// What a run takes of its process, from Linux's /proc; elsewhere nothing is told of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "json.h"

namespace temport::runner {

// Begun before a model is loaded.
class Footprint {
 public:
  Footprint();
  void loaded();  // notes the time that loading took

  // `load` in seconds; in bytes `libraries` that were mapped since, on disk, and `memory`, the peak less what was held before.
  internal::Json taken() const;

 private:
  int64_t resident_;
  std::map<std::string, int64_t> mapped_;
  std::chrono::steady_clock::time_point begun_;
  double load_ = 0;
};

}  // namespace temport::runner
