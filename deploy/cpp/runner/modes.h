// What temport-run can be asked for; each adds its part to the printed JSON object.
#pragma once

#include "arguments.h"
#include "json.h"

namespace temport::runner {

using internal::Json;

struct Opened {
  Bundle bundle;
  Session session;
  StreamOptions stream;
};

// Runs every recorded case; true where no case failed and at least half could be judged.
Result<bool> replay(const Opened& opened, Json& report);

// The row of a runtime that has no kernel for the model: `not run`, with the reason.
void report_not_run(const std::string& reason, Json& report);

// Latency of `frames` inferences at the declared optimum, on values of the first recorded case; of a step model, the
// frames of one stream that never resets. With `host_noise` also the times of arithmetic that lasts as long as the median
// frame, done once after each of them.
Result<void> bench(const Opened& opened, int frames, bool host_noise, Json& report);

// One inference, or one stream, from .npy files to .npy files.
Result<void> run_once(const Opened& opened, const Arguments& arguments, Json& report);

}  // namespace temport::runner
