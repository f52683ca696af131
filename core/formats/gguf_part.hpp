// One GGUF file by itself: header, metadata and tensor list. GgufFile joins the parts of a split.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/formats/gguf.hpp"

namespace nacelle {

struct GgufPart {
  MappedFile file;
  std::uint32_t version = 0;
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufStoredValue> stored;
  std::vector<TensorInfo> tensors;  // `file` is 0 in all
};

// Maps and checks `path`; tensor data is not touched. Throws as GgufFile does.
GgufPart read_gguf_part(const std::filesystem::path& path);

// The same of bytes in memory, to which the strings of `part` will point; `path` is for messages.
void parse_gguf(const std::filesystem::path& path, std::span<const std::byte> bytes, GgufPart& part);

}  // namespace nacelle
