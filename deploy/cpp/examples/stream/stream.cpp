// Classifies a sensor stream with a step model: one CSV line on stdin is one frame, and its class and latency are
// printed before the next line is read.
//
//   stream BUNDLE class,class,... < frames.csv
//
// ONNX Runtime and the op library are found by $TEMPORT_ONNXRUNTIME_LIBRARY and $TEMPORT_OPS_LIBRARY, or, the first, where
// the loader looks and, the second, beside this program.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include <temport/temport.hpp>

namespace {

int fail(const std::string& sentence) {
  std::fprintf(stderr, "error: %s\n", sentence.c_str());
  return 2;
}

std::vector<std::string> split(const std::string& names) {
  std::vector<std::string> list;
  std::istringstream rest(names);
  for (std::string name; std::getline(rest, name, ',');) list.push_back(name);
  return list;
}

// The numbers of one CSV line; empty where it holds anything else.
std::vector<float> parse(const std::string& line) {
  std::vector<float> frame;
  for (const char* next = line.c_str(); *next;) {
    char* end;
    frame.push_back(std::strtof(next, &end));
    if (end == next) return {};
    if (*end == '\r') ++end;
    if (*end && *end != ',') return {};
    next = *end ? end + 1 : end;
  }
  return frame;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return fail("usage: stream BUNDLE class,class,... < frames.csv");
  const auto bundle = temport::Bundle::open(argv[1]);
  if (!bundle) return fail(bundle.error().message);
  const auto session = temport::Session::create(*bundle);
  if (!session) return fail(session.error().message);
  const char* batch = bundle->inputs()[0].axes[0].name;  // NULL where the bundle was made for one stream
  auto stream = batch ? session->stream({{batch, 1}}) : session->stream();
  if (!stream) return fail(stream.error().message);
  // States come behind what is given for a frame, and stay inside.
  const auto frame = stream->tensor(bundle->inputs()[0].name), scores = stream->tensor(bundle->outputs()[0].name);
  if (!frame) return fail(frame.error().message);
  if (!scores) return fail(scores.error().message);
  if (frame->dtype != TEMPORT_FLOAT32 || scores->dtype != TEMPORT_FLOAT32) return fail("the model is not float32");
  const auto classes = split(argv[2]);
  if (classes.size() != scores->size())
    return fail("the model scores " + std::to_string(scores->size()) + " classes and " + std::to_string(classes.size()) +
                " are named");

  std::string line;
  for (size_t number = 0, frames = 0; std::getline(std::cin, line); ++number) {
    const auto values = parse(line);
    if (number == 0 && values.empty()) continue;  // a header
    if (values.size() != frame->size())
      return fail("line " + std::to_string(number + 1) + " is not " + std::to_string(frame->size()) + " numbers");
    const auto start = std::chrono::steady_clock::now();
    std::copy(values.begin(), values.end(), frame->as<float>());
    const auto done = stream->run();
    if (!done && done.error().code != TEMPORT_NONFINITE) return fail(done.error().message);
    if (!done) {  // the sensor lost a value: the stream goes on with the next frame as if this one had never been
      std::fprintf(stderr, "line %zu: %s\n", number + 1, done.error().message.c_str());
      continue;
    }
    const float* score = scores->as<float>();
    const auto best = static_cast<size_t>(std::max_element(score, score + scores->size()) - score);
    const auto took = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
    std::printf("frame %zu %s score %.4f latency %.0f us\n", frames++, classes[best].c_str(), score[best], took);
    std::fflush(stdout);
  }
  return 0;
}
