#include "bundle.h"

#include "file.h"
#include "onnx_metadata.h"
#include "sha256.h"

namespace temport::internal {
namespace {

constexpr uint64_t kMaxManifest = 4 << 20;

Result<void> check_model(const Bytes& model, const Signature& signature) {
  const auto metadata = read_onnx_metadata(model.data(), model.size());
  if (!metadata) return metadata.error();
  const auto text = metadata->find("temport.signature");
  if (text == metadata->end()) return refused("it carries no temport.signature");
  const auto own = read_signature(text->second);
  if (!own) return refused("its temport.signature is refused: " + own.error().message);
  if (!(*own == signature)) return refused("its signature is not the manifest's");
  return {};
}

}  // namespace

Result<BundleDirectory> BundleDirectory::open(const std::string& directory) {
  const std::string path = directory + "/manifest.json";
  const auto text = read_file(path, kMaxManifest, Links::kRefuse);
  if (!text) return refused(directory + " is not a bundle: " + text.error().message);
  auto manifest = read_manifest({reinterpret_cast<const char*>(text->data()), text->size()});
  if (!manifest) return refused(path + " is refused: " + manifest.error().message);
  if (!manifest->files.count(kModelFile)) return refused(path + " is refused: it does not list model.onnx");

  BundleDirectory bundle(directory, *std::move(manifest));
  for (const auto& [name, entry] : bundle.manifest_.files) {
    if (name != kModelFile) {
      if (auto checked = bundle.check(name, entry); !checked) return checked.error();
      continue;
    }
    const auto bytes = bundle.read(name);
    if (!bytes) return bytes.error();
    if (auto model = check_model(*bytes, bundle.manifest_.signature); !model)
      return refused(directory + "/" + name + " is refused: " + model.error().message);
  }
  return bundle;
}

Result<Bytes> BundleDirectory::read(const std::string& name) const {
  const auto entry = manifest_.files.find(name);
  if (entry == manifest_.files.end()) return refused(directory_ + " has no " + name + " in its manifest");
  Sha256 digest;
  auto bytes = read_file(directory_ + "/" + name, entry->second.bytes, Links::kRefuse, &digest);
  if (!bytes) return bytes.error();
  if (auto same = compare(name, entry->second, bytes->size(), digest); !same) return same.error();
  return bytes;
}

Result<void> BundleDirectory::check(const std::string& name, const FileEntry& entry) const {
  Sha256 digest;
  const auto bytes = hash_file(directory_ + "/" + name, entry.bytes, Links::kRefuse, digest);
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
