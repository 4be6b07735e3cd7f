#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <optional>
#include <type_traits>

#include "host_noise.h"
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

// Microseconds of every inference, in the order in which they were made, and of the arithmetic after each, where it was
// asked for. Writing the inputs is not part of them.
struct Samples {
  std::vector<double> inferences, arithmetic;
};

template <class Runnable>
Result<Samples> measure(const Opened& opened, Runnable& runnable, bool moving, int frames, bool host_noise) {
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
  Samples samples;
  samples.inferences.reserve(static_cast<size_t>(frames));
  samples.arithmetic.reserve(host_noise ? static_cast<size_t>(frames) : 0);
  std::vector<double> warm_up;
  std::optional<Arithmetic> arithmetic;
  for (int frame = -kWarmUp; frame < frames; ++frame) {
    for (const auto& feed : feeds)
      if (moving) fill(feed, static_cast<size_t>(frame + kWarmUp) * feed.buffer.bytes);
    auto before = Clock::now();
    auto done = runnable.run();
    if constexpr (std::is_same_v<Runnable, Stream>)
      if (!done && done.error().code == TEMPORT_ENDED) {
        runnable.reset();
        before = Clock::now();
        done = runnable.run();
      }
    if (!done) return done.error();
    const double took = std::chrono::duration<double, std::micro>(Clock::now() - before).count();
    (frame < 0 ? warm_up : samples.inferences).push_back(took);
    if (arithmetic) samples.arithmetic.push_back(arithmetic->time());
    if (host_noise && frame == -1) arithmetic.emplace(median(warm_up));
  }
  return samples;
}

Result<Samples> measure(const Opened& opened, int frames, bool host_noise) {
  if (opened.bundle.states().empty()) {
    auto request = opened.session.request();
    return request ? measure(opened, *request, false, frames, host_noise) : Result<Samples>(request.error());
  }
  auto stream = opened.session.stream({}, opened.stream);
  return stream ? measure(opened, *stream, true, frames, host_noise) : Result<Samples>(stream.error());
}

Json quantiles(const std::vector<double>& sorted) {
  return {{"unit", "us"},
          {"frames", sorted.size()},
          {"min", sorted.front()},
          {"p50", quantile(sorted, 0.5)},
          {"p90", quantile(sorted, 0.9)},
          {"p99", quantile(sorted, 0.99)},
          {"p99_9", quantile(sorted, 0.999)},
          {"max", sorted.back()}};
}

}  // namespace

Result<void> bench(const Opened& opened, int frames, bool host_noise, Json& report) {
  const auto measured = measure(opened, frames, host_noise);
  if (!measured) return measured.error();
  const std::vector<double>& all = measured->inferences;
  const auto tenth = std::max<std::ptrdiff_t>(1, static_cast<std::ptrdiff_t>(all.size() / 10));
  std::vector<double> sorted = all;
  std::sort(sorted.begin(), sorted.end());
  Json& latency = report["latency"] = quantiles(sorted);
  latency["p50_first_tenth"] = median({all.begin(), all.begin() + tenth});
  latency["p50_last_tenth"] = median({all.end() - tenth, all.end()});
  latency["histogram"] = histogram(sorted);
  if (!host_noise) return {};
  std::vector<double> arithmetic = measured->arithmetic;
  std::sort(arithmetic.begin(), arithmetic.end());
  Json& noise = report["host_noise"] = quantiles(arithmetic);
  noise["of"] = "arithmetic of the same length";
  return {};
}

}  // namespace temport::runner
