#include "api/fields/constraint_fields.hpp"

#include <utility>

#include "api/http/message.hpp"

namespace nacelle::fields {
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

struct ResponseFormat {
  enum class Kind { kNone, kText, kObject, kSchema };
  Kind kind = Kind::kNone;
  Json named, schema;  // json_schema, and the schema in it
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
  using Kind = ResponseFormat::Kind;
  static const Fields<ResponseFormat> fields = {
      custom<ResponseFormat>("type",
                             [](ResponseFormat& f, const std::string& n, const Json& v) {
                               if (v != "text" && v != "json_object" && v != "json_schema")
                                 refuse_value(n, "\"text\", \"json_object\" or \"json_schema\"", v);
                               f.kind = v == "text" ? Kind::kText : v == "json_object" ? Kind::kObject : Kind::kSchema;
                             }),
      custom<ResponseFormat>("json_schema", [](ResponseFormat& f, const std::string&, const Json& v) { f.named = v; }),
  };
  ResponseFormat format;
  read_fields<ResponseFormat>(format, to_object(name, value), fields, name + ".");
  if (format.kind == Kind::kNone) refuse_missing(name + ".type");
  const std::string path = name + ".json_schema";
  if (format.kind != Kind::kSchema) {
    if (!format.named.is_null()) refuse_value(path, "absent where the type is not json_schema", format.named);
    if (format.kind == Kind::kObject) set_spec(constraint, Spec::Kind::kJsonObject, name, "");
    return;
  }
  if (format.named.is_null()) refuse_missing(path);
  static const Fields<ResponseFormat> named = {
      no_effect<ResponseFormat>("name", Json::value_t::string),
      no_effect<ResponseFormat>("description", Json::value_t::string),
      no_effect<ResponseFormat>("strict", Json::value_t::boolean),
      custom<ResponseFormat>("schema", [](ResponseFormat& f, const std::string&, const Json& v) { f.schema = v; }),
  };
  read_fields<ResponseFormat>(format, to_object(path, format.named), named, path + ".");
  if (format.schema.is_null()) refuse_missing(path + ".schema");
  if (!format.schema.is_object() && !format.schema.is_boolean())
    refuse_value(path + ".schema", "a JSON Schema", format.schema);
  set_spec(constraint, Spec::Kind::kJsonSchema, name, to_text(format.schema));
}

}  // namespace nacelle::fields
