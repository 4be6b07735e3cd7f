#include "json.h"

#include <set>
#include <vector>

#include "tensor.h"

namespace temport::internal {
namespace {

constexpr size_t kMaxDepth = 32, kMaxValues = 100000;

}  // namespace

Result<Json> parse_json(std::string_view text) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  size_t values = 0;
  const char* problem = nullptr;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (static_cast<size_t>(depth) > kMaxDepth) problem = "it is nested too deeply";
    if (++values > kMaxValues) problem = "it has too many values";
    if (problem) return false;
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      problem = "it repeats a key";
    return true;
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

std::optional<bool> flag_member(const Json& object, const char* key) {
  const Json* value = member(object, key);
  if (!value) return false;
  return value->is_boolean() ? std::optional<bool>(value->get<bool>()) : std::nullopt;
}

const std::string* string_member(const Json& object, const char* key) {
  const Json* value = member(object, key);
  return value ? value->get_ptr<const std::string*>() : nullptr;
}

std::optional<int64_t> as_size(const Json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const auto number = value.get<uint64_t>();
  if (number > static_cast<uint64_t>(kMaxElements)) return std::nullopt;
  return static_cast<int64_t>(number);
}

std::optional<int64_t> size_member(const Json& object, const char* key) {
  const Json* value = member(object, key);
  return value ? as_size(*value) : std::nullopt;
}

}  // namespace temport::internal
