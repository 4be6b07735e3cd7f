// The command line of temport-run.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "temport/temport.hpp"

namespace temport::runner {

// Where a stream goes on from and where its state goes afterwards; empty: from zero, nowhere.
struct StateFiles {
  std::string restore, save;
};

struct Arguments {
  std::string bundle;
  BundleOptions opening;
  SessionOptions session;
  // Tensor name (empty: the only one on its side) and file.
  std::vector<std::pair<std::string, std::string>> inputs, outputs;
  StateFiles state;
  StreamOptions stream;
  double timeout = 0;  // seconds; 0: none
  int frames = 0;  // of --bench; 0: its default
  bool replay = false, bench = false, host_noise = false, help = false;
};

extern const char* const kUsage;

Result<Arguments> parse_arguments(int count, char** values);

}  // namespace temport::runner
