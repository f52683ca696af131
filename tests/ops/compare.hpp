// How near two results must be, by what a backend is allowed to do with the types at hand.
#pragma once

#include <algorithm>
#include <cmath>
#include <ostream>
#include <vector>

#include "tests/ops/case.hpp"

namespace nacelle::test {

struct Difference {
  double nmse = 0;  // sum (a - b)^2 / sum a^2
  double peak = 0;  // max |a - b| / root mean square of a
};

inline std::ostream& operator<<(std::ostream& out, const Difference& of) {
  return out << "{nmse " << of.nmse << ", peak " << of.peak << "}";
}

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

// Float: f32 products and sums in some order, exponentials good to a few units in the last place. Narrow: activations
// may be rounded to 16 bits before a product with a 16-bit weight or cache. Quantised: to 8 bits a block before a
// product with a block weight.
inline constexpr Difference kDefinition = {1e-12, 4e-6};  // f32 against float64
inline constexpr Difference kFloat = {1e-10, 1e-4};
inline constexpr Difference kNarrow = {2e-5, 3e-2};
inline constexpr Difference kQuantised = {2e-4, 6e-2};

inline Difference tolerance_for(const Case& of) {
  bool narrow = of.key_type != NACELLE_TYPE_F32 || of.value_type != NACELLE_TYPE_F32, quantised = false;
  for (const Source& weight : of.weights) {
    const nacelle_type type = of.record().values[weight.value].type;
    narrow |= type == NACELLE_TYPE_F16 || type == NACELLE_TYPE_BF16;
    quantised |= type >= NACELLE_TYPE_Q8_0;
  }
  quantised |= of.key_type >= NACELLE_TYPE_Q8_0 || of.value_type >= NACELLE_TYPE_Q8_0;
  return quantised ? kQuantised : narrow ? kNarrow : kFloat;
}

inline bool within(const Difference& of, const Difference& limit) {
  return of.nmse <= limit.nmse && of.peak <= limit.peak;
}

}  // namespace nacelle::test
