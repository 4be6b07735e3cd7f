// temport-run: opens a bundle, runs it, prints what happened as one JSON object.
#include <cstdio>
#include <exception>

#include "arguments.h"
#include "endings.h"
#include "exit_codes.h"
#include "modes.h"
#include "output.h"
#include "process.h"

using namespace temport;
using namespace temport::runner;

namespace {

constexpr int kDefaultFrames = 1000;

int complain(const std::string& sentence, ExitCode code) {
  std::fprintf(stderr, "error: %s\n", sentence.c_str());
  return code;
}

const char* machine() {
#if defined(__aarch64__)
  return "aarch64";
#elif defined(__x86_64__)
  return "x86_64";
#else
  return "other";
#endif
}

Result<bool> run(const Arguments& arguments, Json& report) {
  auto bundle = Bundle::open(arguments.bundle, arguments.opening);
  if (!bundle) return bundle.error();
  report = {{"format", 1},
            {"architecture", bundle->architecture()},
            {"digest", bundle->digest()},
            {"runner", std::string("temport-run ") + temport_version()},
            {"machine", machine()},
            {"threads", arguments.session.threads}};
  Footprint footprint;
  auto session = Session::create(*bundle, arguments.session);
  const bool only_replay = arguments.replay && !arguments.bench && arguments.outputs.empty();
  if (!session && session.error().code == TEMPORT_UNSUPPORTED && only_replay) {
    report_not_run(session.error().message, report);
    return false;
  }
  if (!session) return session.error();
  footprint.loaded();
  const Opened opened{*std::move(bundle), *std::move(session), arguments.stream};
  report.update({{"runtime", opened.session.runtime()},
                 {"version", opened.session.version()},
                 {"library", opened.session.library()},
                 {"path", opened.session.path()}});
  bool passed = true;
  if (arguments.replay) {
    const auto replayed = replay(opened, report);
    if (!replayed) return replayed.error();
    passed = *replayed;
  }
  if (!arguments.outputs.empty())
    if (auto done = run_once(opened, arguments, report); !done) return done.error();
  if (arguments.bench) {
    if (auto done = bench(opened, arguments.frames ? arguments.frames : kDefaultFrames, arguments.host_noise, report); !done)
      return done.error();
    report["process"] = footprint.taken();
  }
  return passed;
}

}  // namespace

int main(int argc, char** argv) try {
  end_on_signals();
  const auto arguments = parse_arguments(argc, argv);
  if (!arguments) return complain(arguments.error().message, kBadInput);
  if (arguments->help) {
    print(kUsage);
    return kDone;
  }
  if (arguments->timeout > 0) end_after(arguments->timeout);
  Json report;
  const auto passed = run(*arguments, report);
  if (!passed) return complain(passed.error().message, kBadInput);
  print(report.dump(1, ' ', false, Json::error_handler_t::replace));
  return *passed ? kDone : kDisagrees;
} catch (const OutputLost& lost) {
  return complain(lost.what(), kLostOutput);
} catch (const std::exception& thrown) {  // the library throws nothing; the standard library may, without memory
  return complain(std::string("temport-run failed: ") + thrown.what(), kFault);
}
