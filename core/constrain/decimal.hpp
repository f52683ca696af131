// Numbers as texts: exact decimals, and the regular languages of those within bounds.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/constrain/regular.hpp"

namespace nacelle::constrain {

// -whole.fraction, without leading or trailing zeros; zero is "0", "" and not negative.
struct Decimal {
  bool negative = false;
  std::string whole = "0", fraction;
  bool is_zero() const { return whole == "0" && fraction.empty(); }
  std::string text() const;  // "-1.5": the form in which numbers of an enum are written
};
// Of a JSON number; the shortest digits that stand for the same double.
Decimal decimal_of(const nlohmann::ordered_json& number);
// -1, 0, 1.
int compare(const Decimal& a, const Decimal& b);

// Without exponents, "-0" or leading zeros, and with at most kMostDigits before the point and behind it: a model that
// runs on in digits is stopped. Integers have digits only.
inline constexpr std::size_t kMostDigits = 40;
Automaton number_texts(bool integers);
// Those at least (above, where strict) or at most (below) the bound.
Automaton bounded_numbers(const Decimal& bound, bool lower, bool strict, bool integers, const GrammarLimits& limits);
// Those that are multiples of `step`, which is above zero. Throws Error(kUnsupported) where that takes too many states.
Automaton multiples(const Decimal& step, bool integers, const GrammarLimits& limits);

}  // namespace nacelle::constrain
