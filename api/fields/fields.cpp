#include "api/fields/fields.hpp"

#include <cmath>
#include <optional>
#include <utility>

#include "api/http/message.hpp"
#include "core/base/nearest.hpp"

namespace nacelle::fields {
namespace {

// A range as people say it: "from 0 to 2", "of at least 1". Of an open end that `value` is beyond, both ends.
std::string range(const Json& low, const Json& high, bool open_ended, const Json& value) {
  if (low == INT64_MIN && high == INT64_MAX) return " of at most 64 bits";
  open_ended &= !value.is_number() || value.get<double>() < high.get<double>();
  return open_ended ? " of at least " + to_text(low) : " from " + to_text(low) + " to " + to_text(high);
}

constexpr double kExactIntegers = 9007199254740992.0;  // 2^53: beyond it a double does not tell neighbours apart

}  // namespace

void refuse_value(const std::string& name, std::string_view expected, const Json& value) {
  throw http::RequestError(
      {400, "'" + name + "' must be " + std::string(expected) + ", not " + describe(value), name, "invalid_value"});
}

void refuse_unsupported(const std::string& name, std::string_view what, std::string_view supported) {
  const std::string instead = supported.empty() ? "" : "; expected " + std::string(supported);
  throw http::RequestError(
      {400, "'" + name + "': " + std::string(what) + " is not supported yet" + instead, name, "unsupported_parameter"});
}

void refuse_missing(const std::string& name) {
  throw http::RequestError({400, "'" + name + "' is missing", name, "missing_required_parameter"});
}

void check_present(const Json& object, std::initializer_list<const char*> names, const std::string& prefix) {
  for (const char* name : names) {
    const auto found = object.find(name);
    if (found == object.end() || found->is_null()) refuse_missing(prefix + name);
  }
}

void refuse_unknown(const std::string& prefix, const std::string& name, const std::vector<std::string>& known) {
  // The name is the client's: it may be a megabyte.
  const std::string whole = prefix + name;
  const std::string shown = whole.size() > 80 ? whole.substr(0, 80) + "..." : whole;
  const std::string near = nearest(name, known);
  std::string advice = near.empty() ? near : "; did you mean '" + prefix + near + "'?";
  if (name == "extra_body")
    advice = ": it is an argument of the openai client; its members belong into the body itself";
  throw http::RequestError({400, "there is no field '" + shown + "'" + advice, shown, "unknown_parameter"});
}

std::string_view type_words(Json::value_t type) {
  switch (type) {
    case Json::value_t::string: return "a string";
    case Json::value_t::boolean: return "true or false";
    case Json::value_t::object: return "an object";
    case Json::value_t::array: return "an array";
    case Json::value_t::number_unsigned: return "a whole number, 0 or more";
    default: return "a number";
  }
}

double to_number(const std::string& name, const Json& value, double low, double high) {
  if (value.is_number()) {
    const double number = value.get<double>();
    if (number >= low && number <= high) return number;
  }
  refuse_value(name, "a number" + range(low, high, std::isinf(high), value), value);
}

std::int64_t to_integer(const std::string& name, const Json& value, std::int64_t low, std::int64_t high) {
  std::optional<std::int64_t> integer;
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::abs(number) <= kExactIntegers && number == std::floor(number)) integer = static_cast<std::int64_t>(number);
  } else if (value.is_number_unsigned()) {
    if (std::in_range<std::int64_t>(value.get<std::uint64_t>())) integer = value.get<std::int64_t>();
  } else if (value.is_number_integer()) {
    integer = value.get<std::int64_t>();
  }
  if (integer && *integer >= low && *integer <= high) return *integer;
  refuse_value(name, "an integer" + range(low, high, high == INT64_MAX || high == INT32_MAX, value), value);
}

bool to_boolean(const std::string& name, const Json& value) {
  if (!value.is_boolean()) refuse_value(name, "true or false", value);
  return value.get<bool>();
}

const std::string& to_string(const std::string& name, const Json& value) {
  if (!value.is_string()) refuse_value(name, "a string", value);
  return value.get_ref<const std::string&>();
}

const std::string& to_name(const std::string& name, const Json& value) {
  if (!value.is_string() || value.get_ref<const std::string&>().empty())
    refuse_value(name, "a string that is not empty", value);
  return value.get_ref<const std::string&>();
}

const Json& to_object(const std::string& name, const Json& value) {
  if (!value.is_object()) refuse_value(name, "an object", value);
  return value;
}

const Json& to_array(const std::string& name, const Json& value) {
  if (!value.is_array()) refuse_value(name, "an array", value);
  return value;
}

const Json& to_template_variables(const std::string& name, const Json& value) {
  // Far above what a template has; each is looked for among all of them.
  constexpr std::size_t kMost = 1000;
  if (to_object(name, value).size() > kMost)
    throw http::RequestError({400,
                              "'" + name + "' has " + std::to_string(value.size()) + " members, at most " +
                                  std::to_string(kMost) + " are taken",
                              name, "invalid_value"});
  for (const char* taken : {"messages", "tools", "bos_token", "eos_token"}) {
    if (to_object(name, value).contains(taken)) refuse_unknown(name + ".", taken, {});
  }
  return value;
}

std::vector<TokenId> to_tokens(const std::string& name, const Json& value) {
  std::vector<TokenId> tokens;
  tokens.reserve(to_array(name, value).size());
  for (const Json& item : value) {
    const bool plain =
        item.is_number_unsigned() && item.get<std::uint64_t>() <= INT32_MAX;  // nearly all: no name is made
    tokens.push_back(static_cast<TokenId>(plain ? item.get<std::int64_t>()
                                                : to_integer(element(name, tokens.size()), item, 0, INT32_MAX)));
  }
  return tokens;
}

std::string element(const std::string& name, std::size_t index) { return name + "[" + std::to_string(index) + "]"; }

}  // namespace nacelle::fields
