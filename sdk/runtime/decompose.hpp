// Rewrites a graph for a backend that lacks some composite operations, into parts that it may have.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "graph.hpp"

namespace nacelle::sdk {

// Whether a device can run operation `op` of `graph`: nacelle_backend_api.supports.
using Supports = std::function<bool(const nacelle_graph& graph, std::uint32_t op)>;

// Replaces each operation that `supports` refuses by its parts, as often as needed. Value ids of `graph` keep their
// meaning, weights and their sources are shared; new values come after the old ones. Where an operation has no parts,
// returns nullptr and names it: "operation attention (soft-cap) of layer 3". Any thread.
//
// What has parts: gated (without clamp), matmul with bias, embedding with a scale, scale with a soft-cap, rms_norm and
// layer_norm with weights (whole rows), normalise, and the activations silu and gelu_quick. Attention, rope, the plain
// matmul, softmax and the moe operations have none: their parts would need more operations than there are.
std::unique_ptr<Graph> decompose(const Graph& graph, const Supports& supports, std::string* unsupported);

}  // namespace nacelle::sdk
