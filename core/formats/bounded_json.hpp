// JSON from outside as nlohmann's values, within bounds: its own parser takes any depth, which later recursion over the
// value would pay with the stack, and looks through the whole object for each member's name.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace nacelle {

struct JsonBounds {
  std::size_t depth = 64;
  std::size_t values = 1'000'000;  // some 16 to 100 bytes each
};

// One JSON document in UTF-8; objects keep their order. Throws Error(kInvalidArgument) that says what is wrong, at
// which line and column or past which bound; also for a name that occurs twice in an object and for numbers beyond a
// double.
nlohmann::ordered_json parse_bounded_json(std::string_view text, const JsonBounds& bounds = {});

}  // namespace nacelle
