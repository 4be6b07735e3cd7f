// What a runtime must offer: load verified bytes, then run them on buffers that the caller owns.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bundle.h"
#include "temport/result.hpp"
#include "tensor.h"

namespace temport::internal {

// Named axes and their sizes; an axis that is not named takes its `opt`.
using AxisSizes = std::vector<std::pair<std::string, int64_t>>;
struct Buffer;
class Steps;

struct SessionConfig {
  std::string runtime, library, ops;
  int threads = 1;
};

// A tensor of a request: memory that the runtime reads or writes in place.
struct Binding {
  const char* name;
  temport_dtype dtype;
  std::vector<int64_t> shape;
  void* data;
  size_t bytes;
};

// One set of bindings, ready to run. Used by one thread at a time.
class Execution {
 public:
  virtual ~Execution() = default;
  // Replaces the memory of the binding at `index` (inputs first, then outputs, in the order of the signature).
  virtual Result<void> rebind(size_t index, const Binding& binding) = 0;
  virtual Result<void> run() = 0;
};

// A loaded model, shared by every request of a session. Safe to use from several threads.
class Model {
 public:
  virtual ~Model() = default;
  virtual Result<std::unique_ptr<Execution>> prepare(const std::vector<Binding>& inputs,
                                                     const std::vector<Binding>& outputs) const = 0;
  // A stream of a step model. `inputs` and `outputs` without the states, which these steps hold in their own way: as inputs
  // and outputs of executions, unless the runtime has a better one.
  virtual Result<std::unique_ptr<Steps>> steps(const Signature& signature, const AxisSizes& sizes,
                                               const std::vector<Buffer>& inputs,
                                               const std::vector<Buffer>& outputs) const;
  // Whether the nodes that a signature calls `in_place` are run by kernels that take one buffer of this element type as
  // input and output.
  virtual bool writes_in_place(temport_dtype dtype) const = 0;
  virtual std::string version() const = 0;
  // File name of the runtime's shared library.
  virtual std::string library() const = 0;
  virtual std::string path() const = 0;
};

Result<std::unique_ptr<Model>> load_onnxruntime(const BundleDirectory& bundle, const SessionConfig& config);
// `flavour` is "tensorrt" or "tensorrt-rtx".
Result<std::unique_ptr<Model>> load_tensorrt(const BundleDirectory& bundle, const SessionConfig& config,
                                             const std::string& flavour);

// Whether the bundle has an engine that was compiled for this processor.
Result<bool> has_native_engine(const BundleDirectory& bundle);
Result<std::unique_ptr<Model>> load_native_engine(const BundleDirectory& bundle);

}  // namespace temport::internal
