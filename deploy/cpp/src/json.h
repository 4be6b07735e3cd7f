// JSON of unknown origin: parsed within limits, and looked up without exceptions.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "temport/result.hpp"

namespace temport::internal {

using Json = nlohmann::json;

// Refused: syntax errors, invalid UTF-8, nesting deeper than 32, more than 100000 values, and repeated keys (readers
// differ in which one counts, so a file that has them may mean different things to different programs).
Result<Json> parse_json(std::string_view text);

// The member `key` of an object, or nullptr.
const Json* member(const Json& object, const char* key);
// A bool that may be left out, which means false; nothing where the member is something else.
std::optional<bool> flag_member(const Json& object, const char* key);
const std::string* string_member(const Json& object, const char* key);
// An integer in [0, kMaxElements].
std::optional<int64_t> size_member(const Json& object, const char* key);
std::optional<int64_t> as_size(const Json& value);

}  // namespace temport::internal
