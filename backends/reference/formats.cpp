// Reading is nacelle/block_formats.hpp's; the encoders here are those of the cache's types.
#include "backends/reference/formats.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nacelle/block_formats.hpp>
#include <nacelle/half.hpp>
#include <nacelle/types.hpp>

namespace nacelle::reference {
namespace {

constexpr std::uint64_t kBlock = 32;  // elements of a Q8_0 or Q4_0 block

void store16(std::byte* to, std::uint16_t bits) { std::memcpy(to, &bits, sizeof bits); }

// Unlike std::clamp it also cuts a NaN, so that the conversion to an integer is always defined.
float cut(float value, float low, float high) { return std::fmax(low, std::fmin(high, value)); }

void encode_f32(const float* values, std::byte* stored, std::uint64_t count) {
  std::memcpy(stored, values, count * sizeof(float));
}

void encode_f16(const float* values, std::byte* stored, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) store16(stored + 2 * i, float_to_half(values[i]));
}

void encode_bf16(const float* values, std::byte* stored, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) store16(stored + 2 * i, float_to_bfloat16(values[i]));
}

// Q8_0: d = max |x| / 127;  q = x / d, rounded half away from zero, with d not yet rounded to f16.
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

// Q4_0: d = x / -8 for the x of largest magnitude, sign kept, so that it falls on the end with the wider range;
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

}  // namespace

bool is_readable(nacelle_type type) {
  return block_format(type) || type == NACELLE_TYPE_F32 || type == NACELLE_TYPE_F16 || type == NACELLE_TYPE_BF16;
}

void decode(nacelle_type type, const std::byte* stored, std::span<float> values) {
  decode_row(type, reinterpret_cast<const std::uint8_t*>(stored), values.size(), values.data());
}

Encode find_encoder(nacelle_type type) {
  switch (type) {
    case NACELLE_TYPE_F32: return encode_f32;
    case NACELLE_TYPE_F16: return encode_f16;
    case NACELLE_TYPE_BF16: return encode_bf16;
    case NACELLE_TYPE_Q8_0: return encode_q8_0;
    case NACELLE_TYPE_Q4_0: return encode_q4_0;
    default: return nullptr;
  }
}

const char* type_name(nacelle_type type) {
  const TypeInfo* info = type_info(type);
  return info ? info->name : "an unknown type";
}

}  // namespace nacelle::reference
