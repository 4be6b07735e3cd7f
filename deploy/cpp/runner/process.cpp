#include "process.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace temport::runner {
namespace {

// A field of /proc/self/status in bytes, or 0.
int64_t status(const std::string& field) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.rfind(field + ":", 0) == 0) return 1024 * std::stoll(line.substr(field.size() + 1));
  return 0;
}

// The files whose code is mapped into the process, with their sizes.
std::map<std::string, int64_t> mapped() {
  std::map<std::string, int64_t> found;
  std::ifstream file("/proc/self/maps");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string range, access, offset, device, inode, path;
    words >> range >> access >> offset >> device >> inode;
    std::getline(words >> std::ws, path);
    if (access.find('x') == std::string::npos || path.empty() || path[0] != '/') continue;
    std::error_code absent;
    const auto size = std::filesystem::file_size(path, absent);
    if (!absent) found[path] = static_cast<int64_t>(size);
  }
  return found;
}

}  // namespace

Footprint::Footprint() : resident_(status("VmRSS")), mapped_(mapped()), begun_(std::chrono::steady_clock::now()) {}

void Footprint::loaded() {
  load_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
}

internal::Json Footprint::taken() const {
  internal::Json told = {{"load", load_}};
  if (resident_ == 0) return told;
  int64_t libraries = 0;
  for (const auto& [path, bytes] : mapped())
    if (mapped_.count(path) == 0) libraries += bytes;
  told["libraries"] = libraries;
  told["memory"] = std::max<int64_t>(0, status("VmHWM") - resident_);
  return told;
}

}  // namespace temport::runner
