// What temport-run gives out: files, whole or not at all, and its report.
#pragma once

#include <stdexcept>
#include <string>

#include "temport/result.hpp"
#include "tensor.h"

namespace temport::runner {

// A write that failed; the program ends with kLostOutput.
struct OutputLost : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The file takes its place when it is whole and on the disk; what stood there stays until then, and its mode afterwards.
// It is written beside it under a name that nobody can guess or plant. A device or a FIFO is written as it stands; a link
// to a file is refused. Throws OutputLost.
Result<void> write_file(const std::string& path, const internal::Bytes& bytes);

// To stdout, with a line end. Throws OutputLost.
void print(const std::string& text);

}  // namespace temport::runner
