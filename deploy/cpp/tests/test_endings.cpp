#include <doctest/doctest.h>

#include <csignal>
#include <filesystem>
#include <sys/wait.h>
#include <unistd.h>

#include "endings.h"
#include "exit_codes.h"
#include "tiny_bundle.h"

using namespace temport::runner;

namespace {

// The exit code of a process that ends as `body` does, its stderr closed.
template <class Body>
int code_of(Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(STDERR_FILENO);
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::signal(number, SIG_DFL);  // nohup ignores one of them
    body();
    ::_exit(99);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("a half-written file goes with the program, whatever ends it") {
  const tiny::Directory directory;
  const std::string path = directory.string() + "/half";
  const auto half_written = [&](auto end) {
    return code_of([&] {
      const Unfinished file(path);
      tiny::write(path, "half");
      end();
    });
  };
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    CHECK(half_written([&] { end_on_signals(), ::raise(number); }) == kInterrupted);
    CHECK(!std::filesystem::exists(path));
  }
  CHECK(half_written([] { end_after(0.01), ::sleep(60); }) == kTimedOut);
  CHECK(!std::filesystem::exists(path));
  CHECK(code_of([&] { Unfinished(path).done(), tiny::write(path, "whole"), end_on_signals(), ::raise(SIGTERM); }) ==
        kInterrupted);
  CHECK(std::filesystem::exists(path));
}

TEST_CASE("a signal that the caller ignores stays ignored") {
  CHECK(code_of([] { ::signal(SIGHUP, SIG_IGN), end_on_signals(), ::raise(SIGHUP); }) == 99);
}
