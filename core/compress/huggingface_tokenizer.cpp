// Two kinds go over: byte-level BPE ("gpt2", whose pre-tokenizer GGUF knows by name only) and SentencePiece's BPE
// ("llama", whose merges become scores).
#include "core/compress/huggingface_tokenizer.hpp"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "core/base/mapped_file.hpp"
#include "core/formats/file_error.hpp"
#include "core/formats/json.hpp"
#include "core/tokenizer/gguf_pre_tokenizers.hpp"
#include "core/tokenizer/token_bytes.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace nacelle::compress {
namespace {

using Kind = JsonNode::Kind;

constexpr JsonLimits kLimits{.bytes = 256 << 20, .nodes = 1 << 23};
enum TokenType : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

const JsonNode* member(const JsonNode* node, const char* name) {
  return node && node->kind == Kind::kObject ? node->find(name) : nullptr;
}

std::string text_of(const JsonNode* node) { return node && node->kind == Kind::kString ? node->text : std::string(); }

bool is_set(const JsonNode* node) { return node && node->kind == Kind::kBool && node->boolean; }

class TokenizerWriter {
 public:
  TokenizerWriter(const std::filesystem::path& folder, std::uint64_t tokens, GgufWriter& to)
      : path_(folder / "tokenizer.json"),
        tokenizer_(load_tokenizer(folder)),
        to_(to),
        texts_(tokens),
        types_(tokens, kUnused) {
    const MappedFile file(path_);
    const auto bytes = file.bytes();
    root_ = parse_json(path_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, 0, kLimits);
    model_ = member(&root_, "model");
  }

  void run() {
    const JsonNode* vocabulary = member(model_, "vocab");
    const std::string type = text_of(member(model_, "type"));
    if ((!type.empty() && type != "BPE") || !vocabulary || vocabulary->kind != Kind::kObject)
      unsupported("a tokenizer of kind " + in_quotes(type.empty() ? "unknown" : type) + " (only BPE is written)");
    for (const JsonNode& one : vocabulary->items) place(one.integer, one.key, kNormal);
    add_special();
    std::vector<std::string> patterns;
    const bool byte_level = collect_patterns(member(&root_, "pre_tokenizer"), patterns);
    byte_level ? write_byte_level(patterns) : write_sentencepiece();
    for (std::size_t i = 0; i < texts_.size(); ++i)
      if (types_[i] == kUnused) texts_[i] = "[PAD" + std::to_string(i) + "]";
    to_.set("tokenizer.ggml.tokens", std::span<const std::string>(texts_));
    to_.set("tokenizer.ggml.token_type", std::span<const std::int32_t>(types_));
    write_ids();
  }

 private:
  [[noreturn]] void unsupported(const std::string& what) const {
    throw Error(ErrorKind::kUnsupported, path_.string() + ": " + what + " cannot be written as GGUF here");
  }

  void place(std::int64_t id, const std::string& text, TokenType type) {
    if (id < 0 || static_cast<std::uint64_t>(id) >= texts_.size())
      throw Error(ErrorKind::kCorrupt, path_.string() + ": token " + in_quotes(text) + " has id " + std::to_string(id) +
                                           ", but the embedding has " + std::to_string(texts_.size()) + " rows");
    const auto at = static_cast<std::size_t>(id);
    texts_[at] = text;
    types_[at] = type;
  }

  void add_special() {
    const std::string unknown = text_of(member(model_, "unk_token"));
    if (const JsonNode* added = member(&root_, "added_tokens"))
      for (const JsonNode& one : added->items) {
        const JsonNode* id = member(&one, "id");
        const std::string text = text_of(member(&one, "content"));
        const bool special = is_set(member(&one, "special"));
        if (id) place(id->integer, text, !special ? kUserDefined : text == unknown ? kUnknown : kControl);
      }
  }

  // The expressions of a pre-tokenizer in their order; whether it ends in bytes.
  bool collect_patterns(const JsonNode* node, std::vector<std::string>& to) const {
    const std::string type = text_of(member(node, "type"));
    if (type == "Sequence") {
      bool byte_level = false;
      if (const JsonNode* steps = member(node, "pretokenizers"))
        for (const JsonNode& step : steps->items) byte_level = collect_patterns(&step, to) || byte_level;
      return byte_level;
    }
    if (type == "Split") to.push_back(text_of(member(member(node, "pattern"), "Regex")));
    if (type == "Digits" && is_set(member(node, "individual_digits"))) to.push_back(R"(\p{N})");
    if (type != "ByteLevel") return false;
    const JsonNode* uses = member(node, "use_regex");
    if (!uses || is_set(uses)) to.emplace_back(find_gguf_pre_tokenizer("gpt-2").patterns[0]);
    return true;
  }

  void write_byte_level(const std::vector<std::string>& patterns) {
    const bool ignore = is_set(member(model_, "ignore_merges"));
    const auto& known = gguf_pre_tokenizers();
    const auto found = std::ranges::find_if(known, [&](const GgufPreTokenizer& one) {
      return one.ignore_merges == ignore && std::ranges::equal(one.patterns, patterns);
    });
    if (found == known.end())
      unsupported("a pre-tokenizer (" + in_quotes(patterns.empty() ? "none" : patterns[0]) +
                  ") that GGUF has no name for");
    to_.set("tokenizer.ggml.model", "gpt2");
    to_.set("tokenizer.ggml.pre", found->name);
    std::vector<std::string> merges;
    for_merges([&](const std::string& left, const std::string& right) { merges.push_back(left + " " + right); });
    to_.set("tokenizer.ggml.merges", std::span<const std::string>(merges));
  }

  // The earlier a merge, the better the piece that it makes.
  void write_sentencepiece() {
    if (!is_set(member(model_, "byte_fallback")) || !marks_spaces())
      unsupported("a BPE tokenizer that is neither on bytes nor SentencePiece's");
    std::unordered_map<std::string, float> ranks;
    for_merges([&](const std::string& left, const std::string& right) {
      ranks.emplace(left + right, -static_cast<float>(ranks.size()));
    });
    std::vector<float> scores(texts_.size(), 0);
    for (std::size_t i = 0; i < texts_.size(); ++i) {
      if (const auto rank = ranks.find(texts_[i]); rank != ranks.end()) scores[i] = rank->second;
      if (types_[i] == kNormal && parse_byte_token(texts_[i]) >= 0) types_[i] = kByte;
      if (types_[i] == kUserDefined || types_[i] == kControl) scores[i] = -1000;
    }
    to_.set("tokenizer.ggml.model", "llama");
    to_.set("tokenizer.ggml.pre", "default");
    to_.set("tokenizer.ggml.scores", std::span<const float>(scores));
    to_.set("tokenizer.ggml.add_space_prefix", has_space_prefix());
  }

  // Whether a step before the merges is one that `fits`(step, its type).
  template <class Fits>
  bool has_step(Fits fits) const {
    const auto within = [&](const auto& self, const JsonNode* node) -> bool {
      if (fits(node, text_of(member(node, "type")))) return true;
      for (const char* list : {"normalizers", "pretokenizers"})
        if (const JsonNode* steps = member(node, list))
          for (const JsonNode& step : steps->items)
            if (self(self, &step)) return true;
      return false;
    };
    return within(within, member(&root_, "normalizer")) || within(within, member(&root_, "pre_tokenizer"));
  }

  // GGUF's readers write a space as U+2581, always.
  bool marks_spaces() const {
    return has_step([](const JsonNode* step, const std::string& type) {
      return type == "Metaspace" || (type == "Replace" && text_of(member(member(step, "pattern"), "String")) == " " &&
                                     text_of(member(step, "content")) == "\u2581");
    });
  }

  bool has_space_prefix() const {
    return has_step([](const JsonNode* step, const std::string& type) {
      if (type == "Prepend") return true;
      if (type != "Metaspace") return false;
      const JsonNode* scheme = member(step, "prepend_scheme");
      return scheme ? text_of(scheme) != "never" : is_set(member(step, "add_prefix_space"));
    });
  }

  // As "left right" in older files, as pairs in newer ones; load_tokenizer has checked them.
  template <class Use>
  void for_merges(Use use) const {
    const JsonNode* merges = member(model_, "merges");
    if (!merges) return;
    for (const JsonNode& merge : merges->items) {
      if (merge.kind != Kind::kString) {
        use(merge.items[0].text, merge.items[1].text);
        continue;
      }
      const std::size_t space = merge.text.find(' ', 1);
      use(merge.text.substr(0, space), merge.text.substr(space + 1));
    }
  }

  void write_ids() {
    const auto id = [&](const char* key, std::optional<TokenId> value) {
      if (value) to_.set(std::string("tokenizer.ggml.") + key, static_cast<std::uint32_t>(*value));
    };
    const auto bos = tokenizer_->bos(), eos = tokenizer_->eos();
    id("bos_token_id", bos);
    id("eos_token_id", eos);
    const char* further[] = {"eot_token_id", "eom_token_id"};
    std::size_t next = 0;
    for (const TokenId stop : tokenizer_->stop_ids())
      if (stop != eos && next < std::size(further)) id(further[next++], stop);
    const std::vector<TokenId> around = tokenizer_->encode("");
    to_.set("tokenizer.ggml.add_bos_token", bos && !around.empty() && around.front() == *bos);
    to_.set("tokenizer.ggml.add_eos_token", eos && !around.empty() && around.back() == *eos && eos != bos);
    const std::string &chat = tokenizer_->chat_template(), &tools = tokenizer_->chat_template(true);
    if (!chat.empty()) to_.set("tokenizer.chat_template", chat);
    if (tools == chat) return;
    const std::string name = "tool_use";
    to_.set("tokenizer.chat_templates", std::span(&name, 1));
    to_.set("tokenizer.chat_template." + name, tools);
  }

  const std::filesystem::path path_;
  std::unique_ptr<Tokenizer> tokenizer_;
  GgufWriter& to_;
  JsonNode root_;
  const JsonNode* model_ = nullptr;
  std::vector<std::string> texts_;
  std::vector<std::int32_t> types_;
};

}  // namespace

void add_tokenizer(const std::filesystem::path& folder, std::uint64_t tokens, GgufWriter& to) {
  TokenizerWriter(folder, tokens, to).run();
}

}  // namespace nacelle::compress
