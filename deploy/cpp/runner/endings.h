// Endings from outside: signals and the deadline. Whatever is half written is removed, one sentence goes to stderr.
#pragma once

#include <string>

namespace temport::runner {

// SIGINT, SIGTERM and SIGHUP end the program with kInterrupted, unless they are ignored, as under nohup. SIGPIPE is
// ignored: a closed pipe is a write that fails.
void end_on_signals();

// The program ends with kTimedOut so many seconds from now, whatever it is doing: also inside a runtime that never
// comes back, or while a model is being loaded.
void end_after(double seconds);

// A file that is to vanish where the program ends before `done`.
class Unfinished {
 public:
  explicit Unfinished(const std::string& path);
  ~Unfinished();
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  void done();
};

}  // namespace temport::runner
