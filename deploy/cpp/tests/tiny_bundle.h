// Bundles on disk, small enough to write by hand: y = 2 x with x, y [batch, 3] float32, batch 1 to 4, and a step model
// that sums its frames [batch, 1, 3] and keeps the last two (stand_in_runtime.cpp computes both).
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "npy.h"
#include "sha256.h"
#include "tensor.h"

namespace tiny {

using temport::internal::ArrayView;
using temport::internal::Bytes;

inline const std::string kSignature =
    R"({"inputs": [{"name": "x", "dtype": "float32", "shape": [{"name": "batch", "min": 1, "opt": 2, "max": 4}, 3]}],)"
    R"( "outputs": [{"name": "y", "dtype": "float32", "shape": [{"name": "batch", "min": 1, "opt": 2, "max": 4}, 3]}]})";

inline const std::string kBatch = R"({"name": "batch", "min": 1, "opt": 1, "max": 4})";

inline std::string spec(const std::string& name, const std::string& dtype, const std::string& sizes) {
  return R"({"name": ")" + name + R"(", "dtype": ")" + dtype + R"(", "shape": [)" + kBatch + ", " + sizes + "]}";
}

inline const std::string kStepSignature =
    R"({"inputs": [)" + spec("frame", "float32", "1, 3") + ", " + spec("state.frames", "int64", "1") + ", " +
    spec("state.sum", "float32", "3") + ", " + spec("state.last", "float32", "2, 3") + R"(], "outputs": [)" +
    spec("output", "float32", "3") + ", " + spec("next_state.frames", "int64", "1") + ", " +
    spec("next_state.sum", "float32", "3") + ", " + spec("next_state.last", "float32", "2, 3") + R"(], "states": [)" +
    R"({"input": "state.frames", "output": "next_state.frames"}, {"input": "state.sum", "output": "next_state.sum"}, )" +
    R"({"input": "state.last", "output": "next_state.last", "in_place": true}]})";

inline std::string digest(const std::string& content) {
  temport::internal::Sha256 sha;
  sha.update(content.data(), content.size());
  return sha.hex();
}

// One protobuf field of wire type 2.
inline std::string field(int number, const std::string& payload) {
  std::string bytes(1, static_cast<char>(number << 3 | 2));
  size_t length = payload.size();
  for (; length > 127; length >>= 7) bytes += static_cast<char>((length & 127) | 128);
  return bytes + static_cast<char>(length) + payload;
}

inline std::string model(const std::string& signature = kSignature) {
  return field(2, "temport") + field(14, field(1, "temport.signature") + field(2, signature));
}

inline std::string little_endian(uint64_t value, size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes && value; ++i, value >>= 8) text[i] = static_cast<char>(value & 255);
  return text;
}

// A zip of stored members; the checksum field stays 0, which the reader does not look at.
inline std::string zip(const std::vector<std::pair<std::string, std::string>>& members) {
  std::string archive, central;
  for (const auto& [name, content] : members) {
    const std::string sizes = little_endian(0, 4) + little_endian(content.size(), 4) + little_endian(content.size(), 4) +
                              little_endian(name.size(), 2) + little_endian(0, 2);
    central += little_endian(0x02014b50, 4) + little_endian(20, 2) + little_endian(20, 2) + little_endian(0, 8) + sizes +
               little_endian(0, 10) + little_endian(archive.size(), 4) + name;
    archive += little_endian(0x04034b50, 4) + little_endian(20, 2) + little_endian(0, 8) + sizes + name + content;
  }
  return archive + central + little_endian(0x06054b50, 4) + little_endian(0, 4) + little_endian(members.size(), 2) +
         little_endian(members.size(), 2) + little_endian(central.size(), 4) + little_endian(archive.size(), 4) +
         little_endian(0, 2);
}

template <class T>
std::string npy(temport_dtype dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
  const ArrayView view{dtype, std::move(shape), reinterpret_cast<const uint8_t*>(values.data()),
                       values.size() * sizeof(T)};
  const Bytes bytes = temport::internal::write_npy(view);
  return {bytes.begin(), bytes.end()};
}

inline std::string vectors() {
  return zip({{"one/input/x.npy", npy<float>(TEMPORT_FLOAT32, {1, 3}, {1, 2, 3})},
              {"one/output/y.npy", npy<double>(TEMPORT_FLOAT64, {1, 3}, {2, 4, 6})},
              {"one/bound/y.npy", npy<double>(TEMPORT_FLOAT64, {4}, {1e-6, 0, 6, 1})}});
}

// Two streams of three frames.
inline std::string step_vectors() {
  return zip({{"one/input/frame.npy", npy<float>(TEMPORT_FLOAT32, {2, 3, 3},
                                                 {1, 2, 3, 1, 1, 1, 0, 0, 0, 4, 5, 6, 0, 0, 1, 1, 0, 0})},
              {"one/output/output.npy",
               npy<double>(TEMPORT_FLOAT64, {2, 3, 3},
                           {101, 202, 303, 202, 303, 404, 102, 103, 104, 404, 505, 606, 404, 505, 707, 105, 5, 107})},
              {"one/bound/output.npy", npy<double>(TEMPORT_FLOAT64, {4}, {1e-6, 0, 707, 1})}});
}

inline const std::string kTensors = R"([{"name": "declared", "dtype": "float32", "shape": []}])";

inline void write(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

// `more` files by their names.
inline std::string manifest(const std::string& model_bytes, const std::string& vectors_bytes,
                            const std::string& signature = kSignature,
                            const std::vector<std::pair<std::string, std::string>>& more = {}) {
  const auto entry = [](const std::string& name, const std::string& content) {
    return "\"" + name + "\": {\"sha256\": \"" + digest(content) + "\", \"bytes\": " + std::to_string(content.size()) +
           "}";
  };
  std::string files = entry("model.onnx", model_bytes) + ", " + entry("vectors.npz", vectors_bytes);
  for (const auto& [name, content] : more) files += ", " + entry(name, content);
  const std::string ops = signature.find("states") == std::string::npos ? "standard" : "custom";
  const std::string declaration = R"({"arch": "tiny", "options": {}, "inputs": )" + kTensors + R"(, "outputs": )" + kTensors +
                                  R"(, "opset": 20, "ops": ")" + ops + R"(", "precision": "float32", "seed": 0, )" +
                                  R"("weights": "seed", "semantics": 1, "notes": []})";
  return R"({"format": 1, "semantics": 1, "temport": "0", "masks": [], "versions": {}, "signature": )" + signature +
         ", \"files\": {" + files + "}, \"declaration\": " + declaration + "}";
}

// A directory that vanishes with the object: the first model's, or what is given.
class Directory {
 public:
  explicit Directory(const std::string& signature = kSignature, const std::string& recorded = vectors()) {
    std::string name = (std::filesystem::temp_directory_path() / "temport-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
    write(path_ / "model.onnx", model(signature));
    write(path_ / "vectors.npz", recorded);
    write(path_ / "manifest.json", manifest(model(signature), recorded, signature));
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string string() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace tiny
