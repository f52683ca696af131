// JSON Schema, draft 2020-12, as a grammar. docs/constrained.md lists what is enforced and what is refused.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/constrain/network.hpp"

namespace nacelle::constrain {

// Two branches of a oneOf must share no value: `overlap` is the rule of what both allow, and must be empty.
struct OneOfCheck {
  RuleId overlap;
  std::string message;  // where it is not
};

// Adds the schema's rules; returns the root's. Throws Error(kInvalidArgument) for a schema that is not one, and
// Error(kUnsupported) for what cannot be enforced, each with the JSON pointer of the place.
RuleId read_schema(Network& network, std::string_view schema, std::vector<OneOfCheck>& checks);
// After network.finish(): throws Error(kUnsupported) for the first overlap.
void check_one_of(const Network& network, const std::vector<OneOfCheck>& checks);

// Any JSON object.
RuleId read_json_object(Network& network);

}  // namespace nacelle::constrain
