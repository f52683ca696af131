#include "api/fields/json.hpp"

#include <algorithm>

#include "api/http/message.hpp"
#include "core/formats/bounded_json.hpp"

namespace nacelle::fields {
namespace {

constexpr std::size_t kMaxQuoted = 40;

}  // namespace

Json parse_json(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
    throw http::RequestError({400, "the request body is empty, expected a JSON object", "", "invalid_json"});
  try {
    return parse_bounded_json(text);
  } catch (const Error& error) {
    throw http::RequestError(
        {400, std::string("the request body is not valid JSON: ") + error.what(), "", "invalid_json"});
  }
}

std::string json_string(std::string_view text) {
  const auto plain = [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; };
  if (!std::all_of(text.begin(), text.end(), plain)) return to_text(Json(text));
  std::string result;
  result.reserve(text.size() + 2);
  result += '"';
  result += text;
  return result += '"';
}

std::string to_text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

bool is_utf8(std::string_view bytes) {
  try {
    (void)Json(bytes).dump();
    return true;
  } catch (const Json::type_error&) {  // nlohmann offers no other way to its check
    return false;
  }
}

Json byte_list(std::string_view bytes) {
  Json list = Json::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  return list;
}

std::string describe(const Json& value) {
  const auto counted = [&](const std::string& what) {
    return value.empty() ? "an empty " + what : "an " + what + " of " + std::to_string(value.size());
  };
  if (value.is_array()) return counted("array");
  if (value.is_object()) return counted("object");
  if (!value.is_string()) return to_text(value);
  const auto& text = value.get_ref<const std::string&>();
  return to_text(text.size() > kMaxQuoted ? Json(text.substr(0, kMaxQuoted) + "...") : value);
}

}  // namespace nacelle::fields
