#include "core/plugin_host/sha256.hpp"

#include <span>

#include "core/base/mapped_file.hpp"
#include "sdk/runtime/sha256.hpp"

namespace nacelle {

std::string sha256(std::string_view data) { return sdk::sha256(std::as_bytes(std::span(data))); }

std::string sha256_of_file(const std::filesystem::path& path) { return sdk::sha256(MappedFile(path).bytes()); }

}  // namespace nacelle
