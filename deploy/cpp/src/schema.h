// JSON Schema 2020-12, as much of it as the schemas of this project use.
#pragma once

#include "json.h"

namespace temport::internal {

// Whether `value` is what the schema `root` asks for; refused with the place and the keyword where it is not. A keyword that
// is not known here refuses everything: a schema that says more than its readers understand must not pass for checked.
Result<void> check_schema(const Json& root, const Json& value);

}  // namespace temport::internal
