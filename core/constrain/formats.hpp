// The values of JSON Schema's `format` that are enforced.
#pragma once

#include <string>
#include <string_view>

#include "core/constrain/regular.hpp"

namespace nacelle::constrain {

// nullptr for a name that is not enforced.
const Automaton* format_automaton(std::string_view name);
std::string known_formats();  // "date-time, date, ..."

}  // namespace nacelle::constrain
