#include "sizes.h"

#include <algorithm>

#include "tensor.h"

namespace temport::internal {
namespace {

using Size = std::optional<int64_t>;

constexpr int kDeepest = 64;

// No value of an expression is larger than any tensor: so no product or sum of two leaves 64 bits unseen.
Size in_range(int64_t value) { return value > kMaxElements || value < -kMaxElements ? Size() : Size(value); }

Size product(int64_t a, int64_t b) {
  const int64_t magnitude = b < 0 ? -b : b;
  if (b != 0 && (a < 0 ? -a : a) > kMaxElements / magnitude) return std::nullopt;
  return a * b;
}

int64_t floor_divide(int64_t a, int64_t b) { return a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0); }

Size combine(char op, Size a, Size b) {
  if (!a || !b) return std::nullopt;
  switch (op) {
    case '+': return in_range(*a + *b);
    case '-': return in_range(*a - *b);
    case '*': return product(*a, *b);
    default: break;
  }
  if (*b == 0) return std::nullopt;
  return op == '/' ? floor_divide(*a, *b) : *a - floor_divide(*a, *b) * *b;
}

bool is_name(char c, bool first) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (!first && c >= '0' && c <= '9');
}

class Parser {
 public:
  Parser(std::string_view text, const SizeOf& size_of) : text_(text), size_of_(size_of) {}

  Size whole() {
    const Size value = sum(0);
    return at_ == text_.size() ? value : std::nullopt;
  }

 private:
  Size sum(int depth) {
    Size value = term(depth);
    for (;;) {
      if (take("+")) value = combine('+', value, term(depth));
      else if (take("-")) value = combine('-', value, term(depth));
      else return value;
    }
  }

  Size term(int depth) {
    Size value = factor(depth);
    for (;;) {
      if (take("//")) value = combine('/', value, factor(depth));
      else if (take("*")) value = combine('*', value, factor(depth));
      else if (take("%")) value = combine('%', value, factor(depth));
      else return value;
    }
  }

  Size factor(int depth) {
    if (depth > kDeepest) return std::nullopt;
    if (take("-")) return combine('-', 0, factor(depth + 1));
    if (take("(")) {
      const Size inside = sum(depth + 1);
      return take(")") ? inside : std::nullopt;
    }
    const size_t start = at_;
    if (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') return number();
    while (at_ < text_.size() && is_name(text_[at_], at_ == start)) ++at_;
    const std::string_view name = text_.substr(start, at_ - start);
    skip();
    if ((name == "max" || name == "min") && take("(")) return choice(name == "max", depth + 1);
    return name.empty() ? std::nullopt : size_of_(name);
  }

  Size number() {
    int64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
      if ((value = value * 10 + (text_[at_] - '0')) > kMaxElements) return std::nullopt;
    skip();
    return value;
  }

  Size choice(bool largest, int depth) {
    Size value = sum(depth);
    while (take(",")) {
      const Size next = sum(depth);
      if (!value || !next) return std::nullopt;
      value = largest ? std::max(*value, *next) : std::min(*value, *next);
    }
    return take(")") ? value : std::nullopt;
  }

  bool take(std::string_view token) {
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    skip();
    return true;
  }

  void skip() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }

  std::string_view text_;
  const SizeOf& size_of_;
  size_t at_ = 0;
};

}  // namespace

Size evaluate(std::string_view expression, const SizeOf& size_of) { return Parser(expression, size_of).whole(); }

}  // namespace temport::internal
