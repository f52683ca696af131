// What llama.cpp makes of the same input; see make_goldens.py.
#pragma once

#include "core/base/mapped_file.hpp"
#include "core/formats/json.hpp"

namespace nacelle::compress {

inline JsonNode read_goldens() {
  const std::filesystem::path path = NACELLE_SOURCE_DIR "/tests/unit/compress/goldens.json";
  const MappedFile file(path);
  return parse_json(path, {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, 0,
                    {.bytes = 1 << 20, .nodes = 1 << 18});
}

}  // namespace nacelle::compress
