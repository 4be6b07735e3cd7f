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
  // Checks the manifest against its digest and its schema, then the size and SHA-256 of every listed file, then that
  // model.onnx bears the manifest's signature and would have a runtime read no file but the listed weights. A hash beside
  // a file proves integrity, not authenticity: who can write the one can write both, unless `expected`, the digest of the
  // bundle that is wanted, came another way. `strict` also refuses files that the manifest does not list.
  static Result<BundleDirectory> open(const std::string& directory, const std::string& expected = "",
                                      bool strict = false);

  // A listed file, checked again: what is used is what was hashed, even if the file changed after `open`.
  Result<Bytes> read(const std::string& name) const;

  const std::string& directory() const { return directory_; }
  const Manifest& manifest() const { return manifest_; }
  // SHA-256 of manifest.json, in hexadecimal.
  const std::string& digest() const { return digest_; }

 private:
  BundleDirectory(std::string directory, Manifest manifest, std::string digest)
      : directory_(std::move(directory)), manifest_(std::move(manifest)), digest_(std::move(digest)) {}

  // The same, in pieces and without keeping it.
  Result<void> check(const std::string& name, const FileEntry& entry) const;
  Result<void> compare(const std::string& name, const FileEntry& entry, uint64_t bytes, Sha256& digest) const;

  std::string directory_;
  Manifest manifest_;
  std::string digest_;
};

}  // namespace temport::internal
