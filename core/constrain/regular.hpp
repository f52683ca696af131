// Regular languages as automata whose every state has one next state a byte: what intersection, difference and the test
// for emptiness need. Used where a schema combines conditions on one string or number.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "core/constrain/network.hpp"

namespace nacelle::constrain {

// State 0 is the start. Every state can reach an accepting one; a language that is empty has no accepting state at all.
struct Automaton {
  static constexpr std::int32_t kDead = -1;
  std::array<std::uint8_t, 256> class_of{};
  std::uint32_t class_count = 1;
  std::vector<std::int32_t> next;  // [state][class]
  std::vector<bool> accepts;

  std::size_t size() const noexcept { return accepts.size(); }
  std::int32_t step(std::int32_t state, std::uint8_t byte) const {
    return next[static_cast<std::size_t>(state) * class_count + class_of[byte]];
  }
  bool empty() const;
  bool matches(std::string_view text) const;
};

// What leads from `start` to `end` in a network without calls. Throws Error(kInvalidArgument) past the limit of states.
Automaton determinise(const Network& network, PositionId start, PositionId end);

// What both match; what `a` matches and `b` does not. Throw as determinise() does.
Automaton intersection(const Automaton& a, const Automaton& b, const GrammarLimits& limits);
Automaton difference(const Automaton& a, const Automaton& b, const GrammarLimits& limits);

// Adds the automaton's language to the network; returns where it ends.
PositionId read_automaton(Network& network, PositionId from, const Automaton& automaton);
// The same for texts that stand inside a JSON string: quote, backslash and control characters are read escaped.
PositionId read_automaton_escaped(Network& network, PositionId from, const Automaton& automaton);

}  // namespace nacelle::constrain
