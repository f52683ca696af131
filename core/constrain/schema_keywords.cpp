// What each keyword is: enforced, an annotation, or refused; and the references between schemas.
#include <algorithm>
#include <cmath>

#include "core/base/error.hpp"
#include "core/base/hex.hpp"
#include "core/constrain/formats.hpp"
#include "core/constrain/schema_compiler.hpp"

namespace nacelle::constrain {
namespace {

constexpr std::string_view kEnforced[] = {"type",
                                          "enum",
                                          "const",
                                          "minimum",
                                          "maximum",
                                          "exclusiveMinimum",
                                          "exclusiveMaximum",
                                          "multipleOf",
                                          "minLength",
                                          "maxLength",
                                          "pattern",
                                          "format",
                                          "properties",
                                          "patternProperties",
                                          "additionalProperties",
                                          "propertyNames",
                                          "required",
                                          "minProperties",
                                          "maxProperties",
                                          "dependentRequired",
                                          "items",
                                          "prefixItems",
                                          "minItems",
                                          "maxItems",
                                          "contains",
                                          "minContains",
                                          "allOf",
                                          "anyOf",
                                          "oneOf",
                                          "$ref"};

// By the standard without effect on what is valid.
constexpr std::string_view kAnnotations[] = {
    "title", "description", "default", "examples",        "$comment",         "deprecated",    "readOnly", "writeOnly",
    "$defs", "definitions", "$anchor", "contentEncoding", "contentMediaType", "contentSchema", "$schema"};

struct Refused {
  std::string_view keyword;
  const char* why;
};
constexpr Refused kRefused[] = {
    {"not", "what must not match cannot be told before the value is whole; say what is allowed instead"},
    {"dependentSchemas", "it needs a look back at earlier members; use anyOf with required"},
    {"unevaluatedProperties", "use additionalProperties"},
    {"unevaluatedItems", "use items"},
    {"maxContains", "elements that do not match cannot be told while they are written"},
    {"$dynamicRef", "use $ref"},
    {"$dynamicAnchor", "use $anchor and $ref"},
    {"$vocabulary", "it belongs to meta-schemas"},
    {"dependencies", "it belongs to older drafts; use dependentRequired"},
    {"additionalItems", "it belongs to older drafts; use prefixItems and items"},
    {"nullable", "it belongs to OpenAPI 3.0; use \"type\": [..., \"null\"]"}};

std::string escaped(std::string_view name) {
  std::string out;
  for (const char c : name) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

bool contains(std::span<const std::string_view> list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

}  // namespace

// The names are the client's: of a long pointer the end is kept. Each of a schema's places holds one.
std::string below(const std::string& pointer, std::string_view name) {
  static constexpr std::size_t kShown = 200;
  const auto end_of = [](std::string_view text) { return text.substr(text.size() - std::min(text.size(), kShown)); };
  const std::string longer = pointer + '/' + escaped(end_of(name));
  return longer.size() <= kShown && name.size() <= kShown ? longer : "..." + std::string(end_of(longer));
}

void refuse_schema(const std::string& pointer, const std::string& why) {
  throw Error(ErrorKind::kInvalidArgument, "the schema is refused at " + pointer + ": " + why);
}

void refuse_keyword(const Place& place, const char* keyword, const std::string& why) {
  throw Error(ErrorKind::kUnsupported, "the schema's keyword \"" + std::string(keyword) + "\" at " +
                                           below(place.pointer, keyword) +
                                           " cannot be enforced while text is generated: " + why);
}

void check_keywords(const Place& place, bool is_root) {
  for (const auto& [name, value] : place.schema->items()) {
    if (contains(kEnforced, name) || contains(kAnnotations, name) || name.starts_with("x-")) continue;
    if (name == "$id") {
      if (!is_root) refuse_keyword(place, "$id", "an id is supported at the root of the schema only");
      continue;
    }
    if (name == "if" || name == "then" || name == "else") {
      // Each alone is without effect.
      if (place.schema->contains("if") && (place.schema->contains("then") || place.schema->contains("else")))
        refuse_keyword(place, "if", "what must not match cannot be told before the value is whole; use anyOf");
      continue;
    }
    if (name == "uniqueItems") {
      if (!value.is_boolean()) refuse_schema(below(place.pointer, name), "it must be true or false");
      if (value && count_member(place, "maxItems", kUnbounded, kUnbounded) > 1)
        refuse_keyword(place, "uniqueItems", "it needs a look back at all earlier elements; leave it out");
      continue;
    }
    for (const Refused& refused : kRefused)
      if (refused.keyword == name) {
        if (name == "maxContains" && !place.schema->contains("contains")) break;
        refuse_keyword(place, std::string(name).c_str(), refused.why);
      }
    if (name == "maxContains") continue;
    refuse_keyword(place, name.substr(0, 80).c_str(),
                   "it is not known here; annotations of your own may be named x-...");
  }
  const Json* dialect = member(place, "$schema");
  if (dialect && is_root) {
    const std::string uri = dialect->is_string() ? dialect->get<std::string>() : "";
    if (uri.find("json-schema.org/") == std::string::npos)
      refuse_keyword(place, "$schema", "only the drafts of json-schema.org are known");
  }
}

const Json* member(const Place& place, const char* keyword) {
  const auto found = place.schema->find(keyword);
  return found == place.schema->end() ? nullptr : &*found;
}

const Json* object_member(const Place& place, const char* keyword) {
  const Json* value = member(place, keyword);
  if (value && !value->is_object()) refuse_schema(below(place.pointer, keyword), "it must be an object");
  return value;
}

const Json* array_member(const Place& place, const char* keyword) {
  const Json* value = member(place, keyword);
  if (value && !value->is_array()) refuse_schema(below(place.pointer, keyword), "it must be an array");
  return value;
}

std::uint32_t count_member(const Place& place, const char* keyword, std::uint32_t otherwise, std::uint32_t most) {
  const Json* value = member(place, keyword);
  if (!value) return otherwise;
  const double number = value->is_number() ? value->get<double>() : -1;
  if (number < 0 || number != std::floor(number))
    refuse_schema(below(place.pointer, keyword), "it must be an integer of at least 0");
  return number >= most ? most : static_cast<std::uint32_t>(number);
}

// ---- References

SchemaReferences::SchemaReferences(const Json& root) : root_(root) {
  if (root.is_object() && root.contains("$id") && root["$id"].is_string()) id_ = root["$id"];
  collect(root, "#", 0);
}

void SchemaReferences::collect(const Json& schema, const std::string& pointer, unsigned depth) {
  if (depth > 200) return;
  if (schema.is_array()) {
    for (std::size_t i = 0; i < schema.size(); ++i) collect(schema[i], below(pointer, std::to_string(i)), depth + 1);
    return;
  }
  if (!schema.is_object()) return;
  if (const auto anchor = schema.find("$anchor"); anchor != schema.end() && anchor->is_string())
    anchors_.try_emplace(anchor->get<std::string>(), Place{&schema, pointer});
  for (const auto& [name, value] : schema.items())
    if (name != "enum" && name != "const") collect(value, below(pointer, name), depth + 1);
}

Place SchemaReferences::find(const Place& from, const std::string& reference) const {
  std::string fragment = reference;
  if (!id_.empty() && fragment.starts_with(id_)) fragment.erase(0, id_.size());
  if (fragment.empty() || fragment == "#") return {&root_, "#"};
  if (fragment[0] != '#')
    refuse_keyword(from, "$ref",
                   "\"" + reference.substr(0, 100) +
                       "\" is not in this document: only #, #/... and "
                       "#anchor are followed");
  std::string pointer;
  for (std::size_t i = 1; i < fragment.size(); ++i) {
    const auto digit = [&](std::size_t at) { return at < fragment.size() ? hex_digit(fragment[at]) : -1; };
    if (fragment[i] == '%' && digit(i + 1) >= 0 && digit(i + 2) >= 0) {
      pointer += static_cast<char>(digit(i + 1) * 16 + digit(i + 2));
      i += 2;
    } else {
      pointer += fragment[i];
    }
  }
  if (pointer.starts_with('/')) return follow(from, reference, std::move(pointer));
  const auto anchor = anchors_.find(pointer);
  if (anchor == anchors_.end())
    refuse_schema(below(from.pointer, "$ref"), "there is no $anchor \"" + pointer.substr(0, 100) + "\"");
  return anchor->second;
}

Place SchemaReferences::follow(const Place& from, const std::string& reference, std::string pointer) const {
  const Json* at = &root_;
  std::string path = "#";
  for (std::size_t begin = 1; begin <= pointer.size();) {
    const std::size_t end = std::min(pointer.find('/', begin), pointer.size());
    std::string name;
    for (std::size_t i = begin; i < end; ++i) {
      const bool escape = pointer[i] == '~' && i + 1 < end && (pointer[i + 1] == '0' || pointer[i + 1] == '1');
      name += escape ? (pointer[i + 1] == '0' ? '~' : '/') : pointer[i];
      i += escape;
    }
    const Json* next = nullptr;
    if (at->is_object()) {
      if (const auto found = at->find(name); found != at->end()) next = &*found;
    } else if (at->is_array()) {
      const bool digits = !name.empty() && name.size() < 7 && name.find_first_not_of("0123456789") == std::string::npos;
      if (digits && std::stoul(name) < at->size()) next = &(*at)[std::stoul(name)];
    }
    if (!next) refuse_schema(below(from.pointer, "$ref"), "\"" + reference.substr(0, 100) + "\" leads nowhere");
    at = next;
    path = below(path, name);
    begin = end + 1;
    const bool more = begin <= pointer.size();
    if (more && at->is_object() && at->contains("$id") && (*at)["$id"].is_string())
      refuse_keyword(from, "$ref", "it crosses a schema with an $id of its own");
  }
  return {at, path};
}

}  // namespace nacelle::constrain
