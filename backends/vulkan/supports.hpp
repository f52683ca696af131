// What the backend takes.
#pragma once

#include <nacelle/graph.h>

namespace nacelle::vulkan {

// Any thread. True where every input, type and attribute of the operation has a shader.
bool supports(const nacelle_graph& graph, const nacelle_op& op) noexcept;
// Throws sdk::Failure that names the first operation or cache group that is not supported.
void check_graph(const nacelle_graph& graph);

}  // namespace nacelle::vulkan
