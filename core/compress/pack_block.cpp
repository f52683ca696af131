// Blocks as ggml stores them: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h.
#include "core/compress/pack_block.hpp"

namespace nacelle::compress {
namespace {

// The next `count` numbers, without their low `shift` bits, into `fields` of a block that holds zeros there.
void put_fields(const std::uint8_t* from, std::uint32_t count, std::uint32_t shift, const BlockFields& fields,
                std::uint8_t* block) noexcept {
  const std::uint32_t mask = (1u << fields.bits) - 1;
  std::uint8_t* to = block + fields.at;
  for (std::uint32_t done = 0; done < count; to += fields.run)
    for (std::uint32_t bit = 0; bit < 8; bit += fields.bits, done += fields.run)
      for (std::uint32_t i = 0; i < fields.run; ++i)
        to[i] = static_cast<std::uint8_t>(to[i] | (from[done + i] >> shift & mask) << bit);
}

void put_half(float value, std::uint8_t* to) noexcept {
  const std::uint16_t bits = float_to_half(value);
  std::memcpy(to, &bits, sizeof bits);
}

void put_signed_scales(const BlockParts& parts, const BlockFields& low, const BlockFields& high, std::uint32_t count,
                       std::uint8_t* block) noexcept {
  std::uint8_t raised[16];
  for (std::uint32_t s = 0; s < count; ++s) raised[s] = static_cast<std::uint8_t>(parts.scales[s] + 32);
  put_fields(raised, count, 0, low, block);
  put_fields(raised, count, 4, high, block);
}

// The 12 bytes of Q4_K and Q5_K; see block_detail::read_scales_and_mins.
void put_scales_and_mins(const BlockParts& parts, std::uint8_t* to) noexcept {
  for (std::uint32_t i = 0; i < 4; ++i) {
    const auto high_scale = static_cast<std::uint8_t>(parts.scales[i + 4]);
    to[i] = static_cast<std::uint8_t>(parts.scales[i] | high_scale >> 4 << 6);
    to[i + 4] = static_cast<std::uint8_t>(parts.mins[i] | parts.mins[i + 4] >> 4 << 6);
    to[i + 8] = static_cast<std::uint8_t>((high_scale & 15) | parts.mins[i + 4] << 4);
  }
}

void put_integer_scales(nacelle_type type, const BlockParts& parts, std::uint8_t* block) noexcept {
  switch (type) {
    case NACELLE_TYPE_Q2_K:
      for (std::uint32_t s = 0; s < 16; ++s) block[s] = static_cast<std::uint8_t>(parts.scales[s] | parts.mins[s] << 4);
      return;
    case NACELLE_TYPE_Q3_K: return put_signed_scales(parts, {96, 8, 4}, {104, 4, 2}, 16, block);
    case NACELLE_TYPE_Q6_K: std::memcpy(block + 192, parts.scales, 16); return;
    case NACELLE_TYPE_IQ4_XS: return put_signed_scales(parts, {4, 1, 4}, {2, 1, 2}, 8, block);
    default: return put_scales_and_mins(parts, block + 4);
  }
}

// The E8M0 exponent whose half is `scale`.
std::uint8_t mxfp4_exponent(float scale) noexcept {
  std::uint8_t e = 0;
  while (e < 255 && block_detail::mxfp4_scale(e) < scale) ++e;
  return e;
}

}  // namespace

ScaleRange scale_range(nacelle_type type) noexcept {
  switch (type) {
    case NACELLE_TYPE_Q2_K: return {0, 15, 15};
    case NACELLE_TYPE_Q4_K:
    case NACELLE_TYPE_Q5_K: return {0, 63, 63};
    case NACELLE_TYPE_Q3_K:
    case NACELLE_TYPE_IQ4_XS: return {-32, 31, 0};
    case NACELLE_TYPE_Q6_K: return {-128, 127, 0};
    default: return {1, 1, 1};
  }
}

void put_together(nacelle_type type, const BlockParts& parts, std::uint8_t* to) noexcept {
  const BlockFormat& format = *block_format(type);
  std::memset(to, 0, type_info(type)->block_bytes);
  std::uint8_t codes[256];
  std::memcpy(codes, parts.codes, format.elements);
  if (type == NACELLE_TYPE_Q8_0)
    for (std::uint32_t i = 0; i < format.elements; ++i) codes[i] ^= 0x80;
  put_fields(codes, format.elements, 0, format.low, to);
  if (format.high.run) put_fields(codes, format.elements, format.low.bits, format.high, to);
  if (format.integer_scales) put_integer_scales(type, parts, to);
  if (type == NACELLE_TYPE_MXFP4) {
    *to = mxfp4_exponent(parts.scale);
  } else {
    put_half(parts.scale, to + format.scale_at);
  }
  if (format.has_min) put_half(format.integer_scales ? parts.min : -parts.min, to + format.min_at);
}

}  // namespace nacelle::compress
