// A Python literal as JSON, for python_calls.cpp.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace nacelle::chat {

enum class LiteralEnd {
  kWhole,
  kCut,  // the text ends inside it, or may go on
  kBroken
};

// The literal that `text` begins with: texts, numbers, True, False, None, lists, tuples and dicts. Adds it as JSON to
// `json`, as far as it came, and its length to `taken`. A bare word counts as a text.
LiteralEnd read_python_literal(std::string_view text, std::size_t& taken, std::string& json);

}  // namespace nacelle::chat
