// Packing moves bytes and never rounds: what a kernel reads is what the file held.
#include "backends/cpu/packing.hpp"

#include <nacelle/graph.h>

#include <cstring>
#include <nacelle/half.hpp>

namespace nacelle::cpu {
namespace {

constexpr std::uint64_t kQ8Bytes = 34, kQ4Bytes = 18;  // a block as stored: f16 scale, then the values

std::uint64_t element_bytes(std::uint32_t type) { return type == NACELLE_TYPE_F32 ? 4 : 2; }

// [columns][16] of elements of a plain type.
template <class Element>
void pack_plain(const std::uint8_t* rows, std::uint64_t row_bytes, std::uint32_t count, std::uint64_t columns,
                std::uint8_t* group) {
  for (std::uint32_t r = 0; r < count; ++r) {
    const std::uint8_t* from = rows + r * row_bytes;
    std::uint8_t* to = group + r * sizeof(Element);
    for (std::uint64_t k = 0; k < columns; ++k)
      std::memcpy(to + k * kGroupRows * sizeof(Element), from + k * sizeof(Element), sizeof(Element));
  }
}

// [columns / 2][16][2]
void pack_pairs(const std::uint8_t* rows, std::uint64_t row_bytes, std::uint32_t count, std::uint64_t columns,
                std::uint8_t* group) {
  for (std::uint32_t r = 0; r < count; ++r) {
    const std::uint8_t* from = rows + r * row_bytes;
    std::uint8_t* to = group + r * 4;
    std::uint64_t k = 0;
    for (; k + 2 <= columns; k += 2) std::memcpy(to + k * 32, from + k * 2, 4);
    if (k < columns) std::memcpy(to + k * 32, from + k * 2, 2);
  }
}

void pack_q8(const std::uint8_t* rows, std::uint64_t row_bytes, std::uint32_t count, std::uint64_t columns,
             std::uint8_t* group) {
  const std::uint64_t blocks = columns / kQuantBlock;
  std::uint8_t* scales = group + blocks * 512;
  for (std::uint64_t b = 0; b < blocks; ++b)
    for (std::uint32_t r = 0; r < count; ++r) {
      const std::uint8_t* from = rows + r * row_bytes + b * kQ8Bytes;
      std::memcpy(scales + (b * kGroupRows + r) * 2, from, 2);
      for (std::uint32_t quad = 0; quad < 8; ++quad) {
        std::uint32_t bytes;
        std::memcpy(&bytes, from + 2 + quad * 4, 4);
        bytes ^= 0x80808080u;  // signed to unsigned: plus 128
        std::memcpy(group + b * 512 + quad * 64 + r * 4, &bytes, 4);
      }
    }
}

void pack_q4(const std::uint8_t* rows, std::uint64_t row_bytes, std::uint32_t count, std::uint64_t columns,
             std::uint8_t* group) {
  const std::uint64_t blocks = columns / kQuantBlock;
  std::uint8_t* scales = group + blocks * 256;
  for (std::uint64_t b = 0; b < blocks; ++b)
    for (std::uint32_t r = 0; r < count; ++r) {
      const std::uint8_t* from = rows + r * row_bytes + b * kQ4Bytes;
      std::memcpy(scales + (b * kGroupRows + r) * 2, from, 2);
      for (std::uint32_t quad = 0; quad < 4; ++quad)
        std::memcpy(group + b * 256 + quad * 64 + r * 4, from + 2 + quad * 4, 4);
    }
}

std::uint16_t read_u16(const std::uint8_t* p) {
  std::uint16_t value;
  std::memcpy(&value, p, 2);
  return value;
}

float quantised_element(std::uint32_t type, const std::uint8_t* group, std::uint64_t lane, std::uint64_t columns,
                        std::uint64_t k) {
  const std::uint64_t blocks = columns / kQuantBlock, b = k / kQuantBlock, i = k % kQuantBlock;
  const std::uint64_t block_bytes = type == NACELLE_TYPE_Q8_0 ? 512 : 256;
  const float scale = half_to_float(read_u16(group + blocks * block_bytes + (b * kGroupRows + lane) * 2));
  const std::uint8_t* block = group + b * block_bytes + lane * 4;
  if (type == NACELLE_TYPE_Q8_0) return scale * static_cast<float>(block[i / 4 * 64 + i % 4] - 128);
  const std::uint8_t both = block[i % 16 / 4 * 64 + i % 4];
  return scale * static_cast<float>((i < 16 ? both & 15 : both >> 4) - 8);
}

}  // namespace

bool packable(std::uint32_t type) noexcept { return packed_group_bytes(type, kQuantBlock) != 0; }

std::uint64_t packed_group_bytes(std::uint32_t type, std::uint64_t columns) noexcept {
  const std::uint64_t blocks = columns / kQuantBlock;
  std::uint64_t bytes = 0;
  switch (type) {
    case NACELLE_TYPE_F32: bytes = columns * 64; break;
    case NACELLE_TYPE_F16: bytes = columns * 32; break;
    case NACELLE_TYPE_BF16: bytes = (columns + 1) / 2 * 64; break;
    case NACELLE_TYPE_Q8_0: bytes = blocks * (512 + 32); break;
    case NACELLE_TYPE_Q4_0: bytes = blocks * (256 + 32); break;
    default: break;
  }
  return (bytes + 63) / 64 * 64;
}

void pack_group(std::uint32_t type, const std::uint8_t* rows, std::uint64_t row_bytes, std::uint32_t count,
                std::uint64_t columns, std::uint8_t* group) {
  if (count < kGroupRows || columns % 2) std::memset(group, 0, packed_group_bytes(type, columns));
  switch (type) {
    case NACELLE_TYPE_F32: return pack_plain<std::uint32_t>(rows, row_bytes, count, columns, group);
    case NACELLE_TYPE_F16: return pack_plain<std::uint16_t>(rows, row_bytes, count, columns, group);
    case NACELLE_TYPE_BF16: return pack_pairs(rows, row_bytes, count, columns, group);
    case NACELLE_TYPE_Q8_0: return pack_q8(rows, row_bytes, count, columns, group);
    case NACELLE_TYPE_Q4_0: return pack_q4(rows, row_bytes, count, columns, group);
    default: return;
  }
}

void unpack_row(std::uint32_t type, const std::uint8_t* groups, std::uint64_t row, std::uint64_t columns, float scale,
                float* out) {
  const std::uint8_t* group = groups + row / kGroupRows * packed_group_bytes(type, columns);
  const std::uint64_t lane = row % kGroupRows, element = element_bytes(type);
  for (std::uint64_t k = 0; k < columns; ++k) {
    const std::uint8_t* plain = group + (k * kGroupRows + lane) * element;
    switch (type) {
      case NACELLE_TYPE_F32: std::memcpy(out + k, plain, 4); break;
      case NACELLE_TYPE_F16: out[k] = half_to_float(read_u16(plain)); break;
      case NACELLE_TYPE_BF16: out[k] = bfloat16_to_float(read_u16(group + k / 2 * 64 + lane * 4 + k % 2 * 2)); break;
      default: out[k] = quantised_element(type, group, lane, columns, k); break;
    }
    out[k] *= scale;
  }
}

std::uint64_t key_tile_bytes(std::uint32_t type, std::uint32_t width) noexcept {
  const std::uint64_t scales = padded(width, kQuantBlock) / kQuantBlock * 2;
  switch (type) {
    case NACELLE_TYPE_F32: return kTileTokens * 4ull * width;
    case NACELLE_TYPE_F16:
    case NACELLE_TYPE_BF16: return kTileTokens * 2ull * width;
    case NACELLE_TYPE_Q8_0: return kTileTokens * (width + scales);
    case NACELLE_TYPE_Q4_0: return kTileTokens * (padded(width, kQuantBlock) / 2 + scales);
    default: return 0;
  }
}

std::uint64_t value_row_bytes(std::uint32_t type, std::uint32_t width) noexcept {
  const std::uint64_t scales = padded(width, kQuantBlock) / kQuantBlock * 2;
  switch (type) {
    case NACELLE_TYPE_F32: return 4 * padded(width);
    case NACELLE_TYPE_F16:
    case NACELLE_TYPE_BF16: return 2 * padded(width);
    case NACELLE_TYPE_Q8_0: return padded(width) + scales;
    case NACELLE_TYPE_Q4_0: return padded(width, kQuantBlock) / 2 + scales;
    default: return 0;
  }
}

}  // namespace nacelle::cpu
