// How temport-run ends: the numbers of the command `temport` (exporter/command.py), and timeout(1)'s.
#pragma once

namespace temport::runner {

enum ExitCode : int {
  kDone = 0,
  kDisagrees = 1,     // with the recorded outputs, or nothing could be judged
  kBadInput = 2,      // or a refused bundle, or a missing runtime
  kFault = 70,        // of temport-run itself
  kLostOutput = 74,   // what was printed or written did not get out
  kTimedOut = 124,    // --timeout
  kInterrupted = 130  // by SIGINT, SIGTERM or SIGHUP
};

}  // namespace temport::runner
