// Byte-pair encoding by merge list, and SentencePiece's variant that merges by score.
#include <algorithm>
#include <bit>
#include <optional>
#include <utility>

#include "core/base/error.hpp"
#include "core/tokenizer/merge.hpp"
#include "core/tokenizer/model.hpp"
#include "core/tokenizer/scratch.hpp"
#include "core/tokenizer/unicode.hpp"

namespace nacelle {
namespace {

// Pairs of ids to what they merge to. Open addressing, at most half full.
class PairTable {
 public:
  explicit PairTable(std::size_t pairs = 0) : slots_(std::bit_ceil(pairs * 2 + 2)) {}

  void insert(TokenId left, TokenId right, Merge merge) {  // the first rank of a pair counts
    Slot& slot = slots_[locate(left, right)];
    if (slot.merge.rank == kNoRank) slot = {left, right, merge};
  }
  Merge find(TokenId left, TokenId right) const noexcept {
    return left < 0 || right < 0 ? Merge{} : slots_[locate(left, right)].merge;
  }

 private:
  struct Slot {
    TokenId left = -1, right = -1;
    Merge merge;
  };
  std::size_t locate(TokenId left, TokenId right) const noexcept {
    const std::uint64_t key =
        static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t i = key * 0x9E3779B97F4A7C15 >> 32 & mask;; i = (i + 1) & mask) {
      const Slot& slot = slots_[i];
      if (slot.merge.rank == kNoRank || (slot.left == left && slot.right == right)) return i;
    }
  }
  std::vector<Slot> slots_;
};

// Which characters stand side by side inside some token. Where two neighbours of the text never do, no merge can join
// them, and the text falls into parts that may be encoded (and remembered) one by one. A hashed bit set: a false
// positive costs a longer part, nothing else.
class Borders {
 public:
  explicit Borders(const StringTable& spellings) : bits_(kBits / 64) {
    for (std::size_t i = 0; i < spellings.size(); ++i) {
      const std::string_view token = spellings[i];
      if (!unicode::is_valid(token)) continue;
      char32_t last = 0;
      for (std::size_t pos = 0; pos < token.size();) {
        const bool first = pos == 0;
        const char32_t c = unicode::next_code_point(token, pos);
        if (!first) bits_[slot(last, c) / 64] |= std::uint64_t{1} << slot(last, c) % 64;
        last = c;
      }
    }
  }
  bool joinable(char32_t a, char32_t b) const noexcept { return bits_[slot(a, b) / 64] >> slot(a, b) % 64 & 1; }

 private:
  static constexpr std::size_t kBits = std::size_t{1} << 19;  // 64 KiB, for the some 20 000 pairs of a vocabulary
  static std::size_t slot(char32_t a, char32_t b) noexcept {
    return (static_cast<std::uint64_t>(a) << 21 | b) * 0x9E3779B97F4A7C15 >> 32 & (kBits - 1);
  }
  std::vector<std::uint64_t> bits_;
};

// Splits a piece at its borders, asks the word cache, and leaves the rest to merge().
class MergeModel : public PieceModel {
 public:
  MergeModel(StringTable spellings, const Fallback& fallback, bool by_character)
      : spellings_(std::move(spellings)), index_(&spellings_, spellings_.size()), fallback_(fallback) {
    if (by_character) borders_.emplace(spellings_);
  }

  void encode(std::string_view piece, EncodeScratch& scratch, std::vector<TokenId>& out) const final {
    if (piece.size() > kLongest) {
      throw Error(ErrorKind::kResource, "tokenizer: a text of " + std::to_string(piece.size()) + " bytes is too long");
    }
    if (!borders_) return encode_word(piece, scratch, out);
    const std::size_t first = out.size();
    std::size_t begin = 0, pos = 0;
    char32_t last = unicode::next_code_point(piece, pos);
    while (pos < piece.size()) {
      const std::size_t at = pos;
      const char32_t c = unicode::next_code_point(piece, pos);
      if (!borders_->joinable(last, c)) {
        append(piece.substr(begin, at - begin), first, scratch, out);
        begin = at;
      }
      last = c;
    }
    append(piece.substr(begin), first, scratch, out);
  }

 protected:
  virtual void merge(std::string_view word, Merger& merger) const = 0;

  // Adds one character as a symbol, or what stands for it.
  void add_character(Merger& merger, std::string_view word, std::size_t begin, std::size_t end, bool& after_unk) const {
    const auto add = [&](std::size_t b, std::size_t e, TokenId id) {
      merger.add(static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(e), id);
    };
    const bool was_unk = std::exchange(after_unk, false);
    const TokenId id = index_.find(word.substr(begin, end - begin));
    if (id >= 0) return add(begin, end, id);
    const auto byte_id = [&](std::size_t i) { return fallback_.bytes[static_cast<unsigned char>(word[i])]; };
    bool all = true;
    for (std::size_t i = begin; i < end; ++i) all = all && byte_id(i) >= 0;
    if (all) {
      for (std::size_t i = begin; i < end; ++i) add(i, i + 1, byte_id(i));
    } else if (fallback_.unk) {
      after_unk = true;
      if (!was_unk || !fallback_.fuse_unk) add(begin, end, *fallback_.unk);
    }
  }

  StringTable spellings_;
  StringIndex index_;
  Fallback fallback_;
  bool keep_whole_ = false;  // ignore_merges
  std::optional<Borders> borders_;

 private:
  static constexpr std::size_t kLongest = std::size_t{1} << 30;  // symbols are numbered in 32 bits

  // encode_word, and an unknown token fuses with the one before it although a border lies between.
  void append(std::string_view word, std::size_t first, EncodeScratch& scratch, std::vector<TokenId>& out) const {
    const std::size_t begin = out.size();
    encode_word(word, scratch, out);
    const auto is_unk = [&](std::size_t i) { return out[i] == *fallback_.unk; };
    if (fallback_.fuse_unk && fallback_.unk && begin > first && out.size() > begin && is_unk(begin) &&
        is_unk(begin - 1)) {
      out.erase(out.begin() + static_cast<std::ptrdiff_t>(begin));
    }
  }

  void encode_word(std::string_view word, EncodeScratch& scratch, std::vector<TokenId>& out) const {
    scratch.words.append(word, out, [&] {
      const TokenId whole = keep_whole_ ? index_.find(word) : -1;
      if (whole >= 0) {
        out.push_back(whole);
        return;
      }
      scratch.merger.clear();
      merge(word, scratch.merger);
      scratch.merger.for_each([&](const Merger::Symbol& symbol) {
        if (symbol.id >= 0) out.push_back(symbol.id);
      });
    });
  }
};

class Bpe final : public MergeModel {
 public:
  Bpe(StringTable spellings, const std::vector<BpeMerge>& merges, const BpeOptions& options)
      : MergeModel(std::move(spellings), options.fallback, !options.byte_level && mergeable_text(merges, options)),
        byte_level_(options.byte_level),
        pairs_(merges.size()) {
    keep_whole_ = options.ignore_merges;
    for (std::size_t i = 0; i < spellings_.size(); ++i) {
      if (!spellings_[i].empty()) index_.insert(static_cast<TokenId>(i));
    }
    for (std::size_t i = 0; i < merges.size(); ++i) {
      pairs_.insert(merges[i].left, merges[i].right, {static_cast<std::uint32_t>(i), merges[i].result});
    }
  }

 protected:
  void merge(std::string_view word, Merger& merger) const override {
    if (byte_level_) {
      for (std::size_t i = 0; i < word.size(); ++i) {
        const TokenId id = fallback_.bytes[static_cast<unsigned char>(word[i])];
        const TokenId known = id >= 0 ? id : fallback_.unk.value_or(-1);
        merger.add(static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i + 1), known);
      }
    } else {
      bool after_unk = false;
      for (std::size_t pos = 0; pos < word.size();) {
        const std::size_t begin = pos;
        unicode::next_code_point(word, pos);
        add_character(merger, word, begin, pos, after_unk);
      }
    }
    merger.run([&](const Merger::Symbol& l, const Merger::Symbol& r) { return pairs_.find(l.id, r.id); });
  }

 private:
  // Borders are read off the spellings. Where byte or unknown tokens take part in merges, spellings do not tell.
  static bool mergeable_text(const std::vector<BpeMerge>& merges, const BpeOptions& options) {
    std::vector<TokenId> odd(options.fallback.bytes.begin(), options.fallback.bytes.end());
    if (options.fallback.unk) odd.push_back(*options.fallback.unk);
    std::sort(odd.begin(), odd.end());
    const auto is_odd = [&](TokenId id) { return std::binary_search(odd.begin(), odd.end(), id); };
    return std::none_of(merges.begin(), merges.end(), [&](auto& m) { return is_odd(m.left) || is_odd(m.right); });
  }

  bool byte_level_;
  PairTable pairs_;
};

class SentencePiece final : public MergeModel {
 public:
  SentencePiece(StringTable spellings, const std::vector<float>& scores, const std::vector<bool>& mergeable,
                const Fallback& fallback)
      : MergeModel(std::move(spellings), fallback, true), ranks_(spellings_.size(), kNoRank) {
    for (std::size_t i = 0; i < spellings_.size(); ++i) {
      if (mergeable[i] && !spellings_[i].empty()) index_.insert(static_cast<TokenId>(i));
    }
    // Scores only order the tokens: equal scores share a rank, so that the leftmost of them merges first.
    std::vector<float> order(scores);
    std::sort(order.begin(), order.end(), std::greater<>());
    order.erase(std::unique(order.begin(), order.end()), order.end());
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      const auto at = std::lower_bound(order.begin(), order.end(), scores[i], std::greater<>());
      ranks_[i] = static_cast<std::uint32_t>(at - order.begin());
      longest_ = std::max(longest_, spellings_[i].size());
    }
  }

 protected:
  void merge(std::string_view word, Merger& merger) const override {
    bool after_unk = false;
    for (std::size_t pos = 0; pos < word.size();) {
      const std::size_t begin = pos;
      unicode::next_code_point(word, pos);
      add_character(merger, word, begin, pos, after_unk);
    }
    merger.run([&](const Merger::Symbol& l, const Merger::Symbol& r) {
      if (l.end != r.begin || r.end - l.begin > longest_) return Merge{};
      const TokenId id = index_.find(word.substr(l.begin, r.end - l.begin));
      return id < 0 ? Merge{} : Merge{ranks_[static_cast<std::size_t>(id)], id};
    });
  }

 private:
  std::vector<std::uint32_t> ranks_;
  std::size_t longest_ = 0;  // bytes of the longest token
};

}  // namespace

std::unique_ptr<PieceModel> make_bpe(StringTable spellings, const std::vector<BpeMerge>& merges,
                                     const BpeOptions& options) {
  return std::make_unique<Bpe>(std::move(spellings), merges, options);
}

std::unique_ptr<PieceModel> make_sentencepiece(StringTable spellings, const std::vector<float>& scores,
                                               const std::vector<bool>& mergeable, const Fallback& fallback) {
  return std::make_unique<SentencePiece>(std::move(spellings), scores, mergeable, fallback);
}

}  // namespace nacelle
