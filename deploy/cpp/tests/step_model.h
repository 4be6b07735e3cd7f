// The step model of tiny_bundle.h, opened on the stand-in runtime or the stand-in engine and fed with frames.
#pragma once

#include <string>
#include <vector>

#include "stand_in.h"
#include "tiny_engine.h"

namespace tiny {

struct Opened {
  explicit Opened(const temport::SessionOptions& options = stand_in(), const std::string& signature = kStepSignature)
      : directory(signature), bundle(*temport::Bundle::open(directory.string())),
        session(*temport::Session::create(bundle, options)) {}

  struct WithEngine : Directory {
    explicit WithEngine(const std::string& signature) : Directory(signature, step_vectors()) { add_engine(*this, signature); }
  };
  WithEngine directory;
  temport::Bundle bundle;
  temport::Session session;
};

using Rows = std::vector<float>;

// The outputs after one frame that holds `value` everywhere, one per stream of the batch.
inline Rows feed(temport::Stream& stream, float value) {
  const auto frame = stream.tensor("frame"), output = stream.tensor("output");
  for (size_t i = 0; i < frame->size(); ++i) frame->as<float>()[i] = value;
  if (!stream.run()) return {};
  Rows rows;
  for (size_t row = 0; row < stream.entries(); ++row) rows.push_back(output->as<float>()[3 * row]);
  return rows;
}

}  // namespace tiny
