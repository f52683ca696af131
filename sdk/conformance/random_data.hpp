// Test data by rule: inputs and weights follow from a seed and an index, with the same arithmetic in make_goldens.py,
// so that neither has to be stored.
#pragma once

#include <nacelle/graph.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace nacelle::conformance {

// A well-mixed 64-bit number.
std::uint64_t mix(std::uint64_t seed, std::uint64_t index);
// A multiple of 2^-23 in [-1, 1): exact in f32.
float uniform(std::uint64_t seed, std::uint64_t index);
// `count` elements in their stored form. Plain types hold uniform * scale + offset, rounded; block types are made of
// random scales and quants, about as large, without an offset.
std::vector<std::byte> random_weight(nacelle_type type, std::uint64_t count, std::uint64_t seed, float scale,
                                     float offset);

}  // namespace nacelle::conformance
