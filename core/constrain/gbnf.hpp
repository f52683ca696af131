// GBNF, llama.cpp's grammar format: rules of literals, character classes, groups and repeats; `root` is the start.
#pragma once

#include <string_view>

#include "core/constrain/network.hpp"

namespace nacelle::constrain {

// Adds the grammar's rules; returns that of `root`. Throws Error(kInvalidArgument or kUnsupported) with line and
// column.
RuleId read_gbnf(Network& network, std::string_view text);

}  // namespace nacelle::constrain
