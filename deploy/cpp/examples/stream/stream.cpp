// Classifies a sensor stream: reads CSV frames from stdin, keeps the newest `seq` of them, and prints class and latency
// for each frame.
//
//   stream BUNDLE libonnxruntime.so [libtemport_ops.so] < frames.csv
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include <temport/temport.hpp>

namespace {

int fail(const std::string& sentence) {
  std::fprintf(stderr, "error: %s\n", sentence.c_str());
  return 2;
}

// The numbers of one CSV line; empty where it holds anything else.
std::vector<float> parse(const std::string& line) {
  std::vector<float> frame;
  for (const char* next = line.c_str(); *next;) {
    char* end;
    frame.push_back(std::strtof(next, &end));
    if (end == next || (*end && *end != ',')) return {};
    next = *end ? end + 1 : end;
  }
  return frame;
}

// The window lives in the model's own input buffer: [1, seq, features], oldest frame first. Until `seq` frames came,
// the first one stands in for those before it.
void push(const temport::Tensor& window, const std::vector<float>& frame, bool first) {
  float* values = window.as<float>();
  const size_t width = frame.size(), length = window.size() / width;
  for (size_t t = 0; first && t < length; ++t) std::copy(frame.begin(), frame.end(), values + t * width);
  std::memmove(values, values + width, (length - 1) * width * sizeof(float));
  std::copy(frame.begin(), frame.end(), values + (length - 1) * width);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return fail("usage: stream BUNDLE libonnxruntime.so [libtemport_ops.so] < frames.csv");
  const auto bundle = temport::Bundle::open(argv[1]);
  if (!bundle) return fail(bundle.error().message);
  temport::SessionOptions options;
  options.library = argv[2];
  options.ops = argc > 3 ? argv[3] : "none";
  const auto session = temport::Session::create(*bundle, options);
  if (!session) return fail(session.error().message);

  const auto inputs = bundle->inputs(), outputs = bundle->outputs();
  if (inputs.size() != 1 || inputs[0].dtype != TEMPORT_FLOAT32 || inputs[0].rank != 3)
    return fail("the model does not take one float32 sequence [batch, seq, features]");
  const bool batched = inputs[0].axes[0].name != nullptr;
  auto request = batched ? session->request({{inputs[0].axes[0].name, 1}}) : session->request();
  if (!request) return fail(request.error().message);
  const auto window = request->tensor(inputs[0].name), scores = request->tensor(outputs[0].name);
  const auto width = static_cast<size_t>(inputs[0].axes[2].opt);

  std::string line;
  for (size_t number = 0, frames = 0; std::getline(std::cin, line); ++number) {
    const auto frame = parse(line);
    if (number == 0 && frame.empty()) continue;  // a header
    if (frame.size() != width)
      return fail("line " + std::to_string(number + 1) + " is not " + std::to_string(width) + " numbers");
    const auto start = std::chrono::steady_clock::now();
    push(*window, frame, frames == 0);
    if (auto done = request->run(); !done) return fail(done.error().message);
    const float* values = scores->as<float>();
    const auto best = std::max_element(values, values + scores->size()) - values;
    const auto took = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
    std::printf("frame %zu class %td score %.4f latency %.0f us\n", frames++, best, values[best], took);
  }
  return 0;
}
