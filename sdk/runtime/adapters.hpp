// Low-rank adapters (LoRA) in a graph: architectures never mention them, the host puts them in.
#pragma once

#include <cstdint>

#include "sdk/runtime/graph.hpp"

namespace nacelle::sdk {

// Behind every MATMUL of a layer whose weight is a matrix: an ADAPTER_MATMUL of the same input, which takes over the
// product's value id, so that all that follows is as it was. Returns how many there are.
std::uint32_t add_adapters(GraphRecord& graph);

}  // namespace nacelle::sdk
