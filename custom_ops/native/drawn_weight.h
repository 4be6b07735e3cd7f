// Random weights in the types that kernels read, for the kernel checks.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "check_problem.h"
#include "problem.h"

namespace temport {

// A weight `[before, inputs, behind]` in one of the types that kernels read, with numbers of about -1 to 1.
struct Drawn : WeightData {
  Drawn(int64_t before, int64_t in, int64_t after, std::mt19937& random, Bytes& bytes)
      : inputs(in), behind(after), floats(draw(before * inputs * behind, random, -1)) {
    type = std::array{Weight::kFloat32, Weight::kInt8, Weight::kFloat16, Weight::kInt4}[size_t(bytes.below(4))];
    if (type == Weight::kInt4 && (inputs == 0 || inputs % 8 != 0)) type = Weight::kInt8;
    int64_t blocks = 1;
    if (type == Weight::kInt4) {
      for (blocks = 1 + bytes.below(inputs / 8); inputs / 8 % blocks != 0;) --blocks;
      block = inputs / blocks;
    }
    scales = draw(before * blocks * behind, random, -1);
    for (float& s : scales) s /= type == Weight::kInt4 ? 7 : 127;
    scale = scales.data();
    nibbles.resize((floats.size() + 1) / 2);
    for (size_t i = 0; i < floats.size(); ++i) {
      const float x = floats[i];
      integers.push_back(int8_t(std::lround(x * (type == Weight::kInt4 ? 8 : 127))));
      if (type == Weight::kInt4) integers[i] = std::min<int8_t>(integers[i], 7);
      nibbles[i / 2] = uint8_t(nibbles[i / 2] | (integers[i] & 15) << i % 2 * 4);
      halves.push_back(uint16_t(0x3800 | (std::lround(std::fabs(x) * 1e6f) & 0x3ff) | (x < 0 ? 0x8000 : 0)));
    }
    switch (type) {
      case Weight::kFloat32: data = floats.data(); break;
      case Weight::kFloat16: data = halves.data(); break;
      case Weight::kInt8: data = integers.data(); break;
      case Weight::kInt4: data = nibbles.data();
    }
  }
  Drawn(const Drawn&) = delete;
  int64_t scale_of(int64_t i) const {
    const int64_t k = i / behind % inputs, size = block > 0 ? block : inputs;
    return (i / (behind * inputs) * (inputs / size) + k / size) * behind + i % behind;
  }
  double number(int64_t i) const {
    const size_t at = size_t(i);
    if (type == Weight::kInt8 || type == Weight::kInt4) return double(integers[at]) * double(scales[size_t(scale_of(i))]);
    if (type == Weight::kFloat32) return double(floats[at]);
    return (1024.0 + (halves[at] & 0x3ff)) / 2048 * (halves[at] & 0x8000 ? -1 : 1);  // from 1/2 to 1
  }
  std::vector<float> numbers() const {
    std::vector<float> all;
    for (size_t i = 0; i < floats.size(); ++i) all.push_back(float(number(int64_t(i))));
    return all;
  }

  const int64_t inputs, behind;
  std::vector<float> floats, scales;
  std::vector<int8_t> integers;
  std::vector<uint8_t> nibbles;
  std::vector<uint16_t> halves;
};

// Memory for a packed weight and no more: a sanitizer sees its ends.
struct Room {
  Room(int64_t columns, const Drawn& w)
      : before(w.type == Weight::kInt8 ? 3 : 0), bytes(new char[size_t(before + columns * column_bytes(w.type, w.inputs, w.block))]) {}
  char* data() const { return bytes.get() + before; }

  const int64_t before;
  const std::unique_ptr<char[]> bytes;
};

inline WeightData of_floats(const std::vector<float>& x) { return {Weight::kFloat32, x.data()}; }

}  // namespace temport
