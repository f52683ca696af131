// The fields that constrain an answer: response_format, and the extensions grammar, regex, choice and json_schema with
// the names that other servers gave them.
#pragma once

#include <optional>
#include <string>

#include "api/fields/fields.hpp"
#include "core/constrain/constraint.hpp"

namespace nacelle::fields {

using Constraint = std::optional<constrain::ConstraintSpec>;

// Each throws RequestError(400); only one constraint may be asked for.
void set_response_format(Constraint& constraint, const std::string& name, const Json& value);
void set_schema(Constraint& constraint, const std::string& name, const Json& value);  // an object, or JSON in a string
void set_regex(Constraint& constraint, const std::string& name, const Json& value);
void set_grammar(Constraint& constraint, const std::string& name, const Json& value);  // GBNF
void set_choice(Constraint& constraint, const std::string& name, const Json& value);

template <class T>
Fields<T> constraint_fields() {
  const auto field = [](std::string name, void (*set)(Constraint&, const std::string&, const Json&)) -> Field<T> {
    return {std::move(name), [set](T& body, const std::string& n, const Json& v) { set(body.constraint, n, v); }};
  };
  return {field("response_format", set_response_format),
          field("json_schema", set_schema),
          field("guided_json", set_schema),
          field("regex", set_regex),
          field("guided_regex", set_regex),
          field("grammar", set_grammar),
          field("guided_grammar", set_grammar),
          field("choice", set_choice),
          field("guided_choice", set_choice)};
}

}  // namespace nacelle::fields
