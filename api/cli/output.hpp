// Text for people and JSON for programs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/fields/json.hpp"

namespace nacelle::cli {

using fields::Json;

// The one document of --json, with a newline.
void print_json(const Json& json);

// Columns as wide as their widest cell; the first row is the head. The last column is not padded.
void print_table(const std::vector<std::vector<std::string>>& rows);

std::string human_bytes(std::uint64_t bytes);  // "3.6 MiB"

}  // namespace nacelle::cli
