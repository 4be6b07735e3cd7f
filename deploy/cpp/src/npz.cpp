#include "npz.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "npy.h"

namespace temport::internal {
namespace {

// Field offsets are those of PKWARE's APPNOTE.TXT, 4.3.7, 4.3.12 and 4.3.16.
constexpr size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22;
constexpr uint32_t kLocalMagic = 0x04034b50, kCentralMagic = 0x02014b50, kEndMagic = 0x06054b50;

struct Cursor {
  const uint8_t* bytes;
  size_t size;

  bool holds(uint64_t offset, uint64_t count) const { return offset <= size && count <= size - offset; }
  uint32_t u16(size_t at) const { return bytes[at] | uint32_t{bytes[at + 1]} << 8; }
  uint32_t u32(size_t at) const { return u16(at) | u16(at + 2) << 16; }
};

struct Range {
  uint64_t begin, end;
};

Result<size_t> find_end(const Cursor& zip) {
  if (zip.size < kEndSize) return refused("it is not a zip archive");
  // An archive comment of at most 65535 bytes may follow the record.
  const size_t last = zip.size - kEndSize;
  const size_t first = last - std::min<size_t>(last, 65535);
  for (size_t at = last;; --at) {
    if (zip.u32(at) == kEndMagic && zip.u16(at + 20) == zip.size - at - kEndSize) return at;
    if (at == first) return refused("it is not a zip archive or is cut short");
  }
}

struct Member {
  std::string name;
  Range data;
  size_t next;  // offset of the next central record
};

Result<Member> read_member(const Cursor& zip, size_t at, size_t central_end) {
  if (at + kCentralSize > central_end || zip.u32(at) != kCentralMagic)
    return refused("its central directory is damaged");
  const size_t name_size = zip.u16(at + 28);
  const size_t next = at + kCentralSize + name_size + zip.u16(at + 30) + zip.u16(at + 32);
  if (next > central_end) return refused("its central directory is damaged");
  std::string name(reinterpret_cast<const char*>(zip.bytes) + at + kCentralSize, name_size);
  if (name.find('\0') != std::string::npos) return refused("a member's name holds a NUL");
  if (zip.u16(at + 8) & 1) return refused("its member " + name + " is encrypted");
  if (zip.u16(at + 10) != 0) return refused("its member " + name + " is compressed; only stored members are read");
  const uint64_t stored = zip.u32(at + 20), local = zip.u32(at + 42);
  if (stored != zip.u32(at + 24)) return refused("its member " + name + " has two different sizes");
  if (!zip.holds(local, kLocalSize) || zip.u32(local) != kLocalMagic)
    return refused("its member " + name + " has no local header");
  const uint64_t begin = local + kLocalSize + zip.u16(local + 26) + zip.u16(local + 28);
  if (!zip.holds(begin, stored)) return refused("its member " + name + " lies outside the archive");
  return Member{std::move(name), {begin, begin + stored}, next};
}

}  // namespace

Result<std::map<std::string, ArrayView>> read_npz(const uint8_t* bytes, size_t size) {
  const Cursor zip{bytes, size};
  const auto end = find_end(zip);
  if (!end) return end.error();
  const size_t count = zip.u16(*end + 10);
  const uint64_t central = zip.u32(*end + 16), central_end = central + zip.u32(*end + 12);
  if (zip.u16(*end + 4) != 0 || zip.u16(*end + 8) != count || central_end != *end)
    return refused("its end record is damaged, or it is a zip64 or multi-disk archive");

  std::map<std::string, ArrayView> arrays;
  std::vector<Range> ranges;
  size_t at = central;
  for (size_t i = 0; i < count; ++i) {
    auto member = read_member(zip, at, *end);
    if (!member) return member.error();
    at = member->next;
    std::string name = member->name;
    if (name.size() < 5 || name.compare(name.size() - 4, 4, ".npy") != 0)
      return refused("its member " + name + " is not a .npy array");
    auto array = read_npy(bytes + member->data.begin, member->data.end - member->data.begin);
    if (!array) return refused("its member " + name + " is refused: " + array.error().message);
    ranges.push_back(member->data);
    name.resize(name.size() - 4);
    if (!arrays.emplace(std::move(name), *std::move(array)).second)
      return refused("its member " + member->name + " appears twice");
  }
  if (at != *end) return refused("its central directory is damaged");
  // Overlapping members would let a small archive claim far more data than it holds.
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].begin < ranges[i - 1].end) return refused("two of its members overlap");
  return arrays;
}

}  // namespace temport::internal
