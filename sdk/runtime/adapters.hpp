// Low-rank adapters (LoRA) in a graph: architectures never mention them, the host puts them in.
#pragma once

#include <cstdint>
#include <optional>

#include "sdk/runtime/graph.hpp"

namespace nacelle::sdk {

// Whether it adds low-rank products to a product: ADAPTER_MATMUL, or MOE_ADAPTER_MATMUL.
bool is_adapter(const OpRecord& op) noexcept;

// Behind every MATMUL of a layer whose weight is a matrix: an ADAPTER_MATMUL of the same input, which takes over the
// product's value id, so that all that follows is as it was. With `experts` also behind every MOE_MATMUL: its
// MOE_ADAPTER_MATMUL. Returns how many there are.
std::uint32_t add_adapters(GraphRecord& graph, bool experts = false);

// The EMBEDDING of the step's tokens.
struct TokenEmbedding {
  std::uint32_t table = NACELLE_NO_VALUE;  // value id
  float scale = 1;                         // of its rows
  bool has_change = false;                 // see add_embedding_change
};
std::optional<TokenEmbedding> find_embedding(const GraphRecord& graph);

// Adds to the tokens' embedding a boundary value, which the host writes before each step. False where the graph embeds
// no tokens.
bool add_embedding_change(GraphRecord& graph);

// How logits are made of the rows marked NACELLE_OUTPUT_EMBEDDING: logits = cap(scale * (x w^T + bias) + shift).
struct HeadPath {
  std::uint32_t weight = NACELLE_NO_VALUE;  // value id
  float scale = 1, soft_cap = 0;            // soft_cap 0: none
};
// Nothing where the graph has no logits, or makes them in another way.
std::optional<HeadPath> find_head(const GraphRecord& graph);

}  // namespace nacelle::sdk
