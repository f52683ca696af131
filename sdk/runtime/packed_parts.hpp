// What the readers of packed matrices share: finding their parts in the file, and reading one number of them.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <nacelle/half.hpp>
#include <optional>
#include <string>

#include "sdk/runtime/names.hpp"
#include "sdk/runtime/weight_expr.hpp"

namespace nacelle::sdk {

// The bytes of a packed matrix's inputs, in their order.
using PackedParts = std::array<const std::byte*, 4>;

// A tensor of the file, of any type, no extent of which is out of range; a scalar has one axis of one element.
std::optional<WeightNode> find_part(const std::string& name, const TensorLookup& lookup);

// "tensor 'x.weight_scale' (F32 [8, 1])"
std::string part_text(const WeightNode& node);

// The same, or "tensor 'x.weight_scale' (missing)".
std::string part_text(const std::optional<WeightNode>& node, const std::string& name);

inline bool is_float(nacelle_type type) noexcept {
  return type == NACELLE_TYPE_F32 || type == NACELLE_TYPE_BF16 || type == NACELLE_TYPE_F16;
}

inline std::uint16_t half_word(const std::byte* from, std::int64_t index) {
  std::uint16_t value;
  std::memcpy(&value, from + index * 2, sizeof value);
  return value;
}

// Of a tensor of floats.
inline float scale_at(const WeightNode& scales, const std::byte* data, std::int64_t index) {
  if (scales.type == NACELLE_TYPE_F16) return half_to_float(half_word(data, index));
  if (scales.type == NACELLE_TYPE_BF16) return bfloat16_to_float(half_word(data, index));
  float value;
  std::memcpy(&value, data + index * 4, sizeof value);
  return value;
}

// An 8-bit float of the OCP 8-bit Floating Point Specification 1.0, E4M3: 4 bits of exponent with a bias of 7, 3 of
// mantissa; no infinities.
struct E4m3 {
  int integer = 0;   // with its sign; 15 at most
  int exponent = 0;  // the value is integer * 2^exponent
  bool is_number = true;
};

inline E4m3 e4m3_parts(std::byte byte) {
  const auto bits = std::to_integer<unsigned>(byte);
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  const int integer = exponent == 0 ? mantissa : 8 + mantissa;
  return {bits & 128 ? -integer : integer, (exponent == 0 ? 1 : exponent) - 10, (bits & 127) != 127};
}

inline float value_of(const E4m3& parts) {
  return parts.is_number ? std::ldexp(static_cast<float>(parts.integer), parts.exponent) : NAN;
}

}  // namespace nacelle::sdk
