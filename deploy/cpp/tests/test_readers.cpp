#include <doctest/doctest.h>

#include <random>

#include "json.h"
#include "npz.h"
#include "onnx_metadata.h"
#include "tiny_bundle.h"

using namespace temport::internal;
using temport::Result;

namespace {

Result<ArrayView> npy_of(const std::string& text) {
  return read_npy(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

Result<std::map<std::string, ArrayView>> npz_of(const std::string& text) {
  return read_npz(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

std::string npy_file(const std::string& header, const std::string& data) {
  return std::string("\x93NUMPY\x01\x00", 8) + tiny::little_endian(header.size(), 2) + header + data;
}

const std::string kSix(24, '\1');

}  // namespace

TEST_CASE("sha256 of the FIPS 180-4 examples") {
  CHECK(tiny::digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(tiny::digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(tiny::digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(tiny::digest(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("the processor's own instructions give what the standard says, however the bytes come") {
  std::mt19937 random(7);
  std::vector<uint8_t> bytes(64 * 40);
  for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
  const auto fast = sha256_blocks_of_processor();
  for (size_t count = 0; fast && count <= 40; ++count) {
    Sha256State plain, own;
    for (auto& word : plain) word = static_cast<uint32_t>(random());
    own = plain;
    sha256_blocks_plain(plain, bytes.data(), count);
    fast(own, bytes.data(), count);
    CHECK(own == plain);
  }
  for (size_t size = 0; size < 200; ++size) {
    Sha256 whole, parts;
    whole.update(bytes.data(), size);
    for (size_t at = 0, step = 1; at < size; at += step) parts.update(bytes.data() + at, step = std::min(size - at, 1 + random() % 70));
    CHECK(whole.hex() == parts.hex());
  }
}

TEST_CASE("npy round trip keeps shape, type and bytes") {
  for (const auto& shape : std::vector<std::vector<int64_t>>{{}, {6}, {2, 3}, {1, 6, 1}, {0, 3}}) {
    const std::vector<float> values(static_cast<size_t>(*element_count(shape)), 1.5f);
    const std::string file = tiny::npy<float>(TEMPORT_FLOAT32, shape, values);
    const auto array = npy_of(file);
    REQUIRE(array);
    CHECK(array->shape == shape);
    CHECK(array->dtype == TEMPORT_FLOAT32);
    CHECK(array->bytes == values.size() * sizeof(float));
    CHECK((array->data - reinterpret_cast<const uint8_t*>(file.data())) % 64 == 0);
  }
}

TEST_CASE("npy headers as numpy writes them") {
  CHECK(npy_of(npy_file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", kSix)));
  CHECK(npy_of(npy_file("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }\n", kSix)));
  CHECK(npy_of(npy_file("{'descr': '|b1', 'fortran_order': False, 'shape': (), }\n", "\1")));
}

TEST_CASE("npy files that are refused") {
  const std::string rest = "'fortran_order': False, 'shape': (2, 3), }";
  const std::vector<std::string> files = {
      "",
      "\x93NUMPY",
      std::string("\x93NUMPY\x04\x00\x00\x00\x00\x00\x00\x00", 14),
      npy_file("{'descr': '<f4', " + rest, kSix.substr(1)),
      npy_file("{'descr': '<f4', " + rest, kSix + "x"),
      npy_file("{'descr': '>f4', " + rest, kSix),
      npy_file("{'descr': '|O', " + rest, kSix),
      npy_file("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", kSix),
      npy_file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3), }", kSix),
      npy_file("{'descr': '<f4', 'fortran_order': False, 'shape': (6), }", kSix),
      npy_file("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999, 99999999999999), }", kSix),
      npy_file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,6), }", kSix),
      npy_file("{'descr': '<f4', 'shape': (2, 3), }", kSix),
      npy_file("{'descr': '<f4', 'descr': '<f4', " + rest, kSix),
      npy_file("{'descr': '<f4', 'extra': 1, " + rest, kSix),
      npy_file("{'descr': '<f4', " + rest + "; import os", kSix),
      npy_file("{'descr': '<f4', " + rest, kSix).substr(0, 40),
  };
  for (const auto& file : files) CHECK_MESSAGE(!npy_of(file), file);
}

TEST_CASE("npz members are found by name") {
  const std::string archive = tiny::vectors();
  const auto arrays = npz_of(archive);
  REQUIRE(arrays);
  CHECK(arrays->size() == 3);
  CHECK(arrays->at("one/input/x").shape == std::vector<int64_t>{1, 3});
}

TEST_CASE("npz archives that are refused") {
  const std::string array = tiny::npy<float>(TEMPORT_FLOAT32, {1}, {1}), good = tiny::vectors();
  CHECK(!npz_of(""));
  for (size_t cut = 1; cut < good.size(); cut += 7) CHECK(!npz_of(good.substr(0, good.size() - cut)));
  CHECK(!npz_of(tiny::zip({{"a.npy", array}, {"a.npy", array}})));
  CHECK(!npz_of(tiny::zip({{"a.txt", array}})));
  CHECK(!npz_of(tiny::zip({{"a.npy", "not an array"}})));

  const std::string archive = tiny::zip({{"a.npy", array}});
  const size_t central = archive.find("PK\1\2");
  const auto patched = [&](size_t at, char value) {
    std::string copy = archive;
    copy[central + at] = value;
    return npz_of(copy);
  };
  CHECK(!patched(8, 1));         // encrypted
  CHECK(!patched(10, 8));        // deflated
  CHECK(!patched(42, 1));        // local header elsewhere
  CHECK(!patched(45, '\x7f'));   // local header outside
  CHECK(!patched(23, '\x7f'));   // sizes disagree
  CHECK(patched(4, 20));         // the version that made it does not matter
}

TEST_CASE("overlapping npz members are refused") {
  // The second member's directory entry points at the first member's header: same bytes, two names.
  const std::string array = tiny::npy<float>(TEMPORT_FLOAT32, {1}, {1});
  std::string archive = tiny::zip({{"a.npy", array}, {"b.npy", array}});
  const size_t second = archive.rfind("PK\1\2");
  for (int i = 0; i < 4; ++i) archive[second + 42 + i] = 0;
  const auto arrays = npz_of(archive);
  REQUIRE(!arrays);
  CHECK(arrays.error().message.find("overlap") != std::string::npos);
}

TEST_CASE("json within limits") {
  CHECK(parse_json(R"({"a": [1, 2, {"b": null}]})"));
  CHECK(!parse_json(""));
  CHECK(!parse_json("{"));
  CHECK(!parse_json("{} x"));
  CHECK(!parse_json("\"\xff\""));
  CHECK(!parse_json(R"({"a": 1, "a": 2})"));
  CHECK(!parse_json(std::string(100, '[') + std::string(100, ']')));
  CHECK(!parse_json(std::string(1000000, '[')));
  std::string many = "[0";
  for (int i = 0; i < 200000; ++i) many += ",0";
  CHECK(!parse_json(many + "]"));
}

TEST_CASE("metadata of an ONNX file") {
  const auto read = [](const std::string& text) {
    return read_onnx_metadata(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  };
  const auto metadata = read(tiny::model());
  REQUIRE(metadata);
  CHECK(metadata->at("temport.signature") == tiny::kSignature);
  CHECK(read(""));
  CHECK(!read(tiny::model().substr(0, 40)));
  CHECK(!read("\x0f"));                  // wire type 7 does not exist
  CHECK(!read(std::string(11, '\x80')));  // a number that never ends
}
