// How GGUF's block formats store weights: one table that says where a block's codes and scales lie, and a decoder that
// follows it bit for bit. For packers that keep the codes, and for whoever wants floats. Any thread; pointers need no
// alignment; the machine is little-endian, as the files are.
// Source: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h (layouts) and ggml-quants.c (meaning).
#pragma once

#include <nacelle/graph.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <nacelle/half.hpp>
#include <nacelle/types.hpp>

namespace nacelle {

// Small unsigned numbers packed into bytes from `at` on. They come in runs of `run` bytes: field f of byte i (fields
// count from the low bits) is number f * run + i of its run. `run` is 0 where there are none.
struct BlockFields {
  std::uint32_t at, run, bits;
};

// Element i of a block is (scale * scales[s]) * value(codes[i]) - min * mins[s], where s = i / sub_elements and
// value(c) = codebook ? codebook[c] : c - offset. Scales have 11 significant bits and the other factors few, so the
// products are exact in f32 and only the subtraction rounds: neither the order nor a fused multiply-add changes a bit.
struct BlockFormat {
  nacelle_type type;
  std::uint32_t elements;      // of a block: 32 or 256
  std::uint32_t sub_elements;  // that share scales[] and mins[]: 16 or 32
  std::uint32_t code_bits;
  std::int32_t offset;
  const std::int8_t* codebook;  // nullptr: none
  bool has_min;                 // asymmetric
  bool integer_scales;          // scales[] vary; elsewhere they are 1
  // The stored block, in bytes.
  std::uint32_t scale_at, min_at;
  BlockFields low, high;  // of the codes: the low bits, and the bits above them
};

namespace block_detail {

inline constexpr std::int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};
// Twice the values of an E2M1 float; the scale is halved for it.
inline constexpr std::int8_t kMxfp4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// clang-format off
// Indexed by type - NACELLE_TYPE_Q8_0.
inline constexpr BlockFormat kBlockFormats[] = {
    //                   elements sub bits offset codebook   min   integer  scale min        low          high
    {NACELLE_TYPE_Q8_0,      32,  32,  8, 128, nullptr,      false, false,     0,  0,  {  2, 32, 8}, {  0,  0, 0}},
    {NACELLE_TYPE_Q4_0,      32,  32,  4,   8, nullptr,      false, false,     0,  0,  {  2, 16, 4}, {  0,  0, 0}},
    {NACELLE_TYPE_Q4_1,      32,  32,  4,   0, nullptr,      true,  false,     0,  2,  {  4, 16, 4}, {  0,  0, 0}},
    {NACELLE_TYPE_Q5_0,      32,  32,  5,  16, nullptr,      false, false,     0,  0,  {  6, 16, 4}, {  2,  1, 1}},
    {NACELLE_TYPE_Q5_1,      32,  32,  5,   0, nullptr,      true,  false,     0,  2,  {  8, 16, 4}, {  4,  1, 1}},
    {NACELLE_TYPE_Q2_K,     256,  16,  2,   0, nullptr,      true,  true,     80, 82,  { 16, 32, 2}, {  0,  0, 0}},
    {NACELLE_TYPE_Q3_K,     256,  16,  3,   4, nullptr,      false, true,    108,  0,  { 32, 32, 2}, {  0, 32, 1}},
    {NACELLE_TYPE_Q4_K,     256,  32,  4,   0, nullptr,      true,  true,      0,  2,  { 16, 32, 4}, {  0,  0, 0}},
    {NACELLE_TYPE_Q5_K,     256,  32,  5,   0, nullptr,      true,  true,      0,  2,  { 48, 32, 4}, { 16, 32, 1}},
    {NACELLE_TYPE_Q6_K,     256,  16,  6,  32, nullptr,      false, true,    208,  0,  {  0, 64, 4}, {128, 32, 2}},
    {NACELLE_TYPE_IQ4_NL,    32,  32,  4,   0, kIq4Values,   false, false,     0,  0,  {  2, 16, 4}, {  0,  0, 0}},
    {NACELLE_TYPE_IQ4_XS,   256,  32,  4,   0, kIq4Values,   false, true,      0,  0,  {  8, 16, 4}, {  0,  0, 0}},
    {NACELLE_TYPE_MXFP4,     32,  32,  4,   0, kMxfp4Values, false, false,     0,  0,  {  1, 16, 4}, {  0,  0, 0}},
};
// clang-format on

}  // namespace block_detail

// nullptr for a type that does not come in blocks.
constexpr const BlockFormat* block_format(nacelle_type type) noexcept {
  const nacelle_type index = type - NACELLE_TYPE_Q8_0;
  return index < std::size(block_detail::kBlockFormats) ? &block_detail::kBlockFormats[index] : nullptr;
}

// A block taken apart: codes in the elements' order, as stored (no offset, no codebook; those of Q8_0 plus 128, so that
// they are unsigned too). Only the first `elements` codes and `elements / sub_elements` scales and mins are set.
struct BlockParts {
  std::uint8_t codes[256];
  std::int8_t scales[16];  // 1 where the format has none
  std::uint8_t mins[16];   // 1 where the format has a min but no mins of its own, 0 without a min
  float scale, min;        // Q4_1 and Q5_1 store what is added: here min is that, negated
};

namespace block_detail {

constexpr bool is_indexed_by_type() {
  for (const BlockFormat& format : kBlockFormats)
    if (block_format(format.type) != &format || format.elements != type_info(format.type)->block_elements) return false;
  return true;
}
static_assert(is_indexed_by_type());

inline float half_at(const std::uint8_t* from) noexcept {
  std::uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return half_to_float(bits);
}

// The next `count` numbers of `fields`, put above the low `shift` bits of `to`. Eight at a time where runs are that
// long: a model has a billion of them.
inline void add_fields(const std::uint8_t* block, const BlockFields& fields, std::uint32_t count, std::uint32_t shift,
                       std::uint8_t* to) noexcept {
  const std::uint64_t mask = 0x0101010101010101u * ((1u << fields.bits) - 1);
  const std::uint8_t* from = block + fields.at;
  for (std::uint32_t done = 0; done < count; from += fields.run)
    for (std::uint32_t bit = 0; bit < 8; bit += fields.bits, done += fields.run) {
      std::uint32_t i = 0;
      for (std::uint64_t some, all; i + 8 <= fields.run; i += 8) {
        std::memcpy(&some, from + i, 8);
        std::memcpy(&all, to + done + i, 8);
        all |= (some >> bit & mask) << shift;
        std::memcpy(to + done + i, &all, 8);
      }
      for (; i < fields.run; ++i)
        to[done + i] = static_cast<std::uint8_t>(to[done + i] | (from[i] >> bit & (mask & 0xff)) << shift);
    }
}

// Signed scales of 6 bits, stored plus 32 in two pieces.
inline void read_signed_scales(const std::uint8_t* block, const BlockFields& low, const BlockFields& high,
                               std::uint32_t count, BlockParts& parts) noexcept {
  std::uint8_t scales[16] = {};
  add_fields(block, low, count, 0, scales);
  add_fields(block, high, count, 4, scales);
  for (std::uint32_t s = 0; s < count; ++s) parts.scales[s] = static_cast<std::int8_t>(scales[s] - 32);
}

// Q4_K and Q5_K: 8 scales and 8 mins of 6 bits in 12 bytes. Bytes 0-3 hold scales 0-3 and bytes 4-7 mins 0-3 in their
// low 6 bits; bytes 8-11 the low 4 bits of scales and mins 4-7, whose high 2 bits top the first eight bytes.
inline void read_scales_and_mins(const std::uint8_t* from, BlockParts& parts) noexcept {
  for (std::uint32_t i = 0; i < 4; ++i) {
    parts.scales[i] = static_cast<std::int8_t>(from[i] & 63);
    parts.mins[i] = from[i + 4] & 63;
    parts.scales[i + 4] = static_cast<std::int8_t>((from[i + 8] & 15) | from[i] >> 6 << 4);
    parts.mins[i + 4] = static_cast<std::uint8_t>(from[i + 8] >> 4 | from[i + 4] >> 6 << 4);
  }
}

inline void read_integer_scales(nacelle_type type, const std::uint8_t* block, BlockParts& parts) noexcept {
  switch (type) {
    case NACELLE_TYPE_Q2_K:
      for (std::uint32_t s = 0; s < 16; ++s) {
        parts.scales[s] = block[s] & 15;
        parts.mins[s] = block[s] >> 4;
      }
      return;
    case NACELLE_TYPE_Q3_K: return read_signed_scales(block, {96, 8, 4}, {104, 4, 2}, 16, parts);
    case NACELLE_TYPE_Q6_K: std::memcpy(parts.scales, block + 192, 16); return;
    case NACELLE_TYPE_IQ4_XS: return read_signed_scales(block, {4, 1, 4}, {2, 1, 2}, 8, parts);
    default: return read_scales_and_mins(block + 4, parts);
  }
}

// Half of the E8M0 scale 2^(e - 127); the two smallest are subnormal.
inline float mxfp4_scale(std::uint8_t e) noexcept {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1u) << 23);
}

inline void decode_plain(nacelle_type type, const std::uint8_t* stored, std::uint64_t elements, float* out) noexcept {
  if (type == NACELLE_TYPE_F32) std::memcpy(out, stored, elements * sizeof(float));
  if (type != NACELLE_TYPE_F16 && type != NACELLE_TYPE_BF16) return;
  for (std::uint64_t i = 0; i < elements; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, stored + 2 * i, sizeof bits);
    out[i] = type == NACELLE_TYPE_F16 ? half_to_float(bits) : bfloat16_to_float(bits);
  }
}

}  // namespace block_detail

// `type` has a block_format, and `block` one block of it.
inline void take_apart(nacelle_type type, const std::uint8_t* block, BlockParts& parts) noexcept {
  const BlockFormat& format = *block_format(type);
  std::memset(parts.codes, 0, format.elements);
  block_detail::add_fields(block, format.low, format.elements, 0, parts.codes);
  if (format.high.run) block_detail::add_fields(block, format.high, format.elements, format.low.bits, parts.codes);
  if (type == NACELLE_TYPE_Q8_0)
    for (std::uint32_t i = 0; i < format.elements; ++i) parts.codes[i] ^= 0x80;

  std::memset(parts.scales, 1, sizeof parts.scales);
  std::memset(parts.mins, format.has_min, sizeof parts.mins);
  if (format.integer_scales) block_detail::read_integer_scales(type, block, parts);
  parts.scale =
      type == NACELLE_TYPE_MXFP4 ? block_detail::mxfp4_scale(*block) : block_detail::half_at(block + format.scale_at);
  parts.min = format.has_min ? block_detail::half_at(block + format.min_at) : 0;
  if (!format.integer_scales && format.has_min) parts.min = -parts.min;
}

// A row of whole blocks as f32. F32, F16 and BF16 are read too; for any other type nothing is written.
inline void decode_row(nacelle_type type, const std::uint8_t* blocks, std::uint64_t elements, float* out) noexcept {
  const BlockFormat* format = block_format(type);
  if (!format) return block_detail::decode_plain(type, blocks, elements, out);
  const std::uint32_t bytes = type_info(type)->block_bytes, sub = format->sub_elements;
  BlockParts parts;
  for (; elements >= format->elements; elements -= format->elements, blocks += bytes) {
    take_apart(type, blocks, parts);
    for (std::uint32_t first = 0; first < format->elements; first += sub, out += sub) {
      const std::uint32_t part = first / sub;
      const float scale = parts.scale * parts.scales[part], min = parts.min * parts.mins[part];
      for (std::uint32_t i = 0; i < sub; ++i) {
        const int code = parts.codes[first + i];
        out[i] = scale * static_cast<float>(format->codebook ? format->codebook[code] : code - format->offset) - min;
      }
    }
  }
}

}  // namespace nacelle
