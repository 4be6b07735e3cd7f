#include "bundle.h"

#include <filesystem>

#include "external_data.h"
#include "file.h"
#include "onnx_metadata.h"
#include "sha256.h"

namespace temport::internal {
namespace {

constexpr uint64_t kMaxManifest = 4 << 20, kMaxDigestFile = 255;
constexpr const char *kManifestFile = "manifest.json", *kDigestFile = "manifest.sha256";

std::string sha256_of(const Bytes& bytes) {
  Sha256 sha;
  sha.update(bytes.data(), bytes.size());
  return sha.hex();
}

Result<void> check_model(const Bytes& model, const Manifest& manifest) {
  const auto metadata = read_onnx_metadata(model.data(), model.size());
  if (!metadata) return metadata.error();
  const auto text = metadata->find("temport.signature");
  if (text == metadata->end()) return refused("it carries no temport.signature");
  const auto own = parse_json(text->second);
  if (!own) return refused("its temport.signature is refused: " + own.error().message);
  if (*own != manifest.signature_as_written) return refused("its signature is not the manifest's");
  const auto listed = [&](std::string_view name) {
    return is_weights(name) && manifest.files.count(std::string(name)) > 0;
  };
  return check_external_data({reinterpret_cast<const char*>(model.data()), model.size()}, listed);
}

// The digest beside the manifest, which bundles of before 0.2 do not have, and the one that the caller expects.
Result<void> check_digest(const std::string& directory, const std::string& digest, const std::string& expected) {
  std::error_code none;
  const std::string path = directory + "/" + kDigestFile;
  if (std::filesystem::exists(std::filesystem::symlink_status(path, none))) {
    const auto beside = read_file(path, kMaxDigestFile, Links::kRefuse);
    if (!beside) return beside.error();
    if (std::string(beside->begin(), beside->end()) != digest + "  " + kManifestFile + "\n")
      return refused(directory + "/" + kManifestFile + " differs from its " + kDigestFile);
  }
  if (expected.empty() || expected == digest) return {};
  return refused(directory + " is another bundle: its digest is " + digest + ", expected was " + expected);
}

// A name may have the folder of an engine before it, and what leads there must be the bundle's own as well.
Result<std::string> path_in(const std::string& directory, const std::string& name) {
  std::error_code none;
  const std::string folder = directory + "/" + name.substr(0, name.find('/'));
  if (name.find('/') != std::string::npos && std::filesystem::is_symlink(folder, none))
    return refused(folder + " is a symbolic link; a bundle holds its files itself");
  return directory + "/" + name;
}

Result<void> check_unlisted(const std::string& directory, const Manifest& manifest) {
  std::error_code problem;
  std::filesystem::recursive_directory_iterator files(directory, problem);
  for (; !problem && files != std::filesystem::recursive_directory_iterator(); files.increment(problem)) {
    if (std::filesystem::is_directory(files->symlink_status(problem))) continue;
    const std::string name = files->path().lexically_relative(directory).generic_string();
    if (name != kManifestFile && name != kDigestFile && !manifest.files.count(name))
      return refused(directory + "/" + name + " is not listed in the manifest");
  }
  if (problem) return refused(directory + " cannot be listed: " + problem.message());
  return {};
}

}  // namespace

Result<BundleDirectory> BundleDirectory::open(const std::string& directory, const std::string& expected, bool strict) {
  if (directory.empty()) return refused("name the directory of a bundle; the path is empty");
  const std::string path = directory + "/" + kManifestFile;
  const auto text = read_file(path, kMaxManifest, Links::kRefuse);
  if (!text) return refused(directory + " is not a bundle: " + text.error().message);
  const std::string digest = sha256_of(*text);
  if (auto checked = check_digest(directory, digest, expected); !checked) return checked.error();
  auto manifest = read_manifest({reinterpret_cast<const char*>(text->data()), text->size()});
  if (!manifest) return refused(path + " is refused: " + manifest.error().message);

  BundleDirectory bundle(directory, *std::move(manifest), digest);
  for (const auto& [name, entry] : bundle.manifest_.files) {
    if (name != kModelFile) {
      if (auto checked = bundle.check(name, entry); !checked) return checked.error();
      continue;
    }
    const auto bytes = bundle.read(name);
    if (!bytes) return bytes.error();
    if (auto model = check_model(*bytes, bundle.manifest_); !model)
      return refused(directory + "/" + name + " is refused: " + model.error().message);
  }
  if (strict)
    if (auto listed = check_unlisted(directory, bundle.manifest_); !listed) return listed.error();
  return bundle;
}

Result<Bytes> BundleDirectory::read(const std::string& name) const {
  const auto entry = manifest_.files.find(name);
  if (entry == manifest_.files.end()) return refused(directory_ + " has no " + name + " in its manifest");
  const auto path = path_in(directory_, name);
  if (!path) return path.error();
  Sha256 digest;
  auto bytes = read_file(*path, entry->second.bytes, Links::kRefuse, &digest);
  if (!bytes) return bytes.error();
  if (auto same = compare(name, entry->second, bytes->size(), digest); !same) return same.error();
  return bytes;
}

Result<void> BundleDirectory::check(const std::string& name, const FileEntry& entry) const {
  const auto path = path_in(directory_, name);
  if (!path) return path.error();
  Sha256 digest;
  const auto bytes = hash_file(*path, entry.bytes, Links::kRefuse, digest);
  if (!bytes) return bytes.error();
  return compare(name, entry, *bytes, digest);
}

Result<void> BundleDirectory::compare(const std::string& name, const FileEntry& entry, uint64_t bytes,
                                      Sha256& digest) const {
  const std::string path = directory_ + "/" + name;
  if (bytes != entry.bytes)
    return refused(path + " has " + std::to_string(bytes) + " bytes where the manifest says " +
                   std::to_string(entry.bytes));
  if (digest.hex() != entry.sha256) return refused(path + " differs from its manifest: its SHA-256 is another one");
  return {};
}

}  // namespace temport::internal
