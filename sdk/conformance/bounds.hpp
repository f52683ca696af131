// How near two results must be: the one table of error bounds, by what a case is about and by the narrowest type at
// hand.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "sdk/conformance/case.hpp"

namespace nacelle::conformance {

struct Difference {
  double nmse = 0;  // sum (a - b)^2 / sum a^2
  double peak = 0;  // max |a - b| / root mean square of a
};

// Infinite for results of different sizes, or where one has a NaN or infinity that the other has not.
inline Difference difference(const std::vector<float>& expected, const std::vector<float>& actual) {
  if (expected.size() != actual.size() || expected.empty()) return {INFINITY, INFINITY};
  double error = 0, power = 0, peak = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == actual[i]) continue;
    const double distance = std::fabs(static_cast<double>(expected[i]) - actual[i]);
    if (!std::isfinite(distance)) return {INFINITY, INFINITY};
    error += distance * distance;
    peak = std::max(peak, distance);
  }
  for (const float value : expected) power += std::isfinite(value) ? static_cast<double>(value) * value : 0;
  power = std::max(power, 1e-30);
  return {error / power, peak / std::sqrt(power / static_cast<double>(expected.size()))};
}

inline bool within(const Difference& of, const Difference& limit) {
  return of.nmse <= limit.nmse && of.peak <= limit.peak;
}
// 1: just at the bound.
inline double share_of(const Difference& of, const Difference& limit) {
  if (of.nmse == 0 && of.peak == 0) return 0;  // where the bound is 0 too
  return std::max(of.nmse / limit.nmse, of.peak / limit.peak);
}

// What a backend may do with the types at hand.
//   plain      f32 products and sums in some order, exponentials good to a few units in the last place
//   narrow     a weight or the cache is F16 or BF16: activations may be rounded to 16 bits before the product
//   quantised  a weight or the cache has blocks: activations may be rounded to 8 bits a block before the product
struct Bound {
  std::uint32_t subject;  // of the case; 0: all that have no row of their own
  Difference plain, narrow, quantised;
};
inline constexpr Difference kDefinition = {1e-12, 4e-6};  // f32 against float64: the reference against NumPy
inline constexpr Bound kBounds[] = {
    {0, {1e-10, 1e-4}, {2e-5, 3e-2}, {2e-4, 6e-2}},
    // Copies and decodes, but for one multiplication: what NumPy printed is good to about as much.
    {NACELLE_OP_EMBEDDING, {1e-12, 1e-6}, {1e-12, 1e-6}, {1e-12, 1e-6}},
    {NACELLE_OP_SPLIT, {1e-12, 1e-6}, {1e-12, 1e-6}, {1e-12, 1e-6}},
    {NACELLE_OP_CONCAT, {1e-12, 1e-6}, {1e-12, 1e-6}, {1e-12, 1e-6}},
    {NACELLE_OP_GATHER, {1e-12, 1e-6}, {1e-12, 1e-6}, {1e-12, 1e-6}},
    // A whole decoder: two layers, one on the other.
    {kDecoder, {16e-10, 16e-4}, {32e-5, 48e-2}, {32e-4, 96e-2}},
};

// The type of the case's weights or cache that says most about its error.
inline nacelle_type narrowest_type(const Case& of) {
  nacelle_type narrowest = NACELLE_TYPE_F32;
  const auto consider = [&](nacelle_type type) {
    const auto rank = [](nacelle_type t) { return t >= NACELLE_TYPE_Q8_0 ? 2 : t == NACELLE_TYPE_F32 ? 0 : 1; };
    if (rank(type) > rank(narrowest)) narrowest = type;
  };
  for (const Source& weight : of.weights) consider(of.record().values[weight.value].type);
  if (!of.record().cache_groups.empty()) {
    consider(of.key_type);
    consider(of.value_type);
  }
  return narrowest;
}

inline Difference bound_of(const Case& of) {
  const Bound* bound = kBounds;
  for (const Bound& row : kBounds)
    if (row.subject == of.subject) bound = &row;
  const nacelle_type type = narrowest_type(of);
  return type >= NACELLE_TYPE_Q8_0 ? bound->quantised : type == NACELLE_TYPE_F32 ? bound->plain : bound->narrow;
}

}  // namespace nacelle::conformance
