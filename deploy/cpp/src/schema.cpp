#include "schema.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <regex>

namespace temport::internal {
namespace {

class SchemaCheck {
 public:
  explicit SchemaCheck(const Json& root) : root_(root) {}

  // What is wrong with `value` or inside of it; empty where nothing is.
  std::string problem(const Json& rule, const Json& value) {
    for (const auto& [keyword, given] : rule.items()) {
      if (keyword == "$schema" || keyword == "title" || keyword == "$defs") continue;
      std::string found = problem(rule, keyword, given, value);
      if (!found.empty()) return found;
    }
    return {};
  }

  // The keys that lead to where the last problem was found.
  const std::string& place() const { return place_; }

 private:
  std::string problem(const Json& rule, const std::string& keyword, const Json& given, const Json& value) {
    if (keyword == "$ref") {
      const std::string name = given.get<std::string>().substr(std::string("#/$defs/").size());
      return problem(root_.at("$defs").at(name), value);
    }
    if (keyword == "type") return has_type(given, value) ? "" : "it is not " + text(given);
    if (keyword == "enum")
      return std::find(given.begin(), given.end(), value) != given.end() ? "" : "it is not one of " + text(given);
    if (keyword == "not") return problem(given, value).empty() ? "it is spelled in a way that is refused" : "";
    if (keyword == "minimum") return !value.is_number() || number(value) >= number(given) ? "" : "it is below " + text(given);
    if (keyword == "maximum") return !value.is_number() || number(value) <= number(given) ? "" : "it is above " + text(given);
    if (keyword == "minLength") return !value.is_string() || length(value) >= number(given) ? "" : "it is too short";
    if (keyword == "maxLength") return !value.is_string() || length(value) <= number(given) ? "" : "it is too long";
    if (keyword == "pattern") return !value.is_string() || matches(given, value) ? "" : "it is not spelled as it should be";
    if (keyword == "minItems") return !value.is_array() || size(value) >= number(given) ? "" : "it has too few entries";
    if (keyword == "maxItems") return !value.is_array() || size(value) <= number(given) ? "" : "it has too many entries";
    if (keyword == "maxProperties") return !value.is_object() || size(value) <= number(given) ? "" : "it has too many keys";
    if (keyword == "items") return in_items(given, value);
    if (keyword == "required") return in_required(given, value);
    if (keyword == "properties" || keyword == "propertyNames" || keyword == "additionalProperties")
      return in_members(rule, keyword, given, value);
    return "it cannot be checked: this library does not know the keyword " + keyword;
  }

  std::string in_items(const Json& given, const Json& value) {
    if (!value.is_array()) return {};
    for (size_t i = 0; i < value.size(); ++i)
      if (std::string found = problem(given, value[i]); !found.empty()) return at(std::to_string(i), std::move(found));
    return {};
  }

  std::string in_required(const Json& given, const Json& value) {
    if (!value.is_object()) return {};
    for (const auto& name : given)
      if (!value.contains(name.get<std::string>())) return "it has no " + name.get<std::string>();
    return {};
  }

  std::string in_members(const Json& rule, const std::string& keyword, const Json& given, const Json& value) {
    if (!value.is_object()) return {};
    const Json* own = member(rule, "properties");
    for (const auto& [name, inner] : value.items()) {
      std::string found;
      if (keyword == "propertyNames") {
        found = problem(given, Json(name));
      } else if (keyword == "properties") {
        if (const Json* own_rule = member(given, name.c_str())) found = problem(*own_rule, inner);
      } else if (!own || !own->contains(name)) {
        found = given.is_boolean() ? (given.get<bool>() ? "" : "it is not known here") : problem(given, inner);
      }
      if (!found.empty()) return at(name, std::move(found));
    }
    return {};
  }

  std::string at(const std::string& key, std::string found) {
    place_ = place_.empty() ? key : key + "/" + place_;
    return found;
  }

  static bool has_type(const Json& given, const Json& value) {
    if (given.is_array())
      return std::any_of(given.begin(), given.end(), [&](const Json& one) { return has_type(one, value); });
    const std::string type = given.get<std::string>();
    if (type == "integer") return value.is_number() && number(value) == std::trunc(number(value));
    if (type == "number") return value.is_number();
    return type == value.type_name();
  }

  // Patterns stand in the schema, and meet only strings that are not longer than `maxLength` says there.
  bool matches(const Json& pattern, const Json& value) {
    constexpr size_t kLongest = 4096;
    const std::string spelled = pattern.get<std::string>();
    const auto known = patterns_.try_emplace(spelled, spelled, std::regex::ECMAScript).first;
    const auto& subject = value.get_ref<const std::string&>();
    return subject.size() <= kLongest && std::regex_search(subject, known->second);
  }

  static double number(const Json& value) { return value.get<double>(); }
  static double size(const Json& value) { return static_cast<double>(value.size()); }
  // In characters, as the other readers count them: bytes of UTF-8 but for those that go on with one.
  static double length(const Json& value) {
    const auto& bytes = value.get_ref<const std::string&>();
    return static_cast<double>(
        std::count_if(bytes.begin(), bytes.end(), [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }));
  }
  static std::string text(const Json& given) { return given.dump(-1, ' ', false, Json::error_handler_t::replace); }

  const Json& root_;
  std::map<std::string, std::regex> patterns_;
  std::string place_;
};

}  // namespace

Result<void> check_schema(const Json& root, const Json& value) {
  SchemaCheck check(root);
  const std::string found = check.problem(root, value);
  if (found.empty()) return {};
  return refused(check.place().empty() ? found : "at " + check.place() + ", " + found);
}

}  // namespace temport::internal
