// The step model of tiny_bundle.h with an engine (stand_in_engine.cpp), and what may be wrong with one.
#pragma once

#include <algorithm>
#include <iterator>

#include "temport/temport.hpp"
#include "tiny_bundle.h"

namespace tiny {

using Words = std::vector<std::pair<std::string, std::string>>;

inline std::string replaced_everywhere(std::string text, const Words& words) {
  for (const auto& [from, to] : words)
    for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
      text.replace(at, from.size(), to);
  return text;
}

// This one, as `uname -m` says it.
inline std::string machine() {
#if defined(__aarch64__)
  return "aarch64";
#else
  return "x86_64";
#endif
}

// `in_report` and `in_library`: words of engine.json and of the library, and what takes their place, in the latter with as
// many letters. Without `listed` the manifest does not list the library; `library_file` may be another one.
inline void add_engine(const Directory& directory, const std::string& signature = kStepSignature,
                       const Words& in_report = {}, const Words& in_library = {}, bool listed = true,
                       const char* library_file = STAND_IN_ENGINE) {
  std::ifstream file(library_file, std::ios::binary);
  std::string library{std::istreambuf_iterator<char>(file), {}};
  const std::string sha256 = digest(model(signature));
  library = replaced_everywhere(library, {{"sixty-four-digits-of-the-model-that-this-engine-was-compiled-from", sha256 + '\0'}});
  library = replaced_everywhere(library, in_library);
  const std::string report = replaced_everywhere(
      R"({"format": 1, "engines": [{"target": "tensorrt", "file": "engine.tensorrt.plan"}, {"target": "native", )"
      R"("file": "engine/libtiny.so", "machine": ")" + machine() + R"(", "isa": "portable", "model_sha256": ")" + sha256 +
          R"(", "versions": {"temport": ")" + temport_version() + R"("}}]})",
      in_report);
  std::filesystem::create_directory(directory.path() / "engine");
  write(directory.path() / "engine" / "libtiny.so", library);
  write(directory.path() / "engine.json", report);
  Words files = {{"engine.json", report}};
  if (listed) files.emplace_back("engine/libtiny.so", library);
  write(directory.path() / "manifest.json", manifest(model(signature), step_vectors(), signature, files));
}

}  // namespace tiny

// Nothing is asked for: the engine, where the bundle has one.
inline temport::SessionOptions own_engine() { return {}; }
