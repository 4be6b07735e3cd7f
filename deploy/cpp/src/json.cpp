#include "json.h"

#include <set>
#include <vector>

namespace temport::internal {
namespace {

constexpr size_t kMaxDepth = 32, kMaxValues = 100000;

}  // namespace

Result<Json> parse_json(std::string_view text) {
  using Event = Json::parse_event_t;
  if (text.find('\0') != text.npos) return refused("it is not JSON");  // the parser would take it for the end
  if (text.substr(0, 3) == "\xef\xbb\xbf") return refused("it begins with a byte order mark");
  std::vector<std::set<std::string>> open;  // the keys of each object, and nothing of each array
  size_t values = 0;
  const char* problem = nullptr;
  const auto watch = [&](int, Event event, Json& parsed) {
    if (problem) return false;
    if (event == Event::object_end || event == Event::array_end) {
      open.pop_back();
      return true;
    }
    if (++values > kMaxValues) problem = "it has too many values";
    if (event == Event::object_start || event == Event::array_start) {
      open.emplace_back();
      if (open.size() > kMaxDepth) problem = "it is nested too deeply";
    }
    if (event == Event::key && !open.back().insert(parsed.get<std::string>()).second) problem = "it repeats a key";
    return !problem;
  };
  Json json = Json::parse(text.begin(), text.end(), watch, /*allow_exceptions=*/false);
  if (problem) return refused(problem);
  if (json.is_discarded()) return refused("it is not JSON");
  return json;
}

const Json* member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

int64_t whole_number(const Json& value) {
  return value.is_number_float() ? static_cast<int64_t>(value.get<double>()) : value.get<int64_t>();
}

}  // namespace temport::internal
