// Unigram: the most probable way to cut a piece into tokens, found by one forward pass (Viterbi). The rules are those
// of SentencePiece: an unknown character costs ten more than the least likely token, and neighbours that are unknown
// fuse.
#include <algorithm>
#include <limits>

#include "core/base/error.hpp"
#include "core/tokenizer/model.hpp"
#include "core/tokenizer/scratch.hpp"
#include "core/tokenizer/string_matcher.hpp"
#include "core/tokenizer/unicode.hpp"

namespace nacelle {
namespace {

class Unigram final : public PieceModel {
 public:
  Unigram(StringTable spellings, std::vector<double> scores, const Fallback& fallback)
      : spellings_(std::move(spellings)), scores_(std::move(scores)), fallback_(fallback) {
    std::vector<StringMatcher::Entry> entries;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < spellings_.size(); ++i) {
      if (!spellings_[i].empty()) entries.push_back({spellings_[i], static_cast<TokenId>(i)});
      least = std::min(least, scores_[i]);
    }
    unknown_score_ = least - 10.0;
    matcher_ = StringMatcher(std::move(entries));
  }

  void encode(std::string_view piece, EncodeScratch& scratch, std::vector<TokenId>& out) const override {
    scratch.words.append(piece, out, [&] { best_path(piece, out); });
  }

 private:
  static constexpr TokenId kUnknown = -1;
  struct Node {  // the best way to reach this byte
    double score = -std::numeric_limits<double>::infinity();
    std::size_t from = 0;
    TokenId id = kUnknown;
  };

  void best_path(std::string_view piece, std::vector<TokenId>& out) const {
    std::vector<Node> nodes(piece.size() + 1);
    nodes[0].score = 0;
    for (std::size_t pos = 0; pos < piece.size();) {
      const std::size_t length = unicode::sequence_length(static_cast<unsigned char>(piece[pos]));
      const double score = nodes[pos].score;
      bool covered = false;  // some token is exactly this character
      const auto offer = [&](std::size_t end, double candidate, TokenId id) {
        if (candidate > nodes[end].score) nodes[end] = {candidate, pos, id};
      };
      matcher_.for_each_at(piece, pos, [&](const StringMatcher::Entry& token) {
        covered = covered || token.text.size() == length;
        offer(pos + token.text.size(), score + scores_[static_cast<std::size_t>(token.value)], token.value);
      });
      if (!covered) offer(pos + length, score + unknown_score_, kUnknown);
      pos += length;
    }
    emit(piece, nodes, out);
  }

  // Walks back from the end; runs of unknown characters become their bytes, or one unknown token.
  void emit(std::string_view piece, const std::vector<Node>& nodes, std::vector<TokenId>& out) const {
    const std::size_t first = out.size();
    for (std::size_t end = piece.size(); end > 0;) {
      if (nodes[end].id != kUnknown) {
        out.push_back(nodes[end].id);
        end = nodes[end].from;
        continue;
      }
      std::size_t begin = end;
      while (begin > 0 && nodes[begin].id == kUnknown) begin = nodes[begin].from;
      emit_unknown(piece.substr(begin, end - begin), out);
      end = begin;
    }
    std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
  }

  void emit_unknown(std::string_view text, std::vector<TokenId>& out) const {  // in reverse
    const auto byte_id = [&](char c) { return fallback_.bytes[static_cast<unsigned char>(c)]; };
    if (std::all_of(text.begin(), text.end(), [&](char c) { return byte_id(c) >= 0; })) {
      for (auto it = text.rbegin(); it != text.rend(); ++it) out.push_back(byte_id(*it));
    } else if (fallback_.unk) {
      out.push_back(*fallback_.unk);
    }
  }

  StringTable spellings_;
  std::vector<double> scores_;
  Fallback fallback_;
  StringMatcher matcher_;
  double unknown_score_ = 0;
};

}  // namespace

std::unique_ptr<PieceModel> make_unigram(StringTable spellings, const std::vector<double>& scores,
                                         const Fallback& fallback) {
  return std::make_unique<Unigram>(std::move(spellings), scores, fallback);
}

}  // namespace nacelle
