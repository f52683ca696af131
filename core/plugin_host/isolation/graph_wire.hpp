// A graph as a message: what a backend sees of it, without where its weights come from.
#pragma once

#include "core/plugin_host/isolation/wire.hpp"
#include "sdk/runtime/graph.hpp"

namespace nacelle::isolation {

void put_graph(Writer& out, const nacelle_graph& graph);
sdk::GraphRecord get_graph(Reader& in);

}  // namespace nacelle::isolation
