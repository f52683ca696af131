// Which rows of the cache an operation keeps: the layer of a cache group that its attributes name, whatever its kind.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>
#include <optional>

#include "graph.hpp"

namespace nacelle::sdk {

struct CacheUse {
  std::uint32_t group, layer;
};

// Nothing for operations that keep nothing from step to step.
std::optional<CacheUse> cache_use(std::uint32_t kind, const Attributes& attributes);
// Of an operation that has a use: names another layer or group.
void set_cache_use(OpRecord& op, CacheUse use);

}  // namespace nacelle::sdk
