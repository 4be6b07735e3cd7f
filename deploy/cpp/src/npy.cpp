#include "npy.h"

#include <cstring>
#include <string>

namespace temport::internal {
namespace {

constexpr size_t kMaxHeader = 4096;

struct Descr {
  const char* text;
  temport_dtype dtype;
};

// numpy has no bfloat16: the ml_dtypes extension writes it as a two-byte void.
constexpr Descr kDescrs[] = {{"|b1", TEMPORT_BOOL},    {"<i4", TEMPORT_INT32},   {"<i8", TEMPORT_INT64},
                             {"<f2", TEMPORT_FLOAT16}, {"<f4", TEMPORT_FLOAT32}, {"<f8", TEMPORT_FLOAT64},
                             {"<V2", TEMPORT_BFLOAT16}, {"|V2", TEMPORT_BFLOAT16}, {"|u1", TEMPORT_UINT8},
                             {"|i1", TEMPORT_INT8},    {"<u2", TEMPORT_UINT16},  {"<i2", TEMPORT_INT16}};

// A cursor over the header, a Python dict literal with exactly the keys descr, fortran_order and shape.
class Header {
 public:
  explicit Header(std::string_view text) : rest_(text) {}

  bool take(char expected) {
    spaces();
    if (rest_.empty() || rest_.front() != expected) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool quoted(std::string_view& value) {
    spaces();
    if (rest_.empty() || (rest_.front() != '\'' && rest_.front() != '"')) return false;
    const size_t end = rest_.find(rest_.front(), 1);
    if (end == std::string_view::npos) return false;
    value = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return true;
  }
  bool word(std::string_view expected) {
    spaces();
    if (rest_.substr(0, expected.size()) != expected) return false;
    rest_.remove_prefix(expected.size());
    return true;
  }
  bool size(int64_t& value) {
    spaces();
    size_t digits = 0;
    for (value = 0; digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9'; ++digits) {
      if (digits == 15) return false;
      value = value * 10 + (rest_[digits] - '0');
    }
    rest_.remove_prefix(digits);
    return digits > 0;
  }
  bool shape(std::vector<int64_t>& sizes) {
    if (!take('(')) return false;
    while (!take(')')) {
      int64_t value;
      if (sizes.size() == kMaxRank || !size(value)) return false;
      sizes.push_back(value);
      // "(3,)" needs its comma, "(3, 4)" may go without the last one.
      if (!take(',')) return sizes.size() > 1 && take(')');
    }
    return true;
  }
  bool done() {
    spaces();
    return rest_.empty();
  }

 private:
  void spaces() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n')) rest_.remove_prefix(1);
  }
  std::string_view rest_;
};

struct Fields {
  std::string_view descr;
  std::vector<int64_t> shape;
  bool fortran = false;
  int seen = 0;  // one bit per key, so that a missing or repeated key is noticed
};

bool read_field(Header& header, Fields& fields) {
  std::string_view key;
  if (!header.quoted(key) || !header.take(':')) return false;
  const int bit = key == "descr" ? 1 : key == "fortran_order" ? 2 : key == "shape" ? 4 : 0;
  if (bit == 0 || (fields.seen & bit)) return false;
  fields.seen |= bit;
  if (bit == 1) return header.quoted(fields.descr);
  if (bit == 4) return header.shape(fields.shape);
  fields.fortran = header.word("True");
  return fields.fortran || header.word("False");
}

bool read_fields(std::string_view text, Fields& fields) {
  Header header(text);
  if (!header.take('{')) return false;
  while (!header.take('}')) {
    if (!read_field(header, fields)) return false;
    if (!header.take(',')) {
      if (!header.take('}')) return false;
      break;
    }
  }
  return fields.seen == 7 && header.done();
}

}  // namespace

Result<ArrayView> read_npy(const uint8_t* bytes, size_t size) {
  if (size < 10 || std::memcmp(bytes, "\x93NUMPY", 6) != 0) return refused("it is not a .npy array");
  const int version = bytes[6];
  if (version < 1 || version > 3) return refused("it is a .npy array of unknown version " + std::to_string(version));
  const size_t prefix = version == 1 ? 10 : 12;
  if (size < prefix) return refused("its .npy header is cut short");
  size_t length = bytes[8] | size_t{bytes[9]} << 8;
  if (version > 1) length |= size_t{bytes[10]} << 16 | size_t{bytes[11]} << 24;
  if (length > kMaxHeader || length > size - prefix) return refused("its .npy header is cut short or too long");

  Fields fields;
  if (!read_fields({reinterpret_cast<const char*>(bytes) + prefix, length}, fields))
    return refused("its .npy header is malformed");
  if (fields.fortran) return refused("it is a Fortran-ordered array; save it with numpy.ascontiguousarray");
  for (const auto& known : kDescrs) {
    if (fields.descr != known.text) continue;
    const auto count = element_count(fields.shape);
    const size_t present = size - prefix - length;
    if (!count || static_cast<uint64_t>(*count) * element_size(known.dtype) != present)
      return refused("its shape " + shape_text(fields.shape) + " of " + dtype_name(known.dtype) + " does not fit the " +
                     std::to_string(present) + " bytes of data present");
    return ArrayView{known.dtype, std::move(fields.shape), bytes + prefix + length, present};
  }
  return refused("its element type " + std::string(fields.descr) +
                 " is not one of bool, int32, int64, float16, bfloat16, float32, float64 (little-endian)");
}

Bytes write_npy(const ArrayView& array) {
  std::string header = "{'descr': '";
  for (const auto& known : kDescrs) {
    if (known.dtype != array.dtype) continue;
    header += known.text;
    break;
  }
  header += "', 'fortran_order': False, 'shape': (";
  for (const int64_t size : array.shape) header += std::to_string(size) + ",";
  header += "), }";
  // The data starts at a multiple of 64 bytes, so that a reader may map the file.
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  Bytes bytes = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
  bytes.push_back(static_cast<uint8_t>(header.size() & 255));
  bytes.push_back(static_cast<uint8_t>(header.size() >> 8));
  bytes.insert(bytes.end(), header.begin(), header.end());
  bytes.insert(bytes.end(), array.data, array.data + array.bytes);
  return bytes;
}

}  // namespace temport::internal
