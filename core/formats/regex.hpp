// Regular expressions over valid UTF-8 with Unicode properties (PCRE2, JIT-compiled where the platform can).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace nacelle {

struct RegexMatch {
  std::size_t begin = 0, end = 0;  // bytes
};

// What one thread needs to match: result vector, bounded JIT stack, limits. Serves any number of expressions.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  struct State;
  std::unique_ptr<State> state_;
};

// Immutable; any thread may search, each with its own scratch.
class Regex {
 public:
  // Ruby's dialect, which tokenizer.json is written for, as far as PCRE2 has it: ^ and $ match at line ends. Throws
  // Error(kUnsupported) that quotes the pattern and says what PCRE2 found wrong with it.
  explicit Regex(const std::string& pattern);
  static Regex literal(const std::string& text);  // matches exactly `text`

  // The leftmost match in text[from, ...), false when there is none. Look-behind sees the text before `from`. Throws
  // Error(kResource) when the search takes more steps or memory than a text of this length should ever need.
  bool search(std::string_view text, std::size_t from, RegexScratch& scratch, RegexMatch& match) const;

 private:
  Regex(const std::string& pattern, unsigned options);
  std::shared_ptr<void> code_;  // pcre2_code
  std::string pattern_;
};

}  // namespace nacelle
