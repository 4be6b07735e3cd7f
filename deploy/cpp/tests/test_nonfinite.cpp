#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "nonfinite.h"
#include "step_model.h"

using namespace temport;
using tiny::Opened, tiny::Rows, tiny::feed;

TEST_CASE("a frame that is not finite is refused, and the stream is that of the others") {
  const float bad[] = {std::nanf(""), -std::numeric_limits<float>::infinity()};
  for (const auto& options : {stand_in(), stand_in_kernels(), own_engine()}) {
    Opened opened(options);
    auto stream = opened.session.stream({{"batch", 2}}), clean = opened.session.stream({{"batch", 2}});
    for (int t = 1; t < 9; ++t) {
      const auto value = static_cast<float>(t);
      CHECK(feed(*stream, value) == feed(*clean, value));
      const auto before = *stream->save(0), other = *stream->save(1);
      const auto frame = stream->tensor("frame");
      const float output = stream->tensor("output")->as<float>()[0];
      frame->as<float>()[t % 6] = bad[t % 2];
      const auto done = stream->run();
      REQUIRE(!done);
      CHECK(done.error().code == TEMPORT_NONFINITE);
      CHECK(done.error().message == std::string("the frame is refused: frame holds ") + (t % 2 ? "infinity" : "NaN") +
                                        " in row " + std::to_string(t % 6 / 3) + " of the batch; the state is as it was");
      CHECK(*stream->save(0) == before);
      CHECK(*stream->save(1) == other);
      CHECK(stream->tensor("output")->as<float>()[0] == output);
    }
    CHECK(!stream->poisoned());
  }
}

TEST_CASE("a frame that is passed poisons its own stream, until that is reset") {
  Opened opened(own_engine());
  auto stream = opened.session.stream({{"batch", 2}}, {TEMPORT_PASS_NONFINITE});
  feed(*stream, 1);
  CHECK(!stream->poisoned());
  stream->tensor("frame")->as<float>()[5] = std::nanf("");
  REQUIRE(stream->run());
  CHECK(stream->poisoned());
  CHECK(!*stream->poisoned(0));
  CHECK(*stream->poisoned(1));
  CHECK(!stream->poisoned(2));
  REQUIRE(stream->reset(1));
  CHECK(!stream->poisoned());
  CHECK(feed(*stream, 2) == Rows{304, 202});
  CHECK(feed(*stream, std::numeric_limits<float>::max()).size() == 2);
  CHECK(feed(*stream, std::numeric_limits<float>::max()).size() == 2);
  CHECK(stream->poisoned());  // the sum of finite frames overflowed
}

TEST_CASE("what is not finite is found by its bits in every element type") {
  using temport::internal::first_nonfinite;
  const uint16_t half[] = {0x7bff, 0x0001, 0xfc00, 0x7e00}, brain[] = {0x7f7f, 0x7f80, 0xffc0};
  const double wide[] = {std::numeric_limits<double>::max(), std::numeric_limits<double>::denorm_min(), std::nan("")};
  std::vector<float> many(200, 1.0f);
  many[150] = std::nanf("");
  many[130] = std::numeric_limits<float>::infinity();
  CHECK(first_nonfinite(TEMPORT_FLOAT32, many.data(), sizeof(float) * many.size())->element == 130);
  CHECK(!first_nonfinite(TEMPORT_FLOAT32, many.data(), sizeof(float) * 130));
  const int64_t counts[] = {-1, 0x7ff0000000000000};
  CHECK(first_nonfinite(TEMPORT_FLOAT16, half, sizeof half)->element == 2);
  CHECK(!first_nonfinite(TEMPORT_FLOAT16, half, sizeof half)->is_nan);
  CHECK(first_nonfinite(TEMPORT_FLOAT16, half + 3, 2)->is_nan);
  CHECK(first_nonfinite(TEMPORT_BFLOAT16, brain, sizeof brain)->element == 1);
  CHECK(first_nonfinite(TEMPORT_BFLOAT16, brain + 2, 2)->is_nan);
  CHECK(first_nonfinite(TEMPORT_FLOAT64, wide, sizeof wide)->element == 2);
  CHECK(!first_nonfinite(TEMPORT_INT64, counts, sizeof counts));
}
