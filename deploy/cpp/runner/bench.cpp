#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "inference.h"

namespace temport::runner {
namespace {

constexpr int kWarmUp = 20, kBinsPerDecade = 20;

// A buffer and the recorded values that it shows, a stretch further along them in every frame of a stream.
struct Feed {
  Tensor buffer, recorded;
};

// Bytes of the recorded array from `start` on, around its end as often as needed: zeros would flatter some kernels.
void fill(const Feed& feed, size_t start) {
  const auto* values = static_cast<const uint8_t*>(feed.recorded.data);
  for (size_t done = 0; done < feed.buffer.bytes && feed.recorded.bytes > 0;) {
    const size_t at = (start + done) % feed.recorded.bytes;
    const size_t count = std::min(feed.recorded.bytes - at, feed.buffer.bytes - done);
    std::memcpy(static_cast<uint8_t*>(feed.buffer.data) + done, values + at, count);
    done += count;
  }
}

double quantile(const std::vector<double>& sorted, double q) {
  return sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1))];
}

double median(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return quantile(samples, 0.5);
}

// Equal steps of the logarithm, at the same edges in every run; from the bin of the fastest to that of the slowest.
Json histogram(const std::vector<double>& sorted) {
  const auto bin_of = [](double value) {
    return static_cast<int>(std::floor(kBinsPerDecade * std::log10(std::max(value, 1e-3))));
  };
  const int first = bin_of(sorted.front());
  std::vector<size_t> counts(static_cast<size_t>(bin_of(sorted.back()) - first) + 1);
  for (const double value : sorted) ++counts[static_cast<size_t>(bin_of(value) - first)];
  std::vector<double> edges;
  for (size_t i = 0; i <= counts.size(); ++i)
    edges.push_back(std::pow(10.0, (first + static_cast<double>(i)) / kBinsPerDecade));
  return {{"edges", edges}, {"counts", counts}};
}

// Microseconds of every inference, in the order in which they were made; writing the inputs is not part of them.
template <class Runnable>
Result<std::vector<double>> measure(const Opened& opened, Runnable& runnable, bool moving, int frames) {
  const auto vectors = opened.bundle.vectors();
  if (!vectors) return vectors.error();
  const auto cases = vectors->cases();
  if (cases.empty()) return refused("the bundle has no recorded case to take inputs from");
  std::vector<Feed> feeds;
  for (const auto& spec : data_inputs(opened.bundle)) {
    const auto buffer = runnable.tensor(spec.name), recorded = vectors->tensor(cases.front(), "input", spec.name);
    if (!buffer) return buffer.error();
    if (!recorded) return recorded.error();
    feeds.push_back({*buffer, *recorded});
    fill(feeds.back(), 0);
  }
  using Clock = std::chrono::steady_clock;
  std::vector<double> microseconds;
  microseconds.reserve(static_cast<size_t>(frames));
  for (int frame = -kWarmUp; frame < frames; ++frame) {
    for (const auto& feed : feeds)
      if (moving) fill(feed, static_cast<size_t>(frame + kWarmUp) * feed.buffer.bytes);
    const auto before = Clock::now();
    if (auto done = runnable.run(); !done) return done.error();
    const auto took = Clock::now() - before;
    if (frame >= 0) microseconds.push_back(std::chrono::duration<double, std::micro>(took).count());
  }
  return microseconds;
}

Result<std::vector<double>> measure(const Opened& opened, int frames) {
  if (opened.bundle.states().empty()) {
    auto request = opened.session.request();
    return request ? measure(opened, *request, false, frames) : Result<std::vector<double>>(request.error());
  }
  auto stream = opened.session.stream();
  return stream ? measure(opened, *stream, true, frames) : Result<std::vector<double>>(stream.error());
}

}  // namespace

Result<void> bench(const Opened& opened, int frames, Json& report) {
  const auto measured = measure(opened, frames);
  if (!measured) return measured.error();
  const auto tenth = std::max<std::ptrdiff_t>(1, static_cast<std::ptrdiff_t>(measured->size() / 10));
  std::vector<double> sorted = *measured;
  std::sort(sorted.begin(), sorted.end());
  report["latency"] = {{"unit", "us"},
                       {"frames", sorted.size()},
                       {"min", sorted.front()},
                       {"p50", quantile(sorted, 0.5)},
                       {"p90", quantile(sorted, 0.9)},
                       {"p99", quantile(sorted, 0.99)},
                       {"p99_9", quantile(sorted, 0.999)},
                       {"max", sorted.back()},
                       {"p50_first_tenth", median({measured->begin(), measured->begin() + tenth})},
                       {"p50_last_tenth", median({measured->end() - tenth, measured->end()})},
                       {"histogram", histogram(sorted)}};
  return {};
}

}  // namespace temport::runner
