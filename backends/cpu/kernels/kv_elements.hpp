// Reading and writing keys and values in the cache's types, written once over the vector vocabulary. Include after a
// simd_*.hpp of one ISA.
//   Keys, a tile:  F32, F16, BF16 [width][16 tokens]; Q8_0 the same in bytes; Q4_0 [width / 32][16][16 tokens], column
//   j
//                  of 32 in the low nibble and j + 16 in the high one; then f16 scales [width / 32][16 tokens].
//   Values, a row: [width], padded to 16; Q4_0 [width / 32][16] bytes, padded to 32 columns; then f16 scales.
#pragma once

#include <nacelle/graph.h>

#include "backends/cpu/kernels/kernels.hpp"
#include "backends/cpu/kernels/simd_math.hpp"

namespace nacelle::cpu {
namespace {

inline std::uint8_t* key_tile(const KvView& kv, std::uint32_t token) {
  std::uint8_t* block = kv.base + kv.table[token / kv.block_tokens] * kv.block_bytes + kv.key_offset;
  return block + token % kv.block_tokens / kTileTokens * kv.key_tile_bytes;
}
inline std::uint8_t* value_row(const KvView& kv, std::uint32_t token) {
  std::uint8_t* block = kv.base + kv.table[token / kv.block_tokens] * kv.block_bytes + kv.value_offset;
  return block + token % kv.block_tokens * kv.value_row_bytes;
}

template <class T>
inline const T* as(const std::uint8_t* p) {
  return reinterpret_cast<const T*>(p);
}
template <class T>
inline T* as(std::uint8_t* p) {
  return reinterpret_cast<T*>(p);
}

// ---- Plain types: `load_lanes` and `store_lanes` of their elements.

struct F32Kv {
  static constexpr std::uint32_t kType = NACELLE_TYPE_F32;
  using Element = float;
  static F load_lanes(const Element* p) { return load(p); }
  static void store_lanes(Element* p, F x) { store(p, x); }
};
struct F16Kv {
  static constexpr std::uint32_t kType = NACELLE_TYPE_F16;
  using Element = std::uint16_t;
  static F load_lanes(const Element* p) { return load_f16(p); }
  static void store_lanes(Element* p, F x) { store_f16(p, x); }
};
struct Bf16Kv {
  static constexpr std::uint32_t kType = NACELLE_TYPE_BF16;
  using Element = std::uint16_t;
  static F load_lanes(const Element* p) { return load_bf16(p); }
  static void store_lanes(Element* p, F x) { store_bf16(p, x); }
};

template <class Kv>
struct Plain : Kv {
  using Element = typename Kv::Element;

  // Tokens v * kLanes .. of column d.
  static F key(const std::uint8_t* tile, std::uint32_t, std::uint32_t d, int v) {
    return Kv::load_lanes(as<Element>(tile) + d * kTileTokens + v * kLanes);
  }
  // Columns e .. e + kLanes.
  static F value(const std::uint8_t* row, std::uint32_t, std::uint32_t e) {
    return Kv::load_lanes(as<Element>(row) + e);
  }

  static void store_keys(const KvView& kv, std::uint32_t heads, std::uint32_t token, const float* row) {
    std::uint8_t* tile = key_tile(kv, token);
    const std::uint32_t lane = token % kv.block_tokens % kTileTokens;
    for (std::uint32_t head = 0; head < heads; ++head, row += kv.key_width, tile += kv.key_head_stride)
      for_vectors(kv.key_width, [&](std::uint32_t d, std::uint32_t count) {
        Element lanes[kLanes];
        Kv::store_lanes(lanes, load_some(row + d, count));
        for (std::uint32_t i = 0; i < count; ++i) as<Element>(tile)[(d + i) * kTileTokens + lane] = lanes[i];
      });
  }
  static void store_values(const KvView& kv, std::uint32_t heads, std::uint32_t token, const float* row,
                           std::uint32_t stride) {
    std::uint8_t* to = value_row(kv, token);
    for (std::uint32_t head = 0; head < heads; ++head, row += stride, to += kv.value_head_stride) {
      for (std::uint32_t e = kv.value_width / kLanes * kLanes; e < padded(kv.value_width); e += kLanes)
        Kv::store_lanes(as<Element>(to) + e, zero());
      for_vectors(kv.value_width, [&](std::uint32_t e, std::uint32_t count) {
        Kv::store_lanes(as<Element>(to) + e, load_some(row + e, count));
      });
    }
  }
};

// ---- Block types

inline std::uint16_t f16_bits(float x) {
  std::uint16_t lanes[kLanes];
  store_f16(lanes, set(x));
  return lanes[0];
}
// NaN becomes `low`: the conversion to an integer must be defined.
inline float cut(float x, float low, float high) { return x > low ? (x < high ? x : high) : low; }

// 32 columns as whole numbers, by GGUF's rules; returns the scale, not yet rounded to f16.
struct Q8Rule {
  static float quantise(const float* x, std::int8_t* q) {
    float largest = 0.0f;
    for (std::uint32_t i = 0; i < kQuantBlock; ++i)
      largest = __builtin_fabsf(x[i]) > largest ? __builtin_fabsf(x[i]) : largest;
    const float scale = largest / 127.0f, inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    for (std::uint32_t i = 0; i < kQuantBlock; ++i) {
      const float y = cut(x[i] * inverse, -127.0f, 127.0f);
      q[i] = static_cast<std::int8_t>(y + (y < 0.0f ? -0.5f : 0.5f));
    }
    return scale;
  }
};
struct Q4Rule {
  static float quantise(const float* x, std::int8_t* q) {
    float largest = 0.0f;
    for (std::uint32_t i = 0; i < kQuantBlock; ++i)
      if (__builtin_fabsf(x[i]) > __builtin_fabsf(largest)) largest = x[i];
    const float scale = largest / -8.0f, inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    for (std::uint32_t i = 0; i < kQuantBlock; ++i)
      q[i] = static_cast<std::int8_t>(cut(x[i] * inverse + 8.5f, 0.0f, 15.0f));
    return scale;
  }
};

struct Q8Kv {
  static constexpr std::uint32_t kType = NACELLE_TYPE_Q8_0;
  using Rule = Q8Rule;

  static std::uint64_t key_bytes(std::uint32_t width) { return std::uint64_t{width} * kTileTokens; }
  static std::uint64_t value_bytes(std::uint32_t width) { return padded(width); }
  static F key_integers(const std::uint8_t* tile, std::uint32_t d, int v) {
    return load_i8(as<std::int8_t>(tile) + d * kTileTokens + v * kLanes);
  }
  static F value_integers(const std::uint8_t* row, std::uint32_t e) { return load_i8(as<std::int8_t>(row) + e); }
  static void put_key(std::uint8_t* tile, std::uint32_t d, std::uint32_t lane, std::int8_t q) {
    as<std::int8_t>(tile)[d * kTileTokens + lane] = q;
  }
  static void put_value(std::uint8_t* row, std::uint32_t e, std::int8_t q) { as<std::int8_t>(row)[e] = q; }
};

inline void put_nibble(std::uint8_t* byte, bool high, std::int8_t q) {
  *byte = static_cast<std::uint8_t>(high ? (*byte & 0x0f) | q << 4 : (*byte & 0xf0) | q);
}

struct Q4Kv {
  static constexpr std::uint32_t kType = NACELLE_TYPE_Q4_0;
  using Rule = Q4Rule;

  static std::uint64_t key_bytes(std::uint32_t width) { return padded(width, kQuantBlock) / 2 * kTileTokens; }
  static std::uint64_t value_bytes(std::uint32_t width) { return padded(width, kQuantBlock) / 2; }
  // Column c of 32 is byte c % 16 of its block.
  static std::uint32_t byte_of(std::uint32_t c) { return c / kQuantBlock * 16 + c % 16; }
  static bool is_high(std::uint32_t c) { return c % kQuantBlock >= 16; }
  static F key_integers(const std::uint8_t* tile, std::uint32_t d, int v) {
    return sub(load_nibbles(tile + byte_of(d) * kTileTokens + v * kLanes, is_high(d)), set(8.0f));
  }
  static F value_integers(const std::uint8_t* row, std::uint32_t e) {
    return sub(load_nibbles(row + byte_of(e), is_high(e)), set(8.0f));
  }
  static void put_key(std::uint8_t* tile, std::uint32_t d, std::uint32_t lane, std::int8_t q) {
    put_nibble(tile + byte_of(d) * kTileTokens + lane, is_high(d), q);
  }
  static void put_value(std::uint8_t* row, std::uint32_t e, std::int8_t q) {
    put_nibble(row + byte_of(e), is_high(e), q);
  }
};

template <class Kv>
struct Quantised : Kv {
  static F key(const std::uint8_t* tile, std::uint32_t width, std::uint32_t d, int v) {
    const auto* scales = as<std::uint16_t>(tile + Kv::key_bytes(width));
    return mul(Kv::key_integers(tile, d, v), load_f16(scales + d / kQuantBlock * kTileTokens + v * kLanes));
  }
  static F value(const std::uint8_t* row, std::uint32_t width, std::uint32_t e) {
    const auto* scales = as<std::uint16_t>(row + Kv::value_bytes(width));
    return mul(Kv::value_integers(row, e), set_f16(scales + e / kQuantBlock));
  }

  // A head holds whole blocks, or a block whole heads: cache_create sees to it.
  static void store_keys(const KvView& kv, std::uint32_t heads, std::uint32_t token, const float* row) {
    std::uint8_t* tile = key_tile(kv, token);
    const std::uint32_t lane = token % kv.block_tokens % kTileTokens;
    for (std::uint32_t first = 0; first < heads * kv.key_width; first += kQuantBlock) {
      std::int8_t q[kQuantBlock];
      const std::uint16_t scale = f16_bits(Kv::Rule::quantise(row + first, q));
      for (std::uint32_t i = 0; i < kQuantBlock; ++i) {
        const std::uint32_t head = (first + i) / kv.key_width, d = (first + i) % kv.key_width;
        std::uint8_t* to = tile + head * kv.key_head_stride;
        Kv::put_key(to, d, lane, q[i]);
        as<std::uint16_t>(to + Kv::key_bytes(kv.key_width))[d / kQuantBlock * kTileTokens + lane] = scale;
      }
    }
  }
  static void store_values(const KvView& kv, std::uint32_t heads, std::uint32_t token, const float* row,
                           std::uint32_t) {
    std::uint8_t* values = value_row(kv, token);
    for (std::uint32_t first = 0; first < heads * kv.value_width; first += kQuantBlock) {
      std::int8_t q[kQuantBlock];
      const std::uint16_t scale = f16_bits(Kv::Rule::quantise(row + first, q));
      for (std::uint32_t i = 0; i < kQuantBlock; ++i) {
        const std::uint32_t head = (first + i) / kv.value_width, e = (first + i) % kv.value_width;
        std::uint8_t* to = values + head * kv.value_head_stride;
        Kv::put_value(to, e, q[i]);
        as<std::uint16_t>(to + Kv::value_bytes(kv.value_width))[e / kQuantBlock] = scale;
      }
    }
  }
};

}  // namespace
}  // namespace nacelle::cpu
