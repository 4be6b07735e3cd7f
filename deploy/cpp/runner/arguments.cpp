#include "arguments.h"

#include <cstdlib>

namespace temport::runner {

const char* const kUsage =
    "usage: temport-run BUNDLE [--replay] [--bench] [--input [NAME=]x.npy ... --output [NAME=]y.npy ...]\n"
    "                   [--runtime onnxruntime|tensorrt|tensorrt-rtx] [--library libonnxruntime.so]\n"
    "                   [--ops libtemport_ops.so|none] [--threads N]\n"
    "Prints one JSON object on stdout. Exit code 0: done and every judged case passed; 1: a case failed;\n"
    "2: bad input, a refused bundle or a missing runtime, with one sentence on stderr.\n";

Result<Arguments> parse_arguments(int count, char** values) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string word = values[i];
    if (word == "--replay") {
      arguments.replay = true;
    } else if (word == "--bench") {
      arguments.bench = true;
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
        arguments.session.threads = std::atoi(value.c_str());
        if (arguments.session.threads < 1) return invalid_argument("--threads " + value + " is not a positive number");
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
  if (arguments.inputs.empty() != arguments.outputs.empty())
    return invalid_argument("--input and --output go together");
  return arguments;
}

}  // namespace temport::runner
