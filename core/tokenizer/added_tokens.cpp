// Looks for added tokens in one pass over the text.
#include "core/tokenizer/added_tokens.hpp"

#include <algorithm>

#include "core/tokenizer/unicode.hpp"

namespace nacelle {
namespace {

bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
  std::size_t before = begin, after = end;
  return (begin == 0 || !unicode::is_word(unicode::previous_code_point(text, before))) &&
         (end == text.size() || !unicode::is_word(unicode::next_code_point(text, after)));
}

std::size_t skip_space_left(std::string_view text, std::size_t pos, std::size_t limit) {
  for (std::size_t at = pos; at > limit; pos = at) {
    if (!unicode::is_whitespace(unicode::previous_code_point(text, at))) break;
  }
  return pos;
}

std::size_t skip_space_right(std::string_view text, std::size_t pos) {
  for (std::size_t at = pos; at < text.size(); pos = at) {
    if (!unicode::is_whitespace(unicode::next_code_point(text, at))) break;
  }
  return pos;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::vector<StringMatcher::Entry> all, plain, normalized;
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const StringMatcher::Entry entry{tokens_[i].text, static_cast<std::int32_t>(i)};
    if (tokens_[i].normalized && !tokens_[i].special) {
      normalized.push_back(entry);
    } else {
      all.push_back(entry);
      if (!tokens_[i].special) plain.push_back(entry);
    }
  }
  raw_all_ = StringMatcher(std::move(all));
  raw_plain_ = StringMatcher(std::move(plain));
  normalized_ = StringMatcher(std::move(normalized));
}

bool AddedTokens::empty(Stage stage) const noexcept {
  return stage == Stage::kRaw ? raw_all_.empty() : normalized_.empty();
}

std::vector<std::size_t> AddedTokens::special_spellings(std::string_view text) const {
  std::vector<std::size_t> starts;
  for (std::size_t pos = 0; pos < text.size() && !raw_all_.empty(); ++pos) {
    if (!raw_all_.may_start(text[pos])) continue;
    bool special = false;
    raw_all_.for_each_at(text, pos, [&](const StringMatcher::Entry& e) {
      special |= tokens_[static_cast<std::size_t>(e.value)].special;
    });
    if (special) starts.push_back(pos);
  }
  return starts;
}

std::vector<Segment> AddedTokens::split(std::string_view text, Stage stage, bool parse_special,
                                        std::span<const std::size_t> quoted) const {
  const StringMatcher& matcher = stage == Stage::kNormalized ? normalized_ : parse_special ? raw_all_ : raw_plain_;
  std::vector<Segment> segments;
  std::size_t done = 0;
  for (std::size_t pos = 0; pos < text.size() && !matcher.empty();) {
    if (!matcher.may_start(text[pos])) {
      ++pos;
      continue;
    }
    const AddedToken* found = nullptr;
    const bool is_quoted = std::binary_search(quoted.begin(), quoted.end(), pos);
    matcher.for_each_at(text, pos, [&](const StringMatcher::Entry& e) {
      const AddedToken& token = tokens_[static_cast<std::size_t>(e.value)];
      if (!(token.special && is_quoted)) found = &token;
    });
    if (!found) {
      ++pos;
      continue;
    }
    std::size_t begin = pos, end = pos + found->text.size();
    pos = end;
    if (found->single_word && !stands_alone(text, begin, end)) continue;
    if (found->lstrip) begin = skip_space_left(text, begin, done);
    if (found->rstrip) end = skip_space_right(text, end);
    if (begin > done) segments.push_back({text.substr(done, begin - done), -1});
    segments.push_back({text.substr(begin, end - begin), found->id});
    done = pos = end;
  }
  if (done < text.size()) segments.push_back({text.substr(done), -1});
  return segments;
}

}  // namespace nacelle
