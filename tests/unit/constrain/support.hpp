// Short ways to ask whether a constraint allows a text, byte by byte.
#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.hpp"
#include "core/constrain/constraint.hpp"

namespace nacelle::test {

using constrain::ConstraintSpec;
using constrain::Grammar;
using constrain::Matcher;
using constrain::Vocabulary;
using Kind = ConstraintSpec::Kind;

inline constexpr TokenId kStop = 256;

// Token n is the byte n; 256 ends the answer.
inline std::shared_ptr<const Vocabulary> byte_vocabulary() {
  static const auto vocabulary = [] {
    static std::string bytes;
    std::vector<Vocabulary::Token> tokens;
    for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
    for (int byte = 0; byte < 256; ++byte)
      tokens.push_back({byte, std::string_view(bytes).substr(static_cast<std::size_t>(byte), 1)});
    return Vocabulary::make(tokens, {kStop}, 257);
  }();
  return vocabulary;
}

inline std::shared_ptr<const Grammar> compile(Kind kind, std::string text, std::vector<std::string> choices = {}) {
  return Grammar::compile({kind, std::move(text), std::move(choices), "field"}, byte_vocabulary());
}

inline bool allows(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  Matcher matcher(grammar);
  for (const char c : text)
    if (!matcher.accept(static_cast<unsigned char>(c))) return false;
  return matcher.may_end();
}

inline std::shared_ptr<const Grammar> schema(std::string text) { return compile(Kind::kJsonSchema, std::move(text)); }

// What the compiler says; "" where it takes the source.
inline std::string refusal(Kind kind, std::string text, ErrorKind* error_kind = nullptr) {
  try {
    compile(kind, std::move(text));
    return "";
  } catch (const Error& error) {
    CHECK(error.param() == "field");
    CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
    if (error_kind) *error_kind = error.kind();
    return error.what();
  }
}

}  // namespace nacelle::test
