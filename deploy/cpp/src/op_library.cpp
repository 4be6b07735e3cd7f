#include "op_library.h"

#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <sstream>

#include "file.h"

namespace temport::internal {
namespace {

// Lines "FusedDense 16 1": the op, its domains, its element types.
std::map<std::string, OpLibrary::Kernels> parse_kernels(const char* text) {
  std::map<std::string, OpLibrary::Kernels> kernels;
  std::istringstream lines(text);
  for (std::string line, op; std::getline(lines, line);) {
    std::istringstream words(line);
    words >> op;
    words >> kernels[op].domains;
    for (int type; words >> type;) kernels[op].types.insert(type);
  }
  return kernels;
}

// libtemport_ops.so in the directory of the library or program that holds this code; empty where that is not known.
std::string beside_this_code() {
  Dl_info info{};
  if (!::dladdr(reinterpret_cast<const void*>(&beside_this_code), &info) || !info.dli_fname) return {};
  const std::string loaded = info.dli_fname;
  std::error_code unknown;
  // A program that was found by $PATH is known by its bare name.
  const auto own = std::filesystem::canonical(loaded.find('/') == std::string::npos ? "/proc/self/exe" : loaded, unknown);
  return unknown ? std::string() : (own.parent_path() / "libtemport_ops.so").string();
}

template <class F>
F* symbol(void* handle, const char* name) {
  return reinterpret_cast<F*>(::dlsym(handle, name));
}

}  // namespace

Result<OpLibrary> OpLibrary::find(const std::string& asked) {
  if (asked == "none") return OpLibrary();
  const char* variable = std::getenv("TEMPORT_OPS_LIBRARY");
  const bool named = !asked.empty() || (variable && *variable);
  const std::string name = !asked.empty() ? asked : named ? variable : beside_this_code();
  // A name without a place would be whatever the loader finds first.
  if (named && name[0] != '/') return invalid_argument("the op library is named by its absolute path, not " + name);
  if (name.empty()) return OpLibrary();
  void* handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const std::string reason = ::dlerror();
    if (named) return unavailable("the op library cannot be loaded: " + reason);
    return OpLibrary();
  }
  OpLibrary found;
  found.path = name;
  const auto describe = symbol<const char*()>(handle, "temport_ops_description");
  found.description = describe ? describe() : file_name(name);
  if (const auto in_place = symbol<int()>(handle, "temport_ops_write_in_place")) found.in_place = in_place() != 0;
  if (const auto list = symbol<const char*()>(handle, "temport_ops_kernels")) found.kernels = parse_kernels(list());
  ::dlclose(handle);
  return found;
}

std::string OpLibrary::bodies(const std::vector<CustomNode>& nodes) const {
  if (!kernels) return "the library does not say for which ops";
  struct Count {
    int bodies = 0, nodes = 0;
  };
  std::map<std::string, Count> counts;
  for (const CustomNode& node : nodes) {
    const auto known = kernels->find(node.op);
    const bool kernel = known != kernels->end() && node.body <= known->second.domains &&
                        (node.type == 0 || known->second.types.count(node.type));
    ++counts[node.op].nodes;
    counts[node.op].bodies += !kernel;
  }
  std::string text;
  for (const auto& [op, count] : counts) {
    if (count.bodies == 0) continue;
    text += (text.empty() ? "" : "; ") + op + " as its body";
    if (count.bodies < count.nodes)
      text += " in " + std::to_string(count.bodies) + " of " + std::to_string(count.nodes) + " nodes";
  }
  return text;
}

}  // namespace temport::internal
