#include "sdk/conformance/random_data.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nacelle/block_formats.hpp>
#include <nacelle/half.hpp>
#include <nacelle/types.hpp>

namespace nacelle::conformance {
namespace {

void store16(std::byte* to, std::uint16_t bits) { std::memcpy(to, &bits, sizeof bits); }

// The scale of a block: 1/1024 .. 16/1024 of `scale`.
float block_scale(std::uint64_t seed, std::uint64_t block, float scale) {
  return static_cast<float>(1 + (mix(seed + 500, block) & 15)) / 1024 * scale;
}

void fill_q8_0(std::byte* to, std::uint64_t count, std::uint64_t seed, float scale) {
  for (std::uint64_t block = 0; block < count / 32; ++block, to += 34) {
    store16(to, float_to_half(block_scale(seed, block, scale)));
    for (std::uint64_t i = 0; i < 32; ++i) to[2 + i] = static_cast<std::byte>(mix(seed, block * 32 + i) >> 56);
  }
}

void fill_q4_0(std::byte* to, std::uint64_t count, std::uint64_t seed, float scale) {
  for (std::uint64_t block = 0; block < count / 32; ++block, to += 18) {
    store16(to, float_to_half(16 * block_scale(seed, block, scale)));
    for (std::uint64_t i = 0; i < 16; ++i) {
      const std::uint64_t low = mix(seed, block * 32 + i) >> 60, high = mix(seed, block * 32 + i + 16) >> 60;
      to[2 + i] = static_cast<std::byte>(low | high << 4);
    }
  }
}

// The largest magnitude that a block's codes and integer scales give before its scale.
float largest_of(const BlockFormat& format, const BlockParts& parts) {
  float largest = 1;
  for (std::uint32_t i = 0; i < format.elements; ++i) {
    const int code = parts.codes[i], value = format.codebook ? format.codebook[code] : code - format.offset;
    const std::uint32_t scale = i / format.sub_elements;
    largest = std::max(largest, std::fabs(static_cast<float>(value) * parts.scales[scale]));
  }
  return largest;
}

// Any other block format: random bytes, with the scale set so that the largest element is about as in a Q8_0 block, and
// the min so that the elements lie about 0.
void fill_blocks(nacelle_type type, std::byte* to, std::uint64_t count, std::uint64_t seed, float scale) {
  const BlockFormat& format = *block_format(type);
  const std::uint32_t bytes = type_info(type)->block_bytes;
  const float half_range = static_cast<float>((1 << format.code_bits) - 1) / 2;
  for (std::uint64_t block = 0; block < count / format.elements; ++block, to += bytes) {
    for (std::uint32_t i = 0; i < bytes; ++i) to[i] = static_cast<std::byte>(mix(seed, block * bytes + i) >> 56);
    if (type == NACELLE_TYPE_MXFP4) {  // a power of two; the largest code is 6 of it
      to[0] = static_cast<std::byte>(125 + std::ilogb(scale) - static_cast<int>(mix(seed + 500, block) & 3));
      continue;
    }
    BlockParts parts;
    take_apart(type, reinterpret_cast<const std::uint8_t*>(to), parts);
    const float unit = 128 * block_scale(seed, block, scale) / largest_of(format, parts);
    store16(to + format.scale_at, float_to_half(unit));
    if (format.has_min)  // a K-quant subtracts it, Q4_1 and Q5_1 add it
      store16(to + format.min_at, float_to_half((format.integer_scales ? 1 : -1) * half_range * unit));
  }
}

void fill_plain(nacelle_type type, std::byte* to, std::uint64_t count, std::uint64_t seed, float scale, float offset) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto value = static_cast<float>(static_cast<double>(uniform(seed, i)) * scale + offset);
    if (type == NACELLE_TYPE_F32) std::memcpy(to + 4 * i, &value, sizeof value);
    if (type == NACELLE_TYPE_F16) store16(to + 2 * i, float_to_half(value));
    if (type == NACELLE_TYPE_BF16) store16(to + 2 * i, float_to_bfloat16(value));
  }
}

}  // namespace

std::uint64_t mix(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t z = (seed * 0x9e3779b97f4a7c15u + index + 1) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

float uniform(std::uint64_t seed, std::uint64_t index) {
  return static_cast<float>(mix(seed, index) >> 40) / 8388608.0f - 1;
}

std::vector<std::byte> random_weight(nacelle_type type, std::uint64_t count, std::uint64_t seed, float scale,
                                     float offset) {
  std::vector<std::byte> bytes(row_bytes(type, count));
  if (type == NACELLE_TYPE_Q8_0)
    fill_q8_0(bytes.data(), count, seed, scale);
  else if (type == NACELLE_TYPE_Q4_0)
    fill_q4_0(bytes.data(), count, seed, scale);
  else if (block_format(type))
    fill_blocks(type, bytes.data(), count, seed, scale);
  else
    fill_plain(type, bytes.data(), count, seed, scale, offset);
  return bytes;
}

}  // namespace nacelle::conformance
