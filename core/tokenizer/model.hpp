// The models that turn a piece of text into token ids: BPE, SentencePiece, WordPiece, Unigram.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer/string_table.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace nacelle {

struct EncodeScratch;

// Immutable once built; any thread may encode, each with its own scratch. Not the engine's Model, which shares the
// namespace.
class PieceModel {
 public:
  virtual ~PieceModel() = default;
  // Appends the ids of `piece` (valid UTF-8, not empty).
  virtual void encode(std::string_view piece, EncodeScratch& scratch, std::vector<TokenId>& out) const = 0;
};

// What stands for a character that the vocabulary lacks: its bytes, else the unknown token, else nothing.
struct Fallback {
  std::array<TokenId, 256> bytes;  // -1 where the vocabulary has no such byte
  std::optional<TokenId> unk;
  bool fuse_unk = false;  // neighbours that are unknown share one token
  Fallback() { bytes.fill(-1); }
};

struct BpeMerge {
  TokenId left, right, result;
};

struct BpeOptions {
  // Symbols are the bytes of the text, and `fallback.bytes` are their tokens; else they are its characters.
  bool byte_level = true;
  bool ignore_merges = false;  // a piece that is a token stays whole, whatever the merges say
  Fallback fallback;
};

// `spellings` are the tokens as they stand in the text (raw bytes for byte-level), `merges` go from best to worst. An
// empty spelling is never produced.
std::unique_ptr<PieceModel> make_bpe(StringTable spellings, const std::vector<BpeMerge>& merges,
                                     const BpeOptions& options);

// SentencePiece's BPE: neighbours merge when their text is a token; the token of the highest score goes first.
// `mergeable[i]` false keeps token i out (control tokens, bytes).
std::unique_ptr<PieceModel> make_sentencepiece(StringTable spellings, const std::vector<float>& scores,
                                               const std::vector<bool>& mergeable, const Fallback& fallback);

struct WordPieceOptions {
  std::string first_prefix;         // put before the start of a word to look it up
  std::string continuation_prefix;  // put before the rest: "##"
  TokenId unk = 0;
  std::size_t longest_word = 100;  // characters; a longer word is unknown
};
std::unique_ptr<PieceModel> make_wordpiece(StringTable spellings, const std::vector<bool>& usable,
                                           const WordPieceOptions& options);

// `scores` are log probabilities; the best path through the piece wins. `unk` may be absent where every byte is there.
std::unique_ptr<PieceModel> make_unigram(StringTable spellings, const std::vector<double>& scores,
                                         const Fallback& fallback);

}  // namespace nacelle
