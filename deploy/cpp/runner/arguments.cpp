#include "arguments.h"

#include <algorithm>
#include <charconv>

namespace temport::runner {
namespace {

constexpr int kMaxThreads = 1024, kMaxFrames = 10000000, kMaxSeconds = 1000000;

// A whole decimal number from 1 to `most`, or 0.
int count_of(const std::string& text, int most) {
  int value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() && end == text.data() + text.size() && value <= most ? std::max(value, 0) : 0;
}

// A positive decimal number of at most `most`, or 0.
double seconds_of(const std::string& text, double most) {
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  return failure == std::errc() && end == text.data() + text.size() && value > 0 && value <= most ? value : 0;
}

}  // namespace

const char* const kUsage =
    "usage: temport-run BUNDLE [--replay] [--bench [--frames N] [--host-noise]]\n"
    "                   [--input [NAME=]x.npy ... --output [NAME=]y.npy ... [--restore STATE] [--save STATE]]\n"
    "                   [--runtime auto|native|onnxruntime|tensorrt|tensorrt-rtx] [--library libonnxruntime.so]\n"
    "                   [--ops /path/of/libtemport_ops.so|none] [--threads N] [--digest SHA256] [--strict]\n"
    "                   [--on-nonfinite refuse|pass] [--timeout SECONDS]\n"
    "--runtime auto, the default, takes the bundle's native engine where it is for this processor and no --library, no --ops and\n"
    "one thread is asked for, else ONNX Runtime. An engine is native code: name onnxruntime for a stranger's bundle.\n"
    "--host-noise times arithmetic of the same length between the frames: what the machine itself adds to a latency.\n"
    "--digest refuses every bundle but the one whose manifest.sha256 says it; --strict refuses files that no manifest lists.\n"
    "--on-nonfinite says what a stream does with a frame that holds NaN or infinity: refuse (the default) leaves its state\n"
    "as it was and writes NaN as its output, pass computes it.\n"
    "Prints one JSON object on stdout. Exit code 0: done and every judged case passed; 1: a case failed or more than half\n"
    "could not be judged. Else one sentence on stderr, and 2: bad input, a refused bundle or a missing runtime; 70: a fault\n"
    "of temport-run; 74: output that did not get out; 124: --timeout; 130: interrupted.";

Result<Arguments> parse_arguments(int count, char** values) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string word = values[i];
    if (word == "--replay") {
      arguments.replay = true;
    } else if (word == "--bench") {
      arguments.bench = true;
    } else if (word == "--host-noise") {
      arguments.host_noise = true;
    } else if (word == "--strict") {
      arguments.opening.strict = true;
    } else if (word == "--help" || word == "-h") {
      arguments.help = true;
    } else if (word.rfind("--", 0) != 0) {
      if (!arguments.bundle.empty()) return invalid_argument("one bundle is run at a time; " + word + " is a second one");
      arguments.bundle = word;
    } else {
      if (i + 1 == count) return invalid_argument(word + " needs a value");
      const std::string value = values[++i];
      if (word == "--runtime") {
        arguments.session.runtime = value;
      } else if (word == "--library") {
        arguments.session.library = value;
      } else if (word == "--ops") {
        arguments.session.ops = value;
      } else if (word == "--threads") {
        arguments.session.threads = count_of(value, kMaxThreads);
        if (arguments.session.threads == 0)
          return invalid_argument("--threads " + value + " is not a number from 1 to " + std::to_string(kMaxThreads));
      } else if (word == "--on-nonfinite") {
        if (value != "refuse" && value != "pass") return invalid_argument("--on-nonfinite is refuse or pass, not " + value);
        arguments.stream.on_nonfinite = value == "pass" ? TEMPORT_PASS_NONFINITE : TEMPORT_REFUSE_NONFINITE;
      } else if (word == "--timeout") {
        arguments.timeout = seconds_of(value, kMaxSeconds);
        if (arguments.timeout == 0)
          return invalid_argument("--timeout " + value + " is not a number of seconds up to " + std::to_string(kMaxSeconds));
      } else if (word == "--digest") {
        if (value.empty()) return invalid_argument("--digest is empty; give the one that manifest.sha256 holds");
        arguments.opening.digest = value;
      } else if (word == "--restore") {
        arguments.state.restore = value;
      } else if (word == "--save") {
        arguments.state.save = value;
      } else if (word == "--frames") {
        arguments.frames = count_of(value, kMaxFrames);
        if (arguments.frames == 0)
          return invalid_argument("--frames " + value + " is not a number from 1 to " + std::to_string(kMaxFrames));
      } else if (word == "--input" || word == "--output") {
        const size_t equals = value.find('=');
        const bool named = equals != std::string::npos;
        auto& files = word == "--input" ? arguments.inputs : arguments.outputs;
        files.emplace_back(named ? value.substr(0, equals) : "", named ? value.substr(equals + 1) : value);
      } else {
        return invalid_argument("there is no option " + word + "; see temport-run --help");
      }
    }
  }
  if (arguments.help) return arguments;
  if (arguments.bundle.empty()) return invalid_argument("name the bundle to run; see temport-run --help");
  if (arguments.frames && !arguments.bench) return invalid_argument("--frames says how long --bench runs; give both");
  if (arguments.host_noise && !arguments.bench)
    return invalid_argument("--host-noise says what the machine adds to the times of --bench; give both");
  if (arguments.inputs.empty() != arguments.outputs.empty())
    return invalid_argument("--input and --output go together");
  if (arguments.inputs.empty() && !(arguments.state.restore + arguments.state.save).empty())
    return invalid_argument("--restore and --save hold the state of the stream that --input feeds; give both");
  return arguments;
}

}  // namespace temport::runner
