// Tables of request fields: name, type, range and where the value goes. One reader for all of them.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/fields/json.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace nacelle::fields {

// Each throws RequestError(400); `name` is the field's path: "messages[2].content".
[[noreturn]] void refuse_value(const std::string& name, std::string_view expected, const Json& value);
// `supported`: what may stand there instead.
[[noreturn]] void refuse_unsupported(const std::string& name, std::string_view what, std::string_view supported = {});
[[noreturn]] void refuse_missing(const std::string& name);
// That `object` has them all: null counts as absent. `prefix` as in read_fields().
void check_present(const Json& object, std::initializer_list<const char*> names, const std::string& prefix);
// `known`: what is suggested where one of them is near; without `prefix`, as `name`.
[[noreturn]] void refuse_unknown(const std::string& prefix, const std::string& name,
                                 const std::vector<std::string>& known);

// "a string", "true or false": what a field must be.
std::string_view type_words(Json::value_t type);

double to_number(const std::string& name, const Json& value, double low, double high);
// Numbers like 16.0 count as integers.
std::int64_t to_integer(const std::string& name, const Json& value, std::int64_t low, std::int64_t high);
bool to_boolean(const std::string& name, const Json& value);
const std::string& to_string(const std::string& name, const Json& value);
const std::string& to_name(const std::string& name, const Json& value);  // a string that is not empty
const Json& to_object(const std::string& name, const Json& value);
const Json& to_array(const std::string& name, const Json& value);
std::vector<TokenId> to_tokens(const std::string& name, const Json& value);  // a fault names its element: "prompt[2]"
// "stop[2]"
std::string element(const std::string& name, std::size_t index);

// An object of further template variables; what the body has fields for cannot come in by this door.
const Json& to_template_variables(const std::string& name, const Json& value);

template <class T>
struct Field {
  std::string name;
  std::function<void(T&, const std::string& name, const Json&)> set;  // never called with null
};

template <class T>
using Fields = std::vector<Field<T>>;

template <class T>
Field<T> number(std::string name, double low, double high, void (*set)(T&, double)) {
  return {std::move(name), [=](T& t, const std::string& n, const Json& v) { set(t, to_number(n, v, low, high)); }};
}
template <class T>
Field<T> integer(std::string name, std::int64_t low, std::int64_t high, void (*set)(T&, std::int64_t)) {
  return {std::move(name), [=](T& t, const std::string& n, const Json& v) { set(t, to_integer(n, v, low, high)); }};
}
template <class T>
Field<T> boolean(std::string name, void (*set)(T&, bool)) {
  return {std::move(name), [=](T& t, const std::string& n, const Json& v) { set(t, to_boolean(n, v)); }};
}
template <class T>
Field<T> string(std::string name, void (*set)(T&, const std::string&)) {
  return {std::move(name), [=](T& t, const std::string& n, const Json& v) { set(t, to_string(n, v)); }};
}
template <class T>
Field<T> custom(std::string name, void (*set)(T&, const std::string& name, const Json&)) {
  return {std::move(name), set};
}
// Has no effect on the answer by OpenAI's own definition; only its type is checked.
template <class T>
Field<T> no_effect(std::string name, Json::value_t type) {
  return {std::move(name), [type](T&, const std::string& n, const Json& v) {
            if (v.type() != type) refuse_value(n, type_words(type), v);
          }};
}
// Only `values` are accepted, and mean what happens anyway. With none, any value but null is refused.
template <class T>
Field<T> only(std::string name, std::vector<Json> values) {
  return {std::move(name), [values = std::move(values)](T&, const std::string& n, const Json& v) {
            for (const Json& value : values) {
              if (v == value) return;
            }
            refuse_unsupported(n, values.empty() ? "this field" : "any value but " + to_text(values.front()));
          }};
}

// Sets every member of `object` by the field of its name. null counts as absent, also where the name is unknown: many
// clients write out what was not asked for, and a null of a field newer than this server asks for nothing. `prefix`
// ("stream_options.") stands before the names in errors.
template <class T>
void read_fields(T& target, const Json& object, std::span<const Field<T>> fields, const std::string& prefix = {}) {
  for (const auto& [name, value] : object.items()) {
    if (value.is_null()) continue;
    const Field<T>* found = nullptr;
    for (const Field<T>& field : fields) {
      if (field.name == name) found = &field;
    }
    if (!found) {
      std::vector<std::string> known;
      for (const Field<T>& field : fields) known.push_back(field.name);
      refuse_unknown(prefix, name, known);
    }
    found->set(target, prefix + name, value);
  }
}

}  // namespace nacelle::fields
