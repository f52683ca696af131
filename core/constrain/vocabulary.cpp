// Sorting the tokens into tries; text back into tokens.
#include "core/constrain/vocabulary.hpp"

#include <algorithm>
#include <deque>

#include "core/tokenizer/unicode.hpp"

namespace nacelle::constrain {
namespace {

// Characters of a plain token; 0 for another.
std::size_t plain_characters(std::string_view bytes) {
  std::size_t count = 0;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == '"' || byte == '\\') return 0;
    count += (byte & 0xC0) != 0x80;
  }
  return unicode::is_valid(bytes) ? count : 0;
}

void set_bit(std::vector<std::uint32_t>& words, TokenId id) {
  words[static_cast<std::size_t>(id) / 32] |= 1u << (static_cast<std::size_t>(id) % 32);
}

}  // namespace

Trie make_trie(std::span<const Vocabulary::Token> sorted) {
  Trie trie;
  trie.nodes.reserve(sorted.size() * 2);
  trie.tokens.reserve(sorted.size());
  std::vector<std::uint32_t> path;  // open nodes
  std::string_view before;
  for (const Vocabulary::Token& token : sorted) {
    std::size_t common = 0;
    while (common < before.size() && common < token.bytes.size() && before[common] == token.bytes[common]) ++common;
    for (; path.size() > common; path.pop_back())
      trie.nodes[path.back()].skip = static_cast<std::uint32_t>(trie.nodes.size());
    for (std::size_t i = common; i < token.bytes.size(); ++i) {
      path.push_back(static_cast<std::uint32_t>(trie.nodes.size()));
      trie.nodes.push_back({0, static_cast<std::uint32_t>(trie.tokens.size()), 0,
                            static_cast<std::uint8_t>(token.bytes[i]), static_cast<std::uint8_t>(i + 1)});
    }
    ++trie.nodes[path.back()].count;
    trie.tokens.push_back(token.id);
    before = token.bytes;
  }
  for (const std::uint32_t open : path) trie.nodes[open].skip = static_cast<std::uint32_t>(trie.nodes.size());
  return trie;
}

std::shared_ptr<const Vocabulary> Vocabulary::make(std::span<const Token> tokens, std::vector<TokenId> stop_ids,
                                                   std::size_t width, Encode encode) {
  auto vocabulary = std::shared_ptr<Vocabulary>(new Vocabulary);
  vocabulary->width_ = width;
  vocabulary->stop_ids_ = std::move(stop_ids);
  vocabulary->encode_ = std::move(encode);
  vocabulary->bytes_.resize(width);
  for (const Token& token : tokens)
    if (token.bytes.size() <= kMaxTokenBytes)
      vocabulary->bytes_[static_cast<std::size_t>(token.id)] = std::string(token.bytes);

  std::vector<std::uint32_t> none(vocabulary->words());
  vocabulary->trie_ = std::make_unique<TokenTrie>();
  TokenTrie& trie = *vocabulary->trie_;
  std::vector<Token> plain, other;
  std::vector<std::pair<std::size_t, TokenId>> lengths;
  for (std::size_t id = 0; id < width; ++id) {
    const Token token{static_cast<TokenId>(id), vocabulary->bytes_[id]};
    if (token.bytes.empty()) continue;
    trie.longest = std::max(trie.longest, static_cast<std::uint32_t>(token.bytes.size()));
    const std::size_t characters = plain_characters(token.bytes);
    (characters ? plain : other).push_back(token);
    if (characters) lengths.emplace_back(characters, token.id);
  }
  const auto by_bytes = [](const Token& a, const Token& b) { return a.bytes < b.bytes; };
  std::stable_sort(plain.begin(), plain.end(), by_bytes);
  std::stable_sort(other.begin(), other.end(), by_bytes);
  trie.plain = make_trie(plain);
  trie.other = make_trie(other);
  std::sort(lengths.begin(), lengths.end());
  trie.plain_up_to.push_back(none);
  for (const auto& [length, id] : lengths) {
    while (trie.plain_up_to.size() <= length) trie.plain_up_to.push_back(trie.plain_up_to.back());
    set_bit(trie.plain_up_to.back(), id);
  }
  return vocabulary;
}

std::shared_ptr<const Vocabulary> Vocabulary::make(const Tokenizer& tokenizer, std::size_t width) {
  const auto& stops = tokenizer.stop_ids();
  std::vector<Token> tokens;
  std::deque<std::string> special;
  for (std::size_t id = 0; id < std::min(width, tokenizer.vocab_size()); ++id) {
    const auto token = static_cast<TokenId>(id);
    if (std::binary_search(stops.begin(), stops.end(), token)) continue;
    std::string_view bytes = tokenizer.token_bytes(token);
    if (bytes.empty()) continue;
    if (tokenizer.is_special(token)) bytes = special.emplace_back(1, static_cast<char>(kSpecialLead)).append(bytes);
    tokens.push_back({token, bytes});
  }
  return make(tokens, stops, width, [&tokenizer](std::string_view text) {
    return tokenizer.encode(text, {false, false});
  });
}

Vocabulary::~Vocabulary() = default;

std::string_view Vocabulary::bytes(TokenId id) const noexcept {
  if (id < 0 || static_cast<std::size_t>(id) >= bytes_.size()) return {};
  return bytes_[static_cast<std::size_t>(id)];
}

namespace {

// The longest token at the start of `text`; -1 where there is none.
TokenId longest_token(const Trie& trie, std::string_view text, std::size_t& length) {
  TokenId best = -1;
  std::uint32_t node = 0, end = static_cast<std::uint32_t>(trie.nodes.size());
  for (std::size_t depth = 0; depth < text.size() && node < end;) {
    const Trie::Node& here = trie.nodes[node];
    if (here.byte != static_cast<std::uint8_t>(text[depth])) {
      node = here.skip;
      continue;
    }
    ++depth;
    if (here.count && depth > length) best = trie.tokens[here.first], length = depth;
    end = here.skip;
    ++node;
  }
  return best;
}

}  // namespace

std::vector<TokenId> Vocabulary::encode(std::string_view text) const {
  if (encode_ && unicode::is_valid(text)) {
    std::vector<TokenId> ids = encode_(text);
    std::string spelt;
    for (const TokenId id : ids) spelt += bytes(id);
    // Some tokenizers put a space before every text: then the longest tokens have to do.
    if (spelt == text) return ids;
  }
  std::vector<TokenId> ids;
  while (!text.empty()) {
    std::size_t length = 0;
    const TokenId plain = longest_token(trie_->plain, text, length);
    const TokenId other = longest_token(trie_->other, text, length);
    const TokenId best = other >= 0 ? other : plain;
    if (best < 0) return {};
    ids.push_back(best);
    text.remove_prefix(length);
  }
  return ids;
}

}  // namespace nacelle::constrain
