// Grammars put together from others: free text up to a mark, then a value of a schema, and so on. It is how a call of a
// tool is held to its schema from the moment the model begins one, and no earlier.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "core/constrain/json_schema.hpp"

namespace nacelle::constrain {

// Levels of a composition's JSON: enough for the deepest schema and what stands around it.
inline constexpr std::size_t kCompositionDepth = 512;

// Adds the rules of a composition, which is JSON; returns the rule of the whole. A part is one of
//   "text"                the text itself
//   [PART, ...]           one after the other
//   {"one_of": [PART, ...]}
//   {"repeat": PART}      any number of times
//   {"mark": "<tag>"}     the text, spelled, or as the special token of that text
//   {"schema": SCHEMA}    a JSON value; "of": whose it is, for errors
//   {"regex": "..."}, {"gbnf": "..."}
//   {"until": ["</tag>", ...]}  any text, to the point, in which none of these begins and ends; with "tokens": true any
//                         tokens, special ones too; with "unlike": "REGEX" no text of which the regex matches a
//                         beginning
// Throws Error as the parts do, kInternal for what is no composition.
RuleId read_composition(Network& network, std::string_view text, std::vector<OneOfCheck>& checks);

}  // namespace nacelle::constrain
