// Regular expressions: the common ground of ECMA-262, Python and RE2 that can be matched while text is generated. No
// look-around, back-references or word borders: those are refused by name.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/constrain/char_set.hpp"
#include "core/constrain/network.hpp"
#include "core/constrain/regular.hpp"

namespace nacelle::constrain {

struct RegexNode {
  enum class Kind { kChars, kSequence, kAlternatives, kRepeat, kBegin, kEnd };
  Kind kind = Kind::kSequence;  // a sequence of nothing matches ""
  CharSet chars;
  std::uint32_t min = 0, max = 0;  // kRepeat; kUnbounded
  std::vector<RegexNode> children;
};

struct RegexDialect {
  bool dot_stops_at_all_line_ends = false;  // ECMA-262: `.` leaves out \r, U+2028 and U+2029 too
};

// Throws Error(kInvalidArgument) for a client's pattern that is longer than the limits allow.
void check_pattern_size(std::string_view pattern, const GrammarLimits& limits);

// Throws Error(kInvalidArgument or kUnsupported) that quotes the place in the pattern.
RegexNode parse_regex(std::string_view pattern, const RegexDialect& dialect, const GrammarLimits& limits);

// The text as a whole must match; ^ and $ at its ends are allowed and mean nothing more. Large counts become counted
// calls.
PositionId read_regex(Network& network, PositionId from, const RegexNode& regex);

// JSON Schema's reading: the pattern may match anywhere in the text unless ^ and $ tie it to the ends.
Automaton search_automaton(std::string_view pattern, const GrammarLimits& limits);
// The text as a whole, as an automaton.
Automaton match_automaton(std::string_view pattern, const GrammarLimits& limits);

}  // namespace nacelle::constrain
