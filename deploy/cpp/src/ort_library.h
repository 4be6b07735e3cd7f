// ONNX Runtime as found on this machine: loaded by name, called through the numbered view of its table.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "ort_abi.h"
#include "temport/result.hpp"

namespace temport::internal::ort {

using namespace temport::ort;

// Copying is cheap; the shared library itself is never unloaded, because ONNX Runtime's threads may outlive a session.
class Library {
 public:
  // `path`, else $TEMPORT_ONNXRUNTIME_LIBRARY, else libonnxruntime.so.1 and libonnxruntime.so on the loader's path.
  static Result<Library> load(const std::string& path);

  const std::string& version() const { return version_; }
  const std::string& file() const { return file_; }
  // Whether the slots that a later version of the API added may be called.
  bool has_version(uint32_t api_version) const { return base_->GetApi(api_version) != nullptr; }

  // Calls a slot whose result is a status; success allocates nothing.
  template <class S, class... Args>
  Result<void> check(Args... args) const {
    Status* status = S::call(*api_, args...);
    if (!status) return {};
    std::string message = GetErrorMessage::call(*api_, status);
    const bool no_kernel = GetErrorCode::call(*api_, status) == kNotImplemented;
    ReleaseStatus::call(*api_, status);
    std::replace(message.begin(), message.end(), '\n', ' ');
    message.insert(0, "ONNX Runtime: ");
    return no_kernel ? unsupported(std::move(message)) : failed(std::move(message));
  }

  template <class T, class Release>
  struct Releaser {
    const Api* api;
    void operator()(T* object) const { Release::call(*api, object); }
  };
  template <class T, class Release>
  using Owner = std::unique_ptr<T, Releaser<T, Release>>;
  template <class Release, class T>
  Owner<T, Release> own(T* object) const {
    return Owner<T, Release>(object, {api_});
  }

 private:
  Library(const ApiBase* base, const Api* api, std::string version, std::string file)
      : base_(base), api_(api), version_(std::move(version)), file_(std::move(file)) {}

  const ApiBase* base_;
  const Api* api_;
  std::string version_, file_;
};

using EnvOwner = Library::Owner<Env, ReleaseEnv>;
using OptionsOwner = Library::Owner<SessionOptions, ReleaseSessionOptions>;
using SessionOwner = Library::Owner<Session, ReleaseSession>;
using MemoryInfoOwner = Library::Owner<MemoryInfo, ReleaseMemoryInfo>;
using ValueOwner = Library::Owner<Value, ReleaseValue>;
using TypeInfoOwner = Library::Owner<TypeInfo, ReleaseTypeInfo>;

}  // namespace temport::internal::ort
