#include <cstdlib>
#include <cstring>

#include "state_bytes.h"

using namespace temport::internal;

// Whatever is refused changes nothing; whatever is accepted is written back as the same bytes. The first byte says whether
// the digest at the end is made to agree, so that both the check and what lies behind it are reached.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  Bytes state(data + 1, data + size);
  if ((data[0] & 1) && state.size() >= sizeof(Digest)) {
    Sha256 sha;
    sha.update(state.data(), state.size() - sizeof(Digest));
    const Digest digest = sha.digest();
    std::memcpy(state.data() + state.size() - sizeof(Digest), digest.data(), sizeof(Digest));
  }
  const Digest model{};
  uint8_t sum[12], seen[3];
  std::memset(sum, 0xa5, sizeof sum);
  std::memset(seen, 0xa5, sizeof seen);
  const std::vector<StateRow> rows = {{TEMPORT_FLOAT32, sum, sizeof sum}, {TEMPORT_BOOL, seen, sizeof seen}};
  if (!read_state(model, state.data(), state.size(), rows)) {
    for (const uint8_t byte : sum)
      if (byte != 0xa5) std::abort();
    for (const uint8_t byte : seen)
      if (byte != 0xa5) std::abort();
    return 0;
  }
  for (const uint8_t byte : seen)
    if (byte > 1) std::abort();
  Bytes again(state_size(rows));
  write_state(model, rows, again.data());
  if (again != state) std::abort();
  return 0;
}
