// The C++17 interface: move-only owners over the C ABI, errors as Result<T>. Header only, so that the library may be
// built by one compiler and used by another.
//
//   auto bundle = temport::Bundle::open("bundles/mega");
//   if (!bundle) return report(bundle.error());
//   auto session = temport::Session::create(*bundle);
//   auto request = session->request();                   // or, with an open batch, request({{"batch", 4}})
//   float* frames = request->tensor("state_sequence")->as<float>();   // write in place
//   if (auto done = request->run(); !done) return report(done.error());
#ifndef TEMPORT_TEMPORT_HPP
#define TEMPORT_TEMPORT_HPP

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "temport/result.hpp"
#include "temport/temport.h"

namespace temport {

// A borrowed tensor; `as<T>` does not convert, it names the element type that `dtype` already has.
struct Tensor : temport_tensor {
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  size_t size() const {
    size_t count = 1;
    for (size_t i = 0; i < rank; ++i) count *= static_cast<size_t>(shape[i]);
    return count;
  }
};

struct BundleOptions {
  std::string digest;   // of the bundle that is wanted, as manifest.sha256 holds it; empty: any
  bool strict = false;  // files in the directory that the manifest does not list are refused
};

struct SessionOptions {
  std::string runtime = "auto";  // as temport.h says
  std::string library;  // empty: searched as temport.h says
  std::string ops;      // an absolute path; empty: searched; "none": run the function bodies
  int threads = 1;
};

struct StreamOptions {
  temport_on_nonfinite on_nonfinite = TEMPORT_REFUSE_NONFINITE;
};

struct AxisSize {
  std::string axis;
  int64_t size;
};

namespace detail {

template <auto Close>
struct Closer {
  template <class T>
  void operator()(T* handle) const {
    Close(handle);
  }
};

template <class T, auto Close>
using Owner = std::unique_ptr<T, Closer<Close>>;

inline Error take(const temport_error& error) { return {error.code, error.message}; }

inline std::vector<temport_axis_size> plain(const std::vector<AxisSize>& sizes) {
  std::vector<temport_axis_size> plain;
  for (const auto& size : sizes) plain.push_back({size.axis.c_str(), size.size});
  return plain;
}

inline std::vector<temport_tensor_spec> list(size_t count, const temport_tensor_spec* specs) {
  return {specs, specs + count};
}

}  // namespace detail

class Vectors {
 public:
  explicit Vectors(temport_vectors* handle) : handle_(handle) {}

  std::vector<std::string> cases() const {
    const char* const* names = nullptr;
    const size_t count = temport_vectors_cases(handle_.get(), &names);
    return {names, names + count};
  }
  Result<Tensor> tensor(const std::string& case_name, const char* kind, const std::string& name) const {
    Tensor tensor{};
    temport_error error;
    if (temport_vectors_tensor(handle_.get(), case_name.c_str(), kind, name.c_str(), &tensor, &error))
      return detail::take(error);
    return tensor;
  }

 private:
  detail::Owner<temport_vectors, temport_vectors_close> handle_;
};

class Bundle {
 public:
  static Result<Bundle> open(const std::string& directory, const BundleOptions& options = {}) {
    temport_bundle* handle = nullptr;
    temport_error error;
    const temport_bundle_options plain{options.digest.c_str(), options.strict};
    if (temport_bundle_open(directory.c_str(), &plain, &handle, &error)) return detail::take(error);
    return Bundle(handle);
  }

  std::vector<temport_tensor_spec> inputs() const {
    const temport_tensor_spec* specs = nullptr;
    const size_t count = temport_bundle_inputs(handle_.get(), &specs);
    return detail::list(count, specs);
  }
  std::vector<temport_tensor_spec> outputs() const {
    const temport_tensor_spec* specs = nullptr;
    const size_t count = temport_bundle_outputs(handle_.get(), &specs);
    return detail::list(count, specs);
  }
  // Empty where the model takes whole sequences; not empty for a step model, which a Stream runs.
  std::vector<temport_state_spec> states() const {
    const temport_state_spec* specs = nullptr;
    const size_t count = temport_bundle_states(handle_.get(), &specs);
    return {specs, specs + count};
  }
  std::string digest() const { return temport_bundle_digest(handle_.get()); }
  std::string architecture() const { return temport_bundle_architecture(handle_.get()); }
  temport_dtype precision() const { return temport_bundle_precision(handle_.get()); }
  Result<Vectors> vectors() const {
    temport_vectors* vectors = nullptr;
    temport_error error;
    if (temport_vectors_read(handle_.get(), &vectors, &error)) return detail::take(error);
    return Vectors(vectors);
  }
  // Empty where no outputs are recorded for the case.
  Result<std::string> recorded_sha256(const std::string& name) const {
    char sha256[65];
    temport_error error;
    if (temport_bundle_recorded_sha256(handle_.get(), name.c_str(), sha256, &error)) return detail::take(error);
    return std::string(sha256);
  }
  const temport_bundle* handle() const { return handle_.get(); }

 private:
  explicit Bundle(temport_bundle* handle) : handle_(handle) {}
  detail::Owner<temport_bundle, temport_bundle_close> handle_;
};

class Request {
 public:
  explicit Request(temport_request* handle) : handle_(handle) {}

  Result<Tensor> tensor(const char* name) const {
    Tensor tensor{};
    temport_error error;
    if (temport_request_tensor(handle_.get(), name, &tensor, &error)) return detail::take(error);
    return tensor;
  }
  Result<void> bind(const char* name, void* data, size_t bytes) {
    temport_error error;
    if (temport_request_bind(handle_.get(), name, data, bytes, &error)) return detail::take(error);
    return {};
  }
  Result<void> run() {
    temport_error error;
    if (temport_request_run(handle_.get(), &error)) return detail::take(error);
    return {};
  }

 private:
  detail::Owner<temport_request, temport_request_close> handle_;
};

// A step model frame by frame:
//
//   auto stream = session->stream();
//   float* frame = stream->tensor("frame")->as<float>();
//   const float* output = stream->tensor("output")->as<float>();   // both keep their place
//   while (read(frame)) if (auto done = stream->run(); !done) return report(done.error());
class Stream {
 public:
  explicit Stream(temport_stream* handle) : handle_(handle) {}

  Result<Tensor> tensor(const char* name) const {
    Tensor tensor{};
    temport_error error;
    if (temport_stream_tensor(handle_.get(), name, &tensor, &error)) return detail::take(error);
    return tensor;
  }
  Result<void> run() {
    temport_error error;
    if (temport_stream_run(handle_.get(), &error)) return detail::take(error);
    return {};
  }
  size_t entries() const { return temport_stream_entries(handle_.get()); }
  void reset() { temport_stream_reset(handle_.get()); }
  Result<void> reset(size_t entry) {
    temport_error error;
    if (temport_stream_reset_entry(handle_.get(), entry, &error)) return detail::take(error);
    return {};
  }
  // Whether the state of any stream, or of one, holds NaN or infinity.
  bool poisoned() const { return temport_stream_poisoned(handle_.get()) != 0; }
  Result<bool> poisoned(size_t entry) const {
    int found = 0;
    temport_error error;
    if (temport_stream_poisoned_entry(handle_.get(), entry, &found, &error)) return detail::take(error);
    return found != 0;
  }
  // The state of one of the streams, to go on from in any stream of the same model.
  Result<std::vector<uint8_t>> save(size_t entry = 0) const {
    size_t bytes = 0;
    temport_error error;
    if (temport_stream_state_bytes(handle_.get(), &bytes, &error)) return detail::take(error);
    std::vector<uint8_t> state(bytes);
    if (temport_stream_save(handle_.get(), entry, state.data(), bytes, &error)) return detail::take(error);
    return state;
  }
  Result<void> restore(const std::vector<uint8_t>& state, size_t entry = 0) {
    temport_error error;
    if (temport_stream_restore(handle_.get(), entry, state.data(), state.size(), &error)) return detail::take(error);
    return {};
  }

 private:
  detail::Owner<temport_stream, temport_stream_close> handle_;
};

class Session {
 public:
  static Result<Session> create(const Bundle& bundle, const SessionOptions& options = {}) {
    const auto given = [](const std::string& text) { return text.empty() ? nullptr : text.c_str(); };
    const temport_session_options plain{given(options.runtime), given(options.library), given(options.ops),
                                        options.threads};
    temport_session* handle = nullptr;
    temport_error error;
    if (temport_session_create(bundle.handle(), &plain, &handle, &error)) return detail::take(error);
    return Session(handle);
  }

  std::string runtime() const { return temport_session_runtime(handle_.get()); }
  std::string version() const { return temport_session_version(handle_.get()); }
  std::string library() const { return temport_session_library(handle_.get()); }
  std::string path() const { return temport_session_path(handle_.get()); }
  Result<Request> request(const std::vector<AxisSize>& sizes = {}) const {
    const auto plain = detail::plain(sizes);
    temport_request* handle = nullptr;
    temport_error error;
    if (temport_request_create(handle_.get(), plain.data(), plain.size(), &handle, &error)) return detail::take(error);
    return Request(handle);
  }
  // A step model's stream or, where the batch is more than one, that many independent ones.
  Result<Stream> stream(const std::vector<AxisSize>& sizes = {}, const StreamOptions& options = {}) const {
    const auto plain = detail::plain(sizes);
    const temport_stream_options given{options.on_nonfinite};
    temport_stream* handle = nullptr;
    temport_error error;
    if (temport_stream_create(handle_.get(), plain.data(), plain.size(), &given, &handle, &error))
      return detail::take(error);
    return Stream(handle);
  }

 private:
  explicit Session(temport_session* handle) : handle_(handle) {}
  detail::Owner<temport_session, temport_session_close> handle_;
};

}  // namespace temport
#endif
