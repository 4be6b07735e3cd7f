#include "state_bytes.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace temport::internal {
namespace {

constexpr uint8_t kMagic[8] = {'T', 'M', 'P', 'S', 'T', 'A', 'T', '1'};
constexpr size_t kDigest = sizeof(Digest), kHeader = sizeof kMagic + kDigest;

Digest digest_of(const uint8_t* bytes, size_t size) {
  Sha256 sha;
  sha.update(bytes, size);
  return sha.digest();
}

}  // namespace

size_t state_size(const std::vector<StateRow>& rows) {
  size_t size = kHeader + kDigest;
  for (const auto& row : rows) size += row.bytes;
  return size;
}

void write_state(const Digest& model, const std::vector<StateRow>& rows, uint8_t* to) {
  uint8_t* next = std::copy(std::begin(kMagic), std::end(kMagic), to);
  next = std::copy(model.begin(), model.end(), next);
  for (const auto& row : rows) next = std::copy_n(row.data, row.bytes, next);
  const Digest digest = digest_of(to, static_cast<size_t>(next - to));
  std::copy(digest.begin(), digest.end(), next);
}

Result<void> read_state(const Digest& model, const uint8_t* bytes, size_t size, const std::vector<StateRow>& rows) {
  if (size < sizeof kMagic || std::memcmp(bytes, kMagic, sizeof kMagic) != 0)
    return refused("the state is refused: it is not the saved state of a stream");
  if (size < kHeader || std::memcmp(bytes + sizeof kMagic, model.data(), kDigest) != 0)
    return refused("the state is refused: it was saved with another model");
  if (size != state_size(rows))
    return refused("the state is refused: it has " + std::to_string(size) + " bytes; this model's has " +
                   std::to_string(state_size(rows)));
  const uint8_t* end = bytes + size - kDigest;
  const Digest digest = digest_of(bytes, size - kDigest);
  if (std::memcmp(end, digest.data(), kDigest) != 0)
    return refused("the state is refused: it is damaged, its SHA-256 is another one");
  const uint8_t* next = bytes + kHeader;
  for (const auto& row : rows) {
    const auto no_bool = [](uint8_t value) { return value > 1; };
    if (row.dtype == TEMPORT_BOOL && std::any_of(next, next + row.bytes, no_bool))
      return refused("the state is refused: it holds a bool that is neither 0 nor 1");
    next += row.bytes;
  }
  next = bytes + kHeader;
  for (const auto& row : rows) {
    std::copy_n(next, row.bytes, row.data);
    next += row.bytes;
  }
  return {};
}

}  // namespace temport::internal
