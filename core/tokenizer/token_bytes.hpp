// How a vocabulary's spelling of a token maps to the bytes it stands for.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nacelle {

// GPT-2's alphabet writes each byte as a printable character: 'Ġ' is a space. nullopt where a character is not of it.
std::optional<std::string> from_byte_level(std::string_view text);

// "<0x0A>" is byte 10; -1 for any other text.
int parse_byte_token(std::string_view text);

// U+2581 (or another `mark`) becomes a space.
std::string unescape_spaces(std::string_view text, std::string_view mark);

// BERT's decoder puts a space before each word, and takes those before punctuation and contractions out again.
std::string wordpiece_bytes(std::string_view word, bool continuation, bool cleanup);

}  // namespace nacelle
