// Request bodies as JSON, within bounds. Objects keep their order: a template's tojson must show what the client wrote.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace nacelle::fields {

using Json = nlohmann::ordered_json;

// Throws RequestError(400) for what is not one JSON document in UTF-8, for a name that occurs twice in an object, for
// more than 64 levels or a million values, and for numbers beyond a double.
Json parse_json(std::string_view text);

// Bytes that are not UTF-8 become U+FFFD.
std::string to_text(const Json& value);
// The same of a string, without making a value of it.
std::string json_string(std::string_view text);

bool is_utf8(std::string_view bytes);
Json byte_list(std::string_view bytes);

// A value for an error message: scalars as they are, cut after 40 bytes, else "an array" or "an object".
std::string describe(const Json& value);

}  // namespace nacelle::fields
