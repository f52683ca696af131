// Rotary position embedding: the one definition of its frequencies and magnitude, shared by every backend.
//
// Each pair (a, b) of a head's rotary columns turns by angle = position * frequency of the pair:
//   a' = magnitude * (a cos - b sin),   b' = magnitude * (b cos + a sin).
// Without scaling, frequency i is base^(-2i / rotary_width) (Su et al., arXiv 2104.09864, section 3.4.2).
#pragma once

#include <nacelle/graph.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace nacelle {

struct RopeTable {
  std::vector<float> frequencies;  // [rotary_width / 2]: radians a position, one a pair
  float magnitude = 1;             // multiplies cos and sin
};

// False where an enum or a width is out of range: `supports` says no.
inline bool rope_is_valid(const nacelle_rope_attributes& rope) noexcept {
  const bool has_factor = rope.scaling == NACELLE_ROPE_SCALE_NONE || rope.factor > 0;
  const bool has_length = rope.scaling <= NACELLE_ROPE_SCALE_LINEAR || rope.original_context > 1;
  return (rope.style == NACELLE_ROPE_HALF || rope.style == NACELLE_ROPE_INTERLEAVED) && rope.base > 1 &&
         rope.scaling <= NACELLE_ROPE_SCALE_LONGROPE && rope.rotary_width > 0 && rope.rotary_width % 2 == 0 &&
         rope.rotary_width <= rope.head_width && has_factor && has_length;
}

// LongRoPE's choice between its two factor lists. `context` is the largest context of the buckets given to prepare, so
// a loaded model has one choice: keys in the cache stay comparable, and a row does not depend on its chunk.
inline bool rope_uses_long_factors(const nacelle_rope_attributes& rope, std::uint32_t context) noexcept {
  return rope.scaling == NACELLE_ROPE_SCALE_LONGROPE && context > rope.original_context;
}

namespace detail {

// Llama 3.1 (rope_type "llama3" of its config.json): long waves are stretched, short ones kept, those between blended.
inline double rope_llama3(const nacelle_rope_attributes& rope, double frequency) {
  const double turns = rope.original_context * frequency / (2 * M_PI);  // over the trained context
  if (turns < rope.low_frequency_factor) return frequency / rope.factor;
  if (turns > rope.high_frequency_factor) return frequency;
  const double span = rope.high_frequency_factor - rope.low_frequency_factor;
  const double keep = span > 0 ? (turns - rope.low_frequency_factor) / span : 1;
  return (1 - keep) * frequency / rope.factor + keep * frequency;
}

// YaRN (Peng et al., arXiv 2309.00071, section 3.2) with the pair borders rounded outwards, as its authors' code does.
inline double rope_yarn(const nacelle_rope_attributes& rope, double frequency, std::uint32_t pair) {
  const auto border = [&](double turns) {  // the pair, as a real number, that makes `turns` over the trained context
    return rope.rotary_width * std::log(rope.original_context / (turns * 2 * M_PI)) / (2 * std::log(rope.base));
  };
  const double low = std::max(std::floor(border(rope.beta_fast)), 0.0);
  const double high = std::min(std::ceil(border(rope.beta_slow)), rope.rotary_width - 1.0);
  const double stretch = std::clamp((pair - low) / std::max(high - low, 0.001), 0.0, 1.0);
  return stretch * frequency / rope.factor + (1 - stretch) * frequency;
}

// What attention_factor 0 stands for: YaRN's equation 22, LongRoPE's section 3.3 (arXiv 2402.13753).
inline double rope_default_magnitude(const nacelle_rope_attributes& rope) {
  if (rope.factor <= 1) return 1;
  if (rope.scaling == NACELLE_ROPE_SCALE_YARN) return 0.1 * std::log(rope.factor) + 1;
  if (rope.scaling == NACELLE_ROPE_SCALE_LONGROPE)
    return std::sqrt(1 + std::log(rope.factor) / std::log(rope.original_context));
  return 1;
}

}  // namespace detail

// Needs rope_is_valid(rope). The factor lists are the operation's optional inputs, empty where absent, else
// [rotary_width/2]; frequency i is divided by factor i whatever the scaling (a GGUF of Llama 3 has such a list and no
// scaling). Where only one list is given it is the one used. Any thread.
inline RopeTable make_rope_table(const nacelle_rope_attributes& rope, std::uint32_t context,
                                 std::span<const float> short_factors = {}, std::span<const float> long_factors = {}) {
  const bool take_long = !long_factors.empty() && (short_factors.empty() || rope_uses_long_factors(rope, context));
  const std::span<const float> factors = take_long ? long_factors : short_factors;
  RopeTable table;
  table.frequencies.reserve(rope.rotary_width / 2);
  for (std::uint32_t pair = 0; pair < rope.rotary_width / 2; ++pair) {
    double frequency = std::pow(static_cast<double>(rope.base), -2.0 * pair / rope.rotary_width);
    if (rope.scaling == NACELLE_ROPE_SCALE_LINEAR) frequency /= rope.factor;
    if (rope.scaling == NACELLE_ROPE_SCALE_LLAMA3) frequency = detail::rope_llama3(rope, frequency);
    if (rope.scaling == NACELLE_ROPE_SCALE_YARN) frequency = detail::rope_yarn(rope, frequency, pair);
    if (!factors.empty()) frequency /= factors[pair];
    table.frequencies.push_back(static_cast<float>(frequency));
  }
  table.magnitude =
      static_cast<float>(rope.attention_factor != 0 ? rope.attention_factor : detail::rope_default_magnitude(rope));
  return table;
}

}  // namespace nacelle
