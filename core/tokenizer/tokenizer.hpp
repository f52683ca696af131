// Text to token ids and back, for every tokenizer that a model file can carry. The parts (normalizer, pre-tokenizer,
// model, added tokens) are put together by load_gguf.cpp and load_hf.cpp; this header is all that the engine sees.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nacelle {

class GgufFile;
struct TokenizerParts;  // core/tokenizer/parts.hpp
struct EncodeScratch;   // core/tokenizer/scratch.hpp
class ScratchPool;

using TokenId = std::int32_t;

struct EncodeOptions {
  // Adds BOS, EOS, [CLS] and [SEP] as the model's own settings ask.
  bool add_special = true;
  // Text that spells a special token (<|im_end|>) becomes that token's id; false: it is plain text, as it must be where
  // a user wrote it. Added tokens that are not special (<tool_call>) are found either way.
  bool parse_special = true;
  // Byte offsets, ascending, at which no special token begins: what users wrote inside a text of a template's. See
  // Tokenizer::special_spellings.
  std::span<const std::size_t> quoted = {};
};

// Immutable once loaded: every function may be called from any thread. Views and references live as long as the object.
class Tokenizer {
 public:
  explicit Tokenizer(std::unique_ptr<TokenizerParts> parts);
  ~Tokenizer();

  // Bytes that are not UTF-8 count as U+FFFD. Time is O(n log n) in the bytes at worst. Throws Error(kResource) when a
  // regular expression of the model gives up on the text.
  std::vector<TokenId> encode(std::string_view utf8, const EncodeOptions& options = {}) const;

  // Two texts for one model to read together, with its special tokens around and between them. `second` gets the index
  // of the first token that belongs to the second.
  std::vector<TokenId> encode_pair(std::string_view a, std::string_view b, std::uint32_t& second) const;

  // The offsets in `text` at which the spelling of a special token begins, overlapping ones too; ascending.
  std::vector<std::size_t> special_spellings(std::string_view text) const;

  // Ids run from 0 to vocab_size() - 1. The output row of a model may be wider (padding).
  std::size_t vocab_size() const noexcept;
  std::optional<TokenId> bos() const noexcept;
  std::optional<TokenId> eos() const noexcept;
  std::optional<TokenId> pad() const noexcept;
  std::optional<TokenId> unk() const noexcept;
  std::optional<TokenId> find(std::string_view token_text) const noexcept;

  // Every id that ends a turn: EOS, EOT, EOM, those of generation_config.json, and <|im_end|> and the like where the
  // vocabulary has them. Ascending.
  const std::vector<TokenId>& stop_ids() const noexcept;
  // Control and unknown tokens: left out of the text where skip_special is set. False for an id out of range.
  bool is_special(TokenId id) const noexcept;

  // The raw bytes that a token adds to the text: byte-level decoded, U+2581 as a space, <0xNN> as that byte. Not always
  // whole code points. Empty for an id out of range.
  std::string_view token_bytes(TokenId id) const noexcept;
  // The token as the vocabulary spells it. Empty for an id out of range.
  std::string_view token_text(TokenId id) const noexcept;

  // The text of the whole sequence, always valid UTF-8: each maximal invalid part becomes one U+FFFD. Where the
  // tokenizer puts a space before the text (strips_leading_space), one space at the start of the text is dropped.
  std::string decode(std::span<const TokenId> ids, bool skip_special = true) const;
  bool strips_leading_space() const noexcept;

  // The Jinja source of the (default) chat template, "" when the model has none; with `tools`, of the one for chats
  // with tools, where the model has such a one beside it ("tool_use").
  const std::string& chat_template(bool tools = false) const noexcept;
  // BOS and EOS as a chat template writes them, "" when absent.
  std::string_view bos_text() const noexcept;
  std::string_view eos_text() const noexcept;

 private:
  void encode_plain(std::string_view text, bool at_start, EncodeScratch& scratch, std::vector<TokenId>& out) const;

  std::unique_ptr<TokenizerParts> parts_;
  std::unique_ptr<ScratchPool> pool_;
};

// From the tokenizer.ggml.* keys of a GGUF file, which may be closed afterwards. Throws Error: kUnsupported for a
// tokenizer or pre-tokenizer that is not known (the message lists those that are), kCorrupt for contradictory keys.
std::unique_ptr<Tokenizer> load_tokenizer(const GgufFile& file);

// From a Hugging Face folder: tokenizer.json, and where present tokenizer_config.json, special_tokens_map.json,
// generation_config.json, the chat templates. Throws Error as above; kNotFound without tokenizer.json.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& hf_folder);

// Turns ids into text as they are generated. What push() and flush() return together equals decode() of all ids; each
// piece is valid UTF-8 in whole code points. One thread at a time. Nothing here throws except std::bad_alloc.
class StreamDecoder {
 public:
  // `at_text_start`: false where the ids continue a text (a completion of a prompt), so that the first space is kept.
  // `shown`: special tokens that are not skipped. The tokenizer must outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true, bool at_text_start = true,
                         std::vector<TokenId> shown = {});

  // The text that is complete once `id` is known; "" while a code point is unfinished.
  std::string push(TokenId id);
  // Ends the text: an unfinished code point becomes U+FFFD.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::vector<TokenId> shown_;
  bool strip_space_;     // still at the start of the text, where one space is dropped
  std::string pending_;  // the first bytes of a code point, at most 3
};

}  // namespace nacelle
