#include <algorithm>
#include <chrono>
#include <cstring>

#include "modes.h"

namespace temport::runner {
namespace {

constexpr int kWarmUp = 20, kLeastRuns = 50;
constexpr double kSeconds = 1.0;

// Values of the first recorded case, repeated or cut to the buffer's size: zeros would flatter some kernels.
void fill(const Tensor& buffer, const Tensor& recorded) {
  for (size_t done = 0; done < buffer.bytes && recorded.bytes > 0;) {
    const size_t count = std::min(recorded.bytes, buffer.bytes - done);
    std::memcpy(static_cast<char*>(buffer.data) + done, recorded.data, count);
    done += count;
  }
}

}  // namespace

Result<void> bench(const Opened& opened, Json& report) {
  auto request = opened.session.request();
  if (!request) return request.error();
  const auto vectors = opened.bundle.vectors();
  if (!vectors) return vectors.error();
  const auto cases = vectors->cases();
  for (const auto& spec : opened.bundle.inputs()) {
    if (cases.empty()) break;
    const auto recorded = vectors->tensor(cases.front(), "input", spec.name);
    const auto buffer = request->tensor(spec.name);
    if (!recorded) return recorded.error();
    if (!buffer) return buffer.error();
    fill(*buffer, *recorded);
  }

  using Clock = std::chrono::steady_clock;
  std::vector<double> microseconds;
  microseconds.reserve(1 << 16);
  for (int i = 0; i < kWarmUp; ++i)
    if (auto done = request->run(); !done) return done;
  const auto start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  while (microseconds.size() < kLeastRuns || (elapsed() < kSeconds && microseconds.size() < microseconds.capacity())) {
    const auto before = Clock::now();
    if (auto done = request->run(); !done) return done;
    microseconds.push_back(std::chrono::duration<double, std::micro>(Clock::now() - before).count());
  }
  std::sort(microseconds.begin(), microseconds.end());
  const auto quantile = [&](double q) {
    return microseconds[static_cast<size_t>(q * static_cast<double>(microseconds.size() - 1))];
  };
  report["latency"] = {{"unit", "us"},       {"runs", microseconds.size()}, {"min", microseconds.front()},
                       {"p50", quantile(.5)}, {"p90", quantile(.9)},         {"p99", quantile(.99)}};
  return {};
}

}  // namespace temport::runner
