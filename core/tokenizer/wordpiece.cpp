// WordPiece: each word becomes the longest tokens that spell it, from the left; a word that cannot be spelt is unknown.
#include <algorithm>

#include "core/tokenizer/model.hpp"
#include "core/tokenizer/scratch.hpp"
#include "core/tokenizer/unicode.hpp"

namespace nacelle {
namespace {

class WordPiece final : public PieceModel {
 public:
  WordPiece(StringTable spellings, const std::vector<bool>& usable, const WordPieceOptions& options)
      : spellings_(std::move(spellings)), index_(&spellings_, spellings_.size()), options_(options) {
    for (std::size_t i = 0; i < spellings_.size(); ++i) {
      if (!usable[i] || spellings_[i].empty()) continue;
      index_.insert(static_cast<TokenId>(i));
      longest_ = std::max(longest_, spellings_[i].size());
    }
  }

  void encode(std::string_view piece, EncodeScratch& scratch, std::vector<TokenId>& out) const override {
    scratch.words.append(piece, out, [&] {
      const std::size_t begin = out.size();
      if (!is_long(piece) && spell(piece, scratch.key, out)) return;
      out.resize(begin);
      out.push_back(options_.unk);
    });
  }

 private:
  bool is_long(std::string_view word) const {
    if (word.size() <= options_.longest_word) return false;
    std::size_t characters = 0, pos = 0;
    for (; pos < word.size() && characters <= options_.longest_word; ++characters) unicode::next_code_point(word, pos);
    return characters > options_.longest_word;
  }

  bool spell(std::string_view word, std::string& key, std::vector<TokenId>& out) const {
    for (std::size_t begin = 0; begin < word.size();) {
      const std::string& prefix = begin == 0 ? options_.first_prefix : options_.continuation_prefix;
      key.assign(prefix);
      if (longest_ < prefix.size()) return false;
      std::size_t end = begin + std::min(word.size() - begin, longest_ - prefix.size());
      while (end < word.size() && (static_cast<unsigned char>(word[end]) & 0xC0) == 0x80) --end;
      key.append(word, begin, end - begin);
      TokenId id = -1;
      while (end > begin && (id = index_.find(key)) < 0) {
        const std::size_t before = end;
        unicode::previous_code_point(word, end);
        key.resize(key.size() - (before - end));
      }
      if (id < 0) return false;
      out.push_back(id);
      begin = end;
    }
    return true;
  }

  StringTable spellings_;
  StringIndex index_;
  WordPieceOptions options_;
  std::size_t longest_ = 0;  // bytes of the longest token
};

}  // namespace

std::unique_ptr<PieceModel> make_wordpiece(StringTable spellings, const std::vector<bool>& usable,
                                           const WordPieceOptions& options) {
  return std::make_unique<WordPiece>(std::move(spellings), usable, options);
}

}  // namespace nacelle
