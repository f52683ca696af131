#include "api/openai/constraint_fields.hpp"

#include <utility>

#include "api/http/message.hpp"

namespace nacelle::openai {
namespace {

using Spec = constrain::ConstraintSpec;

void set_spec(Constraint& constraint, Spec::Kind kind, const std::string& name, std::string text,
              std::vector<std::string> choices = {}) {
  if (constraint)
    throw http::RequestError(
        {400, "'" + name + "' and '" + constraint->param + "' both constrain the answer; leave one of them out", name,
         "invalid_value"});
  constraint = Spec{kind, std::move(text), std::move(choices), name};
}

struct SchemaFormat {
  Json schema;
};

}  // namespace

void set_schema(Constraint& constraint, const std::string& name, const Json& value) {
  if (value.is_string()) return set_spec(constraint, Spec::Kind::kJsonSchema, name, value.get<std::string>());
  if (!value.is_object() && !value.is_boolean()) refuse_value(name, "a JSON Schema", value);
  set_spec(constraint, Spec::Kind::kJsonSchema, name, to_text(value));
}

void set_regex(Constraint& constraint, const std::string& name, const Json& value) {
  set_spec(constraint, Spec::Kind::kRegex, name, to_string(name, value));
}

void set_grammar(Constraint& constraint, const std::string& name, const Json& value) {
  set_spec(constraint, Spec::Kind::kGbnf, name, to_string(name, value));
}

void set_choice(Constraint& constraint, const std::string& name, const Json& value) {
  std::vector<std::string> choices;
  for (const Json& choice : to_array(name, value)) choices.push_back(to_string(name, choice));
  set_spec(constraint, Spec::Kind::kChoice, name, "", std::move(choices));
}

// The schema is enforced as it is written, whether `strict` or not. Errors name the field itself, wherever inside it
// the fault lies: the message has the place.
void set_response_format(Constraint& constraint, const std::string& name, const Json& value) {
  const auto type = to_object(name, value).find("type");
  if (type == value.end()) refuse_missing(name + ".type");
  if (*type == "text") return;
  if (*type == "json_object") return set_spec(constraint, Spec::Kind::kJsonObject, name, "");
  if (*type != "json_schema") refuse_value(name + ".type", "\"text\", \"json_object\" or \"json_schema\"", *type);
  const auto format = value.find("json_schema");
  if (format == value.end()) refuse_missing(name + ".json_schema");
  static const Fields<SchemaFormat> fields = {
      no_effect<SchemaFormat>("name", Json::value_t::string),
      no_effect<SchemaFormat>("description", Json::value_t::string),
      no_effect<SchemaFormat>("strict", Json::value_t::boolean),
      custom<SchemaFormat>("schema", [](SchemaFormat& f, const std::string&, const Json& v) { f.schema = v; }),
  };
  SchemaFormat read;
  const std::string path = name + ".json_schema";
  read_fields<SchemaFormat>(read, to_object(path, *format), fields, path + ".");
  if (read.schema.is_null()) refuse_missing(path + ".schema");
  if (!read.schema.is_object() && !read.schema.is_boolean())
    refuse_value(path + ".schema", "a JSON Schema", read.schema);
  set_spec(constraint, Spec::Kind::kJsonSchema, name, to_text(read.schema));
}

}  // namespace nacelle::openai
