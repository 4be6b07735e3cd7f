// Which files an ONNX model would have a runtime read, found without an ONNX library.
#pragma once

#include <functional>
#include <string_view>

#include "temport/result.hpp"

namespace temport::internal {

// Refused where a tensor of the model lies in a file, unless it is one of the main graph's initializers and `listed` says
// true of the file's name. A branch, a loop's or a function's body and an attribute hold tensors too: runtimes look for
// the files of those wherever the process happens to be. Also refused: bytes that are not well-formed protobuf.
Result<void> check_external_data(std::string_view model, const std::function<bool(std::string_view)>& listed);

}  // namespace temport::internal
