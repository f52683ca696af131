// Which operations the GPU backends take.
#pragma once

#include <nacelle/graph.h>

namespace nacelle::gpu {

// True where an operation's kind, inputs and attributes have a kernel. Any thread.
bool supports(const nacelle_graph& graph, const nacelle_op& op) noexcept;

}  // namespace nacelle::gpu
