// Tokens that are found in the text before anything else looks at it: <|im_end|>, <tool_call>, runs of spaces.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer/string_matcher.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace nacelle {

struct AddedToken {
  TokenId id = -1;
  std::string text;
  bool lstrip = false, rstrip = false;  // takes in the white space before or after it
  bool single_word = false;             // not where a letter or digit stands next to it
  bool normalized = false;              // looked for in the normalized text
  bool special = false;                 // looked for only with EncodeOptions::parse_special
};

// A part of a text: an added token, or (id -1) what lies between.
struct Segment {
  std::string_view text;
  TokenId id = -1;
};

// Immutable once built. The leftmost token wins, and of those that start at one place the longest.
class AddedTokens {
 public:
  AddedTokens() = default;
  explicit AddedTokens(std::vector<AddedToken> tokens);
  AddedTokens(const AddedTokens&) = delete;
  AddedTokens& operator=(const AddedTokens&) = delete;
  AddedTokens(AddedTokens&&) = default;  // the texts' buffers stay where they are
  AddedTokens& operator=(AddedTokens&&) = default;

  enum class Stage { kRaw, kNormalized };
  bool empty(Stage stage) const noexcept;
  // Covers `text`; segments view it. Special tokens count as normalized = false whatever they say: a chat template's
  // tokens must be found as they are written.
  // `quoted`: as EncodeOptions has it.
  std::vector<Segment> split(std::string_view text, Stage stage, bool parse_special,
                             std::span<const std::size_t> quoted = {}) const;
  // As Tokenizer's.
  std::vector<std::size_t> special_spellings(std::string_view text) const;

 private:
  std::vector<AddedToken> tokens_;
  StringMatcher raw_all_, raw_plain_, normalized_;  // plain: without the special ones
};

}  // namespace nacelle
