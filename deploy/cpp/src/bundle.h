// An opened bundle directory: a manifest whose every file was found to be what it says.
#pragma once

#include <string>

#include "manifest.h"
#include "sha256.h"
#include "temport/result.hpp"
#include "tensor.h"

namespace temport::internal {

class BundleDirectory {
 public:
  // Checks the manifest, then the size and SHA-256 of every listed file, then that model.onnx describes itself with the
  // manifest's signature. A hash beside a file proves integrity, not authenticity: who can write the one can write both.
  static Result<BundleDirectory> open(const std::string& directory);

  // A listed file, checked again: what is used is what was hashed, even if the file changed after `open`.
  Result<Bytes> read(const std::string& name) const;

  const std::string& directory() const { return directory_; }
  const Manifest& manifest() const { return manifest_; }

 private:
  BundleDirectory(std::string directory, Manifest manifest)
      : directory_(std::move(directory)), manifest_(std::move(manifest)) {}

  // The same, in pieces and without keeping it.
  Result<void> check(const std::string& name, const FileEntry& entry) const;
  Result<void> compare(const std::string& name, const FileEntry& entry, uint64_t bytes, Sha256& digest) const;

  std::string directory_;
  Manifest manifest_;
};

}  // namespace temport::internal
