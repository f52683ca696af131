// Cuts a template into tokens, with trim_blocks and lstrip_blocks on and one trailing newline dropped, as Hugging
// Face's transformers sets Jinja up.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace nacelle::jinja {

enum class TokenType {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kInteger,
  kFloat,
  kString,
  kOperator,
  kEnd
};

struct Token {
  TokenType type;
  std::string text;  // kString: unescaped; kData: white space already stripped; numbers: without '_'
  std::size_t at;    // byte offset in the source

  bool is_operator(std::string_view sign) const { return type == TokenType::kOperator && text == sign; }
  bool is_name(std::string_view name) const { return type == TokenType::kName && text == name; }
};

// The template's text breaks Jinja's grammar at byte `at`.
struct SyntaxError : std::runtime_error {
  SyntaxError(const std::string& message, std::size_t at_byte) : std::runtime_error(message), at(at_byte) {}
  std::size_t at;
};

// '\r\n' and '\r' become '\n', and a trailing newline goes: offsets are into this text.
std::string normalize_source(std::string_view source);
// `source` must be normalized. The last token is kEnd. Throws SyntaxError.
std::vector<Token> tokenize(std::string_view source);

}  // namespace nacelle::jinja
