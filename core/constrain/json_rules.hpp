// The parts of JSON that schemas are put together from. Between tokens stands at most one space, and only behind a
// comma or a colon: a model can neither run on in white space nor lose a token a line to indentation.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/constrain/network.hpp"

namespace nacelle::constrain {

// `text` as a JSON string, quotes included.
std::string json_string(std::string_view text);

class JsonRules {
 public:
  explicit JsonRules(Network& network) : network_(network) {}

  PositionId comma(PositionId from);
  PositionId colon(PositionId from);

  // Any string, with all of JSON's escapes but lone surrogates.
  RuleId string();
  // The same with `min` to `max` code points.
  RuleId string(std::uint32_t min, std::uint32_t max);
  RuleId number();   // with an exponent at most in its normal form: one digit before the point
  RuleId integer();  // digits only
  RuleId value();
  RuleId object();  // any
  RuleId array();   // any

 private:
  PositionId character(PositionId from);
  RuleId character_rule();
  RuleId digit();
  PositionId separator(PositionId from, char c);
  Network& network_;
  std::optional<RuleId> string_, character_, digit_, number_, integer_, value_, object_, array_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, RuleId> strings_;
};

}  // namespace nacelle::constrain
