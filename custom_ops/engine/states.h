// The states of a step model between the memory of an instance and the outside: as tensors of the model, and as the saved
// state of one entry of the batch, whose bytes deploy/cpp/src/state_bytes.h lays out.
#pragma once

#include "sha256.h"
#include "temport_engine.h"

namespace temport::TEMPORT_ISA {

// One state, whatever its layout in the memory of an instance. A `row` is that of one entry in the tensor of the model.
struct StateForm {
  int32_t dtype;  // as in temport_engine_tensor
  int64_t (*row_bytes)(const int64_t* sizes);
  void (*load)(unsigned char* memory, const int64_t* sizes, int64_t entry, const unsigned char* row);
  void (*store)(const unsigned char* memory, const int64_t* sizes, int64_t entry, unsigned char* row);
};

constexpr unsigned char kSavedMagic[8] = {'T', 'M', 'P', 'S', 'T', 'A', 'T', '1'};
constexpr int64_t kDigestBytes = 32, kSavedHeader = sizeof kSavedMagic + kDigestBytes;
constexpr int32_t kBool = 9;

template <int64_t Count>
struct StateForms {
  StateForm form[Count > 0 ? Count : 1];
  unsigned char identity[kDigestBytes];  // of the model and the weights beside it

  void load(void* memory, const int64_t* sizes, int64_t batch, const void* const* states) const {
    for (int64_t i = 0; i < Count; ++i)
      for (int64_t entry = 0, bytes = form[i].row_bytes(sizes); entry < batch; ++entry)
        form[i].load(static_cast<unsigned char*>(memory), sizes, entry,
                     static_cast<const unsigned char*>(states[i]) + entry * bytes);
  }
  void store(const void* memory, const int64_t* sizes, int64_t batch, void* const* states) const {
    for (int64_t i = 0; i < Count; ++i)
      for (int64_t entry = 0, bytes = form[i].row_bytes(sizes); entry < batch; ++entry)
        form[i].store(static_cast<const unsigned char*>(memory), sizes, entry,
                      static_cast<unsigned char*>(states[i]) + entry * bytes);
  }

  int64_t saved_bytes(const int64_t* sizes) const {
    int64_t bytes = kSavedHeader + kDigestBytes;
    for (int64_t i = 0; i < Count; ++i) bytes += form[i].row_bytes(sizes);
    return bytes;
  }
  void save(const void* memory, const int64_t* sizes, int64_t entry, void* saved) const {
    auto* const to = static_cast<unsigned char*>(saved);
    __builtin_memcpy(to, kSavedMagic, sizeof kSavedMagic);
    __builtin_memcpy(to + sizeof kSavedMagic, identity, kDigestBytes);
    int64_t next = kSavedHeader;
    for (int64_t i = 0; i < Count; next += form[i++].row_bytes(sizes))
      form[i].store(static_cast<const unsigned char*>(memory), sizes, entry, to + next);
    sha256(to, static_cast<size_t>(next), to + next);
  }
  temport_engine_code restore(void* memory, const int64_t* sizes, int64_t entry, const void* saved, size_t bytes) const {
    const auto* const from = static_cast<const unsigned char*>(saved);
    const auto size = static_cast<size_t>(saved_bytes(sizes));
    if (bytes < sizeof kSavedMagic || !same(from, kSavedMagic, sizeof kSavedMagic)) return TEMPORT_ENGINE_NO_STATE;
    if (bytes < kSavedHeader || !same(from + sizeof kSavedMagic, identity, kDigestBytes)) return TEMPORT_ENGINE_OTHER_MODEL;
    unsigned char digest[kDigestBytes];
    if (bytes != size) return TEMPORT_ENGINE_DAMAGED;
    sha256(from, size - kDigestBytes, digest);
    if (!same(from + size - kDigestBytes, digest, kDigestBytes) || !all_bools(sizes, from + kSavedHeader))
      return TEMPORT_ENGINE_DAMAGED;
    int64_t next = kSavedHeader;
    for (int64_t i = 0; i < Count; next += form[i++].row_bytes(sizes))
      form[i].load(static_cast<unsigned char*>(memory), sizes, entry, from + next);
    return TEMPORT_ENGINE_OK;
  }

 private:
  static bool same(const unsigned char* a, const unsigned char* b, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      if (a[i] != b[i]) return false;
    return true;
  }
  // Whether every bool among the rows is 0 or 1.
  bool all_bools(const int64_t* sizes, const unsigned char* rows) const {
    for (int64_t i = 0; i < Count; rows += form[i++].row_bytes(sizes))
      for (int64_t j = 0; form[i].dtype == kBool && j < form[i].row_bytes(sizes); ++j)
        if (rows[j] > 1) return false;
    return true;
  }
};

}  // namespace temport::TEMPORT_ISA
