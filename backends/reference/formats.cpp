// The block layouts are those of the GGUF specification: one row is a run of blocks, each with its own f16 scale.
#include "backends/reference/formats.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nacelle/half.hpp>
#include <nacelle/types.hpp>

namespace nacelle::reference {
namespace {

constexpr std::uint64_t kBlock = 32;  // elements of a Q8_0 or Q4_0 block

std::uint16_t load16(const std::byte* from) {
  std::uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}
void store16(std::byte* to, std::uint16_t bits) { std::memcpy(to, &bits, sizeof bits); }

// Unlike std::clamp it also cuts a NaN, so that the conversion to an integer is always defined.
float cut(float value, float low, float high) { return std::fmax(low, std::fmin(high, value)); }

void decode_f32(const std::byte* stored, float* values, std::uint64_t count) {
  std::memcpy(values, stored, count * sizeof(float));
}
void encode_f32(const float* values, std::byte* stored, std::uint64_t count) {
  std::memcpy(stored, values, count * sizeof(float));
}

void decode_f16(const std::byte* stored, float* values, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) values[i] = half_to_float(load16(stored + 2 * i));
}
void encode_f16(const float* values, std::byte* stored, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) store16(stored + 2 * i, float_to_half(values[i]));
}

void decode_bf16(const std::byte* stored, float* values, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) values[i] = bfloat16_to_float(load16(stored + 2 * i));
}
void encode_bf16(const float* values, std::byte* stored, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) store16(stored + 2 * i, float_to_bfloat16(values[i]));
}

// Q8_0: f16 scale d, then 32 signed bytes q;  x = d q.
void decode_q8_0(const std::byte* stored, float* values, std::uint64_t count) {
  for (; count >= kBlock; count -= kBlock, stored += 34, values += kBlock) {
    const float scale = half_to_float(load16(stored));
    for (std::uint64_t i = 0; i < kBlock; ++i) values[i] = scale * static_cast<std::int8_t>(stored[2 + i]);
  }
}
// d = max |x| / 127;  q = x / d, rounded half away from zero, with d not yet rounded to f16.
void encode_q8_0(const float* values, std::byte* stored, std::uint64_t count) {
  for (; count >= kBlock; count -= kBlock, stored += 34, values += kBlock) {
    float largest = 0;
    for (std::uint64_t i = 0; i < kBlock; ++i) largest = std::max(largest, std::fabs(values[i]));
    const float scale = largest / 127;
    const float inverse = scale > 0 ? 1 / scale : 0;
    store16(stored, float_to_half(scale));
    for (std::uint64_t i = 0; i < kBlock; ++i) {
      const float quantised = cut(std::round(values[i] * inverse), -127, 127);
      stored[2 + i] = static_cast<std::byte>(static_cast<std::int8_t>(quantised));
    }
  }
}

// Q4_0: f16 scale d, then 16 bytes; byte i holds q of element i in its low and of element i + 16 in its high half;
// x = d (q - 8).
void decode_q4_0(const std::byte* stored, float* values, std::uint64_t count) {
  for (; count >= kBlock; count -= kBlock, stored += 18, values += kBlock) {
    const float scale = half_to_float(load16(stored));
    for (std::uint64_t i = 0; i < 16; ++i) {
      const int pair = std::to_integer<int>(stored[2 + i]);
      values[i] = scale * static_cast<float>((pair & 15) - 8);
      values[i + 16] = scale * static_cast<float>((pair >> 4) - 8);
    }
  }
}
// d = x / -8 for the x of largest magnitude, sign kept, so that it falls on the end with the wider range;
// q = min(15, floor(x / d + 8.5)), with d not yet rounded to f16.
void encode_q4_0(const float* values, std::byte* stored, std::uint64_t count) {
  for (; count >= kBlock; count -= kBlock, stored += 18, values += kBlock) {
    float largest = 0;
    for (std::uint64_t i = 0; i < kBlock; ++i)
      if (std::fabs(values[i]) > std::fabs(largest)) largest = values[i];
    const float scale = largest / -8;
    const float inverse = scale != 0 ? 1 / scale : 0;
    const auto quantise = [&](float value) { return static_cast<int>(cut(std::floor(value * inverse + 8.5f), 0, 15)); };
    store16(stored, float_to_half(scale));
    for (std::uint64_t i = 0; i < 16; ++i)
      stored[2 + i] = static_cast<std::byte>(quantise(values[i]) | quantise(values[i + 16]) << 4);
  }
}

// A new type is a decoder and a line here.
constexpr Format kFormats[] = {
    {NACELLE_TYPE_F32, decode_f32, encode_f32},    {NACELLE_TYPE_F16, decode_f16, encode_f16},
    {NACELLE_TYPE_BF16, decode_bf16, encode_bf16}, {NACELLE_TYPE_Q8_0, decode_q8_0, encode_q8_0},
    {NACELLE_TYPE_Q4_0, decode_q4_0, encode_q4_0},
};

}  // namespace

const Format* find_format(nacelle_type type) {
  for (const Format& format : kFormats)
    if (format.type == type) return &format;
  return nullptr;
}

const char* type_name(nacelle_type type) {
  const TypeInfo* info = type_info(type);
  return info ? info->name : "an unknown type";
}

}  // namespace nacelle::reference
