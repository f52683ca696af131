// Cases without stored results, in shapes that kernels find awkward: for comparing backends with each other.
#pragma once

#include <vector>

#include "sdk/conformance/case.hpp"

namespace nacelle::conformance {

// Every type that weights are stored in: the three floats, then the block formats.
std::vector<nacelle_type> weight_types();
// Those of tiny_decoder.
inline constexpr nacelle_type kDecoderTypes[] = {NACELLE_TYPE_F32, NACELLE_TYPE_F16, NACELLE_TYPE_BF16,
                                                 NACELLE_TYPE_Q8_0, NACELLE_TYPE_Q4_0};

// Operations that work on a row alone: 33 rows of one sequence in one step.
std::vector<Case> row_cases();

// Attention over the cache with every pair of key and value types, and odd head counts and widths.
std::vector<Case> attention_cases();

// A decoder of two layers of the Llama kind (rms_norm, rope, grouped-query attention with a window in the second layer,
// gated feed-forward, logits and their selection) with weights of `type` and a cache of `cache_type`.
Case tiny_decoder(nacelle_type type, nacelle_type cache_type);

// Operations that carry a state: recurrent_cases.cpp. Sequences go on, and others begin between them.
std::vector<Case> recurrent_cases();
// Two layers with a convolution and a recurrence each, by either rule.
Case recurrent_decoder();

// `rows` rows of one sequence in chunks of `chunk`.
Steps in_chunks(std::uint32_t rows, std::uint32_t chunk);
// `sequences` prompts of three rows, each a step of its own; then two more rows of each, in batches of `batch`
// sequences.
Steps in_batches(std::uint32_t sequences, std::uint32_t batch);

}  // namespace nacelle::conformance
