#include <doctest/doctest.h>

#include "sizes.h"

using namespace temport::internal;

namespace {

std::optional<int64_t> value(std::string_view text, int64_t seq = 7, int64_t past = 0) {
  return evaluate(text, [&](std::string_view name) -> std::optional<int64_t> {
    if (name == "seq") return seq;
    if (name == "past") return past;
    return std::nullopt;
  });
}

}  // namespace

TEST_CASE("expressions of axes have the values that Python gives them") {
  CHECK(value("seq") == 7);
  CHECK(value("past + 1") == 1);
  CHECK(value("(seq + 1) // 2") == 4);
  CHECK(value("-seq // 2") == -4);
  CHECK(value("-seq % 4") == 1);
  CHECK(value("seq - 2 - 1") == 4);
  CHECK(value("2 * (seq - 1) + seq * past") == 12);
  CHECK(value("max(seq, 9, past)") == 9);
  CHECK(value("min(seq, 9) % 5 * 3") == 6);
  CHECK(value("(-seq % 4 + seq) // 4", 61) == 16);
}

TEST_CASE("what is no expression, or has no size, is refused") {
  for (const char* text : {"", "seq +", "(seq", "seq)", "seq seq", "seq / 2", "seq // past", "seq % 0", "other", "seq.x", "f(seq)",
                           "99999999999999999999", "seq * 1000000000000 * 1000000000000", "max(seq"})
    CHECK_MESSAGE(!value(text), text);
  CHECK_FALSE(value(std::string(100000, '(')));
  CHECK_FALSE(value(std::string(100000, '-') + "1"));
}
