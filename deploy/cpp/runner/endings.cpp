#include "endings.h"

#include <atomic>
#include <climits>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <sys/time.h>
#include <unistd.h>

#include "exit_codes.h"

namespace temport::runner {
namespace {

// What a handler may read, in whichever thread it runs: the path is complete before `half_written` says so.
char unfinished_path[PATH_MAX];
std::atomic<bool> half_written{false};
char timed_out[96];

[[noreturn]] void end(const char* sentence, ExitCode code) {
  if (half_written) ::unlink(unfinished_path);
  const ssize_t said = ::write(STDERR_FILENO, sentence, std::strlen(sentence));
  static_cast<void>(said);  // there is nobody left to tell
  ::_exit(code);
}

void on_signal(int) { end("error: interrupted\n", kInterrupted); }
void on_deadline(int) { end(timed_out, kTimedOut); }

void handle(int number, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  ::sigaction(number, &action, nullptr);
}

}  // namespace

void end_on_signals() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction inherited {};
    ::sigaction(number, nullptr, &inherited);
    if (inherited.sa_handler != SIG_IGN) handle(number, on_signal);
  }
  handle(SIGPIPE, SIG_IGN);
}

void end_after(double seconds) {
  std::snprintf(timed_out, sizeof timed_out, "error: temport-run did not end within %g seconds\n", seconds);
  handle(SIGALRM, on_deadline);
  itimerval timer{};
  double whole = 0;
  timer.it_value.tv_usec = static_cast<suseconds_t>(std::modf(seconds, &whole) * 1e6);
  timer.it_value.tv_sec = static_cast<time_t>(whole);
  ::setitimer(ITIMER_REAL, &timer, nullptr);
}

Unfinished::Unfinished(const std::string& path) {
  if (path.size() >= sizeof unfinished_path) return;  // no system call takes it either
  std::memcpy(unfinished_path, path.c_str(), path.size() + 1);
  half_written = true;
}

Unfinished::~Unfinished() {
  if (half_written) ::unlink(unfinished_path);
  done();
}

void Unfinished::done() { half_written = false; }

}  // namespace temport::runner
