// JSON of unknown origin: parsed within limits, and looked up without exceptions.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "temport/result.hpp"

namespace temport::internal {

using Json = nlohmann::json;

// Refused: syntax errors, invalid UTF-8, a byte order mark, numbers beyond float64, more than 32 arrays and objects inside
// one another, more than 100000 keys and values, and repeated keys (readers differ in which one counts, so a file that has
// them may mean different things to different programs).
Result<Json> parse_json(std::string_view text);

// The member `key` of an object, or nullptr.
const Json* member(const Json& object, const char* key);
// A number that a schema found to be whole and within 53 bits, however it is spelled.
int64_t whole_number(const Json& value);

}  // namespace temport::internal
