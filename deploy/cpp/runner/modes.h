// What temport-run can be asked for; each adds its part to the printed JSON object.
#pragma once

#include "arguments.h"
#include "json.h"

namespace temport::runner {

using internal::Json;

struct Opened {
  Bundle bundle;
  Session session;
};

// Runs every recorded case; true where no case failed and at least one could be judged.
Result<bool> replay(const Opened& opened, Json& report);

// Latency of one inference at the declared optimum, on the first recorded case's values where shapes allow.
Result<void> bench(const Opened& opened, Json& report);

// One inference from .npy files to a .npy file.
Result<void> run_once(const Opened& opened, const Arguments& arguments, Json& report);

// JSON has no NaN or infinity; they become null.
Json number(double value);

// A request whose named axes have the sizes that `shapes` (one per input, in order) imply.
Result<Request> request_for(const Opened& opened, const std::vector<std::vector<int64_t>>& shapes);

}  // namespace temport::runner
