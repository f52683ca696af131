// The words of api/fields as the rest of this folder has them.
#pragma once

#include "api/fields/constraint_fields.hpp"

namespace nacelle::openai {

using fields::boolean;
using fields::byte_list;
using fields::check_present;
using fields::Constraint;
using fields::constraint_fields;
using fields::custom;
using fields::describe;
using fields::element;
using fields::Field;
using fields::Fields;
using fields::integer;
using fields::is_utf8;
using fields::Json;
using fields::json_string;
using fields::no_effect;
using fields::number;
using fields::only;
using fields::parse_json;
using fields::read_fields;
using fields::refuse_missing;
using fields::refuse_unknown;
using fields::refuse_unsupported;
using fields::refuse_value;
using fields::set_choice;
using fields::set_grammar;
using fields::set_regex;
using fields::set_response_format;
using fields::set_schema;
using fields::string;
using fields::to_array;
using fields::to_boolean;
using fields::to_integer;
using fields::to_name;
using fields::to_number;
using fields::to_object;
using fields::to_string;
using fields::to_template_variables;
using fields::to_text;
using fields::to_tokens;
using fields::type_words;

}  // namespace nacelle::openai
