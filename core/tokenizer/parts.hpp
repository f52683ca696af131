// What a loader puts together and a Tokenizer owns.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/tokenizer/added_tokens.hpp"
#include "core/tokenizer/model.hpp"
#include "core/tokenizer/normalizer.hpp"
#include "core/tokenizer/pre_tokenizer.hpp"
#include "core/tokenizer/string_table.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace nacelle {

// Of a vocabulary: ids are held in 32 bits, and real ones end near 2^18.
constexpr std::size_t kTokensMost = std::size_t{1} << 22;

struct TokenizerParts {
  StringTable texts;          // as the vocabulary spells them, one a token
  StringTable bytes;          // what each adds to a decoded text
  std::vector<bool> special;  // left out of decoded text; one a token
  StringIndex by_text;        // over `texts`; set by finish()

  // Encoding: added tokens, normalizer, added tokens of the normalized text, pre-tokenizer, model.
  AddedTokens added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<PieceModel> model;
  std::vector<TokenId> prefix, suffix;  // put around a text with EncodeOptions::add_special
  std::vector<TokenId> between;         // of two texts; empty: as the suffix

  bool strips_leading_space = false;
  std::optional<TokenId> bos, eos, pad, unk;
  std::vector<TokenId> stop_ids;
  std::string chat_template, tool_template;  // "": none

  // Call when all else is set: makes the text index, adds to stop_ids EOS and the tokens whose text is known to end a
  // turn, sorts them, and marks BOS and stop_ids as special.
  void finish();
};

}  // namespace nacelle
