#include "ort_library.h"

#include <cstdlib>
#include <dlfcn.h>
#include <vector>

#include "file.h"

namespace temport::internal::ort {
namespace {

struct Loaded {
  void* handle;
  std::string name;
};

Result<Loaded> open_first(const std::string& path) {
  std::vector<std::string> names{path};
  const char* variable = std::getenv("TEMPORT_ONNXRUNTIME_LIBRARY");
  if (path.empty() && variable && *variable) names = {variable};
  if (names.front().empty()) names = {"libonnxruntime.so.1", "libonnxruntime.so"};
  std::string reason;
  for (const auto& name : names) {
    if (void* handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return Loaded{handle, name};
    reason = ::dlerror();
  }
  return unavailable("ONNX Runtime is not here (" + reason +
                     "); name its shared library with --library or $TEMPORT_ONNXRUNTIME_LIBRARY");
}

}  // namespace

Result<Library> Library::load(const std::string& path) {
  const auto loaded = open_first(path);
  if (!loaded) return loaded.error();
  const auto get_base = reinterpret_cast<const ApiBase* (*)()>(::dlsym(loaded->handle, "OrtGetApiBase"));
  if (!get_base) return unavailable(loaded->name + " is not ONNX Runtime: it has no OrtGetApiBase");
  const ApiBase* base = get_base();
  const std::string version = base->GetVersionString();
  const auto* api = base->GetApi(kApiVersion);
  if (!api) return unavailable(loaded->name + " is ONNX Runtime " + version + "; 1.17 or later is needed");
  return Library(base, api, version, file_name(loaded->name));
}

}  // namespace temport::internal::ort
