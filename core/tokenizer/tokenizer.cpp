// The pipeline from text to ids, and back.
#include "core/tokenizer/tokenizer.hpp"

#include <algorithm>
#include <utility>

#include "core/tokenizer/parts.hpp"
#include "core/tokenizer/scratch.hpp"
#include "core/tokenizer/unicode.hpp"

namespace nacelle {
namespace {

// Model files name one EOS; models also end a turn with these (and would run on if they were not obeyed).
constexpr std::string_view kTurnEnds[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "<|return|>",
    "<|call|>",
    "<|observation|>",  // GLM, behind calls
    "<｜end▁of▁sentence｜>",
};

// A scratch that a huge text has blown up is not kept.
constexpr std::size_t kKeepBytes = 1 << 20;

}  // namespace

std::unique_ptr<EncodeScratch> ScratchPool::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      auto scratch = std::move(free_.back());
      free_.pop_back();
      return scratch;
    }
  }
  return std::make_unique<EncodeScratch>();
}

void ScratchPool::give(std::unique_ptr<EncodeScratch> scratch) noexcept {
  scratch->rewritten.clear();
  if (scratch->text.capacity() > kKeepBytes) scratch->text = {};
  if (scratch->pieces.capacity() * sizeof(std::string_view) > kKeepBytes) scratch->pieces = {};
  if (scratch->spare.capacity() * sizeof(std::string_view) > kKeepBytes) scratch->spare = {};
  scratch->merger.shrink(kKeepBytes);
  try {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(scratch));
  } catch (...) {  // out of memory: the next call makes a new one
  }
}

void TokenizerParts::finish() {
  by_text = StringIndex(&texts, texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) by_text.insert(static_cast<TokenId>(i));
  if (eos) stop_ids.push_back(*eos);
  for (const auto text : kTurnEnds) {
    if (const TokenId id = by_text.find(text); id >= 0) stop_ids.push_back(id);
  }
  // In gpt-oss's format <|end|> only ends a message of a turn that goes on.
  if (by_text.find("<|return|>") >= 0 && by_text.find("<|call|>") >= 0) std::erase(stop_ids, by_text.find("<|end|>"));
  std::sort(stop_ids.begin(), stop_ids.end());
  stop_ids.erase(std::unique(stop_ids.begin(), stop_ids.end()), stop_ids.end());
  for (const TokenId id : stop_ids) special[static_cast<std::size_t>(id)] = true;
  if (bos) special[static_cast<std::size_t>(*bos)] = true;
}

Tokenizer::Tokenizer(std::unique_ptr<TokenizerParts> parts)
    : parts_(std::move(parts)), pool_(std::make_unique<ScratchPool>()) {}
Tokenizer::~Tokenizer() = default;

std::vector<TokenId> Tokenizer::encode(std::string_view utf8, const EncodeOptions& options) const {
  std::string repaired;
  bool parse_special = options.parse_special;
  if (!unicode::is_valid(utf8)) {
    if (unicode::append_valid(repaired, utf8) > 0) repaired += unicode::kReplacement;
    utf8 = repaired;
    parse_special &= options.quoted.empty();  // whose offsets are of another text now: nothing is special then
  }
  ScratchPool::Loan scratch(*pool_);
  std::vector<TokenId> out;
  out.reserve(utf8.size() / 4 + 8);
  if (options.add_special) out = parts_->prefix;
  if (parts_->added.empty(AddedTokens::Stage::kRaw)) {
    encode_plain(utf8, true, *scratch, out);
  } else {
    for (const Segment& segment : parts_->added.split(utf8, AddedTokens::Stage::kRaw, parse_special, options.quoted)) {
      if (segment.id >= 0) {
        out.push_back(segment.id);
      } else {
        encode_plain(segment.text, segment.text.data() == utf8.data(), *scratch, out);
      }
    }
  }
  if (options.add_special) out.insert(out.end(), parts_->suffix.begin(), parts_->suffix.end());
  return out;
}

std::vector<TokenId> Tokenizer::encode_pair(std::string_view a, std::string_view b, std::uint32_t& second) const {
  const EncodeOptions plain{.add_special = false, .parse_special = false};
  const auto& between = parts_->between.empty() ? parts_->suffix : parts_->between;
  std::vector<TokenId> out = parts_->prefix;
  const auto add = [&out](const std::vector<TokenId>& ids) { out.insert(out.end(), ids.begin(), ids.end()); };
  add(encode(a, plain));
  add(between);
  second = static_cast<std::uint32_t>(out.size());
  add(encode(b, plain));
  add(parts_->suffix);
  return out;
}

std::vector<std::size_t> Tokenizer::special_spellings(std::string_view text) const {
  return parts_->added.special_spellings(text);
}

void Tokenizer::encode_plain(std::string_view text, bool at_start, EncodeScratch& scratch,
                             std::vector<TokenId>& out) const {
  const TokenizerParts& parts = *parts_;
  if (!parts.normalizer.empty()) {
    scratch.text.assign(text);
    normalize(parts.normalizer, scratch.text, scratch.regex);
    text = scratch.text;
  }
  const auto encode_segment = [&](std::string_view segment) {
    scratch.pieces.assign(1, segment);
    scratch.rewritten.clear();
    SplitContext context{scratch.regex, scratch.rewritten, at_start && segment.data() == text.data()};
    pre_tokenize(parts.pre_tokenizer, scratch.pieces, scratch.spare, context);
    for (const std::string_view piece : scratch.pieces) parts.model->encode(piece, scratch, out);
  };
  if (text.empty()) return;
  if (parts.added.empty(AddedTokens::Stage::kNormalized)) return encode_segment(text);
  for (const Segment& segment : parts.added.split(text, AddedTokens::Stage::kNormalized, true)) {
    if (segment.id >= 0) {
      out.push_back(segment.id);
    } else {
      encode_segment(segment.text);
    }
  }
}

std::size_t Tokenizer::vocab_size() const noexcept { return parts_->texts.size(); }
std::optional<TokenId> Tokenizer::bos() const noexcept { return parts_->bos; }
std::optional<TokenId> Tokenizer::eos() const noexcept { return parts_->eos; }
std::optional<TokenId> Tokenizer::pad() const noexcept { return parts_->pad; }
std::optional<TokenId> Tokenizer::unk() const noexcept { return parts_->unk; }
std::optional<TokenId> Tokenizer::find(std::string_view text) const noexcept {
  const TokenId id = parts_->by_text.find(text);
  return id < 0 ? std::nullopt : std::optional(id);
}
const std::vector<TokenId>& Tokenizer::stop_ids() const noexcept { return parts_->stop_ids; }

bool Tokenizer::is_special(TokenId id) const noexcept {
  return id >= 0 && static_cast<std::size_t>(id) < vocab_size() && parts_->special[static_cast<std::size_t>(id)];
}
std::string_view Tokenizer::token_bytes(TokenId id) const noexcept {
  if (id < 0 || static_cast<std::size_t>(id) >= vocab_size()) return {};
  return parts_->bytes[static_cast<std::size_t>(id)];
}
std::string_view Tokenizer::token_text(TokenId id) const noexcept {
  if (id < 0 || static_cast<std::size_t>(id) >= vocab_size()) return {};
  return parts_->texts[static_cast<std::size_t>(id)];
}

bool Tokenizer::strips_leading_space() const noexcept { return parts_->strips_leading_space; }
const std::string& Tokenizer::chat_template(bool tools) const noexcept {
  return tools && !parts_->tool_template.empty() ? parts_->tool_template : parts_->chat_template;
}
std::string_view Tokenizer::bos_text() const noexcept { return token_text(parts_->bos.value_or(-1)); }
std::string_view Tokenizer::eos_text() const noexcept { return token_text(parts_->eos.value_or(-1)); }

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  StreamDecoder decoder(*this, skip_special);
  std::string text;
  for (const TokenId id : ids) text += decoder.push(id);
  return text += decoder.flush();
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special, bool at_text_start,
                             std::vector<TokenId> shown)
    : tokenizer_(&tokenizer),
      skip_special_(skip_special),
      shown_(std::move(shown)),
      strip_space_(at_text_start && tokenizer.strips_leading_space()) {}

std::string StreamDecoder::push(TokenId id) {
  if (skip_special_ && tokenizer_->is_special(id) && std::find(shown_.begin(), shown_.end(), id) == shown_.end()) {
    return {};
  }
  std::string_view bytes = tokenizer_->token_bytes(id);
  if (bytes.empty()) return {};
  if (std::exchange(strip_space_, false) && bytes[0] == ' ') bytes.remove_prefix(1);
  pending_ += bytes;
  std::string text;
  const std::size_t unfinished = unicode::append_valid(text, pending_);
  pending_.erase(0, pending_.size() - unfinished);
  return text;
}

std::string StreamDecoder::flush() {
  const bool unfinished = !pending_.empty();
  pending_.clear();
  return unfinished ? std::string(unicode::kReplacement) : std::string();
}

}  // namespace nacelle
