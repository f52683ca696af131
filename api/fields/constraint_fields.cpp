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
  enum class Kind { kNone, kText, kObject, kSchema, kRegex };
  Kind kind = Kind::kNone;
  Json named, schema;  // json_schema, and the schema in it
  Json plain;          // the schema beside json_object, as Together, Fireworks and llama.cpp have it
  Json pattern;        // of a regex, as Together has it
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
                               static const std::pair<std::string_view, Kind> words[] = {{"text", Kind::kText},
                                                                                         {"json_object", Kind::kObject},
                                                                                         {"json_schema", Kind::kSchema},
                                                                                         {"regex", Kind::kRegex}};
                               for (const auto& [word, kind] : words)
                                 if (v == word) f.kind = kind;
                               if (f.kind == Kind::kNone)
                                 refuse_value(n, "\"text\", \"json_object\", \"json_schema\" or \"regex\"", v);
                             }),
      custom<ResponseFormat>("json_schema", [](ResponseFormat& f, const std::string&, const Json& v) { f.named = v; }),
      custom<ResponseFormat>("schema", [](ResponseFormat& f, const std::string&, const Json& v) { f.plain = v; }),
      custom<ResponseFormat>("pattern", [](ResponseFormat& f, const std::string&, const Json& v) { f.pattern = v; }),
  };
  ResponseFormat format;
  read_fields<ResponseFormat>(format, to_object(name, value), fields, name + ".");
  if (format.kind == Kind::kNone) refuse_missing(name + ".type");
  if (!format.plain.is_null() && format.kind != Kind::kObject)
    refuse_value(name + ".schema", "absent where the type is not json_object", format.plain);
  if (!format.pattern.is_null() && format.kind != Kind::kRegex)
    refuse_value(name + ".pattern", "absent where the type is not regex", format.pattern);
  const std::string path = name + ".json_schema";
  if (format.kind != Kind::kSchema) {
    if (!format.named.is_null()) refuse_value(path, "absent where the type is not json_schema", format.named);
    if (format.kind == Kind::kRegex) {
      if (format.pattern.is_null()) refuse_missing(name + ".pattern");
      return set_spec(constraint, Spec::Kind::kRegex, name, to_string(name + ".pattern", format.pattern));
    }
    if (format.kind == Kind::kText) return;
    if (format.plain.is_null()) return set_spec(constraint, Spec::Kind::kJsonObject, name, "");
    if (!format.plain.is_object()) refuse_value(name + ".schema", "a JSON Schema", format.plain);
    return set_spec(constraint, Spec::Kind::kJsonSchema, name, to_text(format.plain));
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
