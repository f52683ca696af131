// The kernel tables that this machine can run, and test data.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/packing.hpp"
#include "backends/cpu/registry.hpp"
#include "tests/shared_data.hpp"

namespace nacelle::cpu::test {

inline std::vector<const KernelTable*> usable_tables() {
  std::vector<const KernelTable*> tables;
  for (const KernelTable* table : kernel_tables())
    if (detect_isa().has(table->isa)) tables.push_back(table);
  return tables;
}

// Those with vectors and attention of their own.
inline std::vector<const KernelTable*> vector_tables() {
  std::vector<const KernelTable*> tables;
  for (const KernelTable* table : usable_tables())
    if (table->vectors) tables.push_back(table);
  return tables;
}

inline std::vector<float> random_floats(std::size_t count, std::uint32_t seed, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> out(count);
  for (float& x : out) x = normal(random);
  return out;
}

// Largest difference over the root mean square of what is expected.
inline double worst(const std::vector<double>& expected, const std::vector<float>& actual) {
  double power = 1e-30, peak = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    power += expected[i] * expected[i];
    peak = std::fmax(peak, std::fabs(expected[i] - actual[i]));
    if (!std::isfinite(actual[i])) return INFINITY;
  }
  return peak / std::sqrt(power / static_cast<double>(expected.size()));
}

}  // namespace nacelle::cpu::test
