// One shape for what the readers say of a damaged file: "FILE: FIELD at byte OFFSET: WHAT".
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/base/error.hpp"

namespace nacelle {

// Throws Error(kind). `what` says what was found and what was expected.
[[noreturn]] void fail_at(const std::filesystem::path& path, std::string_view field, std::uint64_t offset,
                          std::string_view what, ErrorKind kind = ErrorKind::kCorrupt);

// `text` fit for one line of a terminal: at most `limit` bytes of it, all but printable ASCII as \xNN.
std::string printable(std::string_view text, std::size_t limit = 80);

// printable(text) in single quotes.
std::string in_quotes(std::string_view text);

}  // namespace nacelle
