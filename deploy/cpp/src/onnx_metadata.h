// The metadata of an ONNX file, read without an ONNX library.
#pragma once

#include <map>
#include <string>

#include "temport/result.hpp"
#include "tensor.h"

namespace temport::internal {

// ModelProto.metadata_props (field 14 of onnx.proto3); refused where the bytes are not well-formed protobuf.
Result<std::map<std::string, std::string>> read_onnx_metadata(const uint8_t* bytes, size_t size);

}  // namespace temport::internal
