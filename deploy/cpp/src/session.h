// A loaded model and the requests made of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "buffers.h"
#include "sha256.h"

namespace temport::internal {

// Shared by the session handle and its requests, so that they may be closed in any order.
struct LoadedModel {
  std::string runtime, version, library, path;
  Signature signature;
  Digest identity;  // of model.onnx and the weights beside it, by the manifest's hashes
  std::unique_ptr<Model> model;
  int64_t frames;  // of a whole stream, which ends then; 0: however many
};

Result<std::shared_ptr<const LoadedModel>> load(const BundleDirectory& bundle, const SessionConfig& config);

// The buffers of one inference, allocated once.
class RequestBuffers {
 public:
  static Result<std::unique_ptr<RequestBuffers>> create(std::shared_ptr<const LoadedModel> model,
                                                        const AxisSizes& sizes);

  Result<const Binding*> tensor(const std::string& name) const;
  Result<void> bind(const std::string& name, void* data, size_t bytes);
  Result<void> run() { return execution_->run(); }

 private:
  std::shared_ptr<const LoadedModel> model_;
  std::vector<Buffer> buffers_;  // inputs first, then outputs
  std::unique_ptr<Execution> execution_;
};

}  // namespace temport::internal
