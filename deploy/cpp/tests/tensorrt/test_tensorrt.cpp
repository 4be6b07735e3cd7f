// The TensorRT backend against a stand-in: what an engine says of itself is asked before any memory is bound.
#include <doctest/doctest.h>

#include <cstring>

#include "bundle.h"
#include "buffers.h"
#include "runtime.h"
#include "../tiny_bundle.h"

using namespace temport;
using namespace temport::internal;

namespace {

// The outputs of the tiny model at `batch`, or the sentence with which its engine is refused.
Result<std::vector<float>> doubled(const std::string& plan, int64_t batch) {
  const tiny::Directory directory;
  tiny::write(directory.path() / "engine.tensorrt.plan", plan);
  std::string manifest = tiny::manifest(tiny::model(), tiny::vectors());
  const std::string files = "\"files\": {";
  manifest.insert(manifest.find(files) + files.size(), "\"engine.tensorrt.plan\": {\"sha256\": \"" + tiny::digest(plan) +
                                                           "\", \"bytes\": " + std::to_string(plan.size()) + "}, ");
  tiny::write(directory.path() / "manifest.json", manifest);
  const auto bundle = BundleDirectory::open(directory.string());
  REQUIRE(bundle);
  SessionConfig config;
  config.library = STAND_IN_TENSORRT;
  const auto model = load_stand_in_tensorrt(*bundle, config, "tensorrt");
  if (!model) return model.error();
  const Signature& signature = bundle->manifest().signature;
  auto x = allocate(signature, signature.inputs[0], {{"batch", batch}});
  auto y = allocate(signature, signature.outputs[0], {{"batch", batch}});
  auto* values = static_cast<float*>(x->binding.data);
  for (int64_t i = 0; i < 3 * batch; ++i) values[i] = static_cast<float>(i);
  const auto execution = (*model)->prepare({x->binding}, {y->binding});
  if (!execution) return execution.error();
  if (auto done = (*execution)->run(); !done) return done.error();
  const auto* results = static_cast<const float*>(y->binding.data);
  return std::vector<float>(results, results + 3 * batch);
}

std::string refusal(const std::string& plan) {
  const auto done = doubled(plan, 2);
  REQUIRE(!done);
  CHECK(done.error().code == TEMPORT_REFUSED);
  return done.error().message;
}

}  // namespace

TEST_CASE("an engine that is what its signature says runs") {
  CHECK(*doubled("1 3 0 0", 2) == std::vector<float>{0, 2, 4, 6, 8, 10});
}

TEST_CASE("an engine whose output is larger or smaller than the signature says is refused before it runs") {
  CHECK(refusal("1 5 0 0") == "the engine gives y the shape [2, 5]; the signature says [2, 3]");
  CHECK(refusal("2 3 0 0") == "the engine gives y the shape [4, 3]; the signature says [2, 3]");
  CHECK(refusal("1 -1 0 0") == "the engine gives y the shape [2, -1]; the signature says [2, 3]");
}

TEST_CASE("an engine whose output is padded or lies in the host's memory is refused") {
  CHECK(refusal("1 3 1 0") == "the engine's tensor y is not plain memory of the GPU");
  CHECK(refusal("1 3 0 1") == "the engine's tensor y is not plain memory of the GPU");
}
