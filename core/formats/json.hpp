// JSON files of a model (config.json, safetensors headers), read with bounds. Values remember where they stand, so that
// a wrong one can be reported by its byte.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace nacelle {

struct JsonNode {
  enum class Kind : std::uint8_t { kNull, kBool, kInteger, kFloat, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  bool boolean = false;
  std::int64_t integer = 0;  // integers outside int64 are kFloat
  double number = 0;
  std::uint64_t offset = 0;     // byte of the file just behind the member's name, or just behind an array's element
  std::string key;              // the member's name, inside an object
  std::string text;             // kString, in UTF-8
  std::vector<JsonNode> items;  // elements or members, in the file's order; names may repeat

  // The last member of that name (as Python reads it), or nullptr.
  const JsonNode* find(std::string_view name) const noexcept;
};

struct JsonLimits {
  std::uint64_t bytes;
  std::uint64_t nodes;  // a node takes about 130 bytes of memory
  std::uint32_t depth = 64;
  bool infinity = false;  // Python's Infinity and -Infinity are numbers, which JSON itself does not know
};

// Parses `text`, which stands at byte `base` of the file `path`. Throws Error(kCorrupt) with file, byte, line and
// column of a syntax error, or the limit that was passed.
JsonNode parse_json(const std::filesystem::path& path, std::string_view text, std::uint64_t base,
                    const JsonLimits& limits);

}  // namespace nacelle
