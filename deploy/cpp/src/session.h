// A loaded model and the requests made of it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime.h"

namespace temport::internal {

// Shared by the session handle and its requests, so that they may be closed in any order.
struct LoadedModel {
  std::string runtime, version, path;
  Signature signature;
  std::unique_ptr<Model> model;
};

Result<std::shared_ptr<const LoadedModel>> load(const BundleDirectory& bundle, const SessionConfig& config);

// The buffers of one inference, allocated once.
class RequestBuffers {
 public:
  // Sizes of named axes; an axis that is not named takes its `opt`.
  static Result<std::unique_ptr<RequestBuffers>> create(std::shared_ptr<const LoadedModel> model,
                                                        const std::vector<std::pair<std::string, int64_t>>& sizes);

  Result<const Binding*> tensor(const std::string& name) const;
  Result<void> bind(const std::string& name, void* data, size_t bytes);
  Result<void> run() { return execution_->run(); }

 private:
  struct Free {
    void operator()(void* memory) const;
  };

  Result<void> add(const TensorSpec& spec, const std::vector<std::pair<std::string, int64_t>>& sizes);

  std::shared_ptr<const LoadedModel> model_;
  std::vector<std::unique_ptr<void, Free>> memory_;
  std::vector<Binding> bindings_;  // inputs first, then outputs
  std::unique_ptr<Execution> execution_;
};

}  // namespace temport::internal
