// Builds a Tokenizer from the tokenizer.ggml.* keys of a GGUF file.
#include <algorithm>
#include <cmath>

#include "core/base/error.hpp"
#include "core/formats/file_error.hpp"
#include "core/formats/gguf.hpp"
#include "core/tokenizer/gguf_pre_tokenizers.hpp"
#include "core/tokenizer/parts.hpp"
#include "core/tokenizer/token_bytes.hpp"
#include "core/tokenizer/unicode.hpp"

namespace nacelle {
namespace {

// tokenizer.ggml.token_type
enum TokenType : std::int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// Reads the keys with the checks that all of them share; errors name the file and the key.
class GgufKeys {
 public:
  explicit GgufKeys(const GgufFile& file) : file_(file) {}

  [[noreturn]] void fail(ErrorKind kind, const std::string& key, const std::string& what) const {
    throw Error(kind, file_.path().string() + ": " + key + " " + what);
  }
  template <class T>
  std::optional<T> get(const std::string& key) const {
    const GgufValue* value = file_.find(key);
    if (!value) return std::nullopt;
    if (const T* typed = std::get_if<T>(value)) return *typed;
    fail(ErrorKind::kCorrupt, key, "has the wrong type");
  }
  template <class T>
  const std::vector<T>* array(const std::string& key) const {
    const GgufValue* value = file_.find(key);
    if (!value) return nullptr;
    if (const auto* a = std::get_if<GgufArray>(value)) {
      if (const auto* typed = std::get_if<std::vector<T>>(&a->values); typed && !a->nested) return typed;
    }
    fail(ErrorKind::kCorrupt, key, "has the wrong type");
  }
  // A list with one value a token.
  template <class T>
  const std::vector<T>* per_token(const std::string& key, std::size_t tokens) const {
    const auto* values = array<T>(key);
    if (values && values->size() != tokens) {
      fail(ErrorKind::kCorrupt, key,
           "has " + std::to_string(values->size()) + " values for " + std::to_string(tokens) + " tokens");
    }
    return values;
  }
  std::optional<TokenId> token(const std::string& name, std::size_t tokens) const {
    const std::string key = "tokenizer.ggml." + name;
    const auto id = get<std::int64_t>(key);
    if (!id) return std::nullopt;
    if (*id < 0 || static_cast<std::size_t>(*id) >= tokens) {
      fail(ErrorKind::kCorrupt, key,
           "is " + std::to_string(*id) + ", but there are " + std::to_string(tokens) + " tokens");
    }
    return static_cast<TokenId>(*id);
  }

 private:
  const GgufFile& file_;
};

// The state of one load: keys, the parts so far, each token's type.
struct Loader {
  GgufKeys keys;
  std::unique_ptr<TokenizerParts> parts = std::make_unique<TokenizerParts>();
  std::vector<std::int64_t> types;

  explicit Loader(const GgufFile& file) : keys(file) { read_tokens(); }

  void read_tokens();
  void read_special_ids();
  void add_bos_eos(bool bos_by_default, bool eos_by_default);
  Fallback byte_fallback() const;
  void collect_added_tokens();
  std::vector<BpeMerge> read_merges() const;

  void load_bpe();
  void load_sentencepiece();
  void load_wordpiece();

  std::size_t size() const { return parts->texts.size(); }
  std::string_view text(std::size_t i) const { return parts->texts[i]; }
  bool is(std::size_t i, TokenType type) const { return types[i] == type; }
  bool is_added(std::size_t i) const { return is(i, kControl) || is(i, kUnknown) || is(i, kUserDefined); }
};

void Loader::read_tokens() {
  const auto* tokens = keys.array<std::string_view>("tokenizer.ggml.tokens");
  if (!tokens || tokens->empty()) keys.fail(ErrorKind::kCorrupt, "tokenizer.ggml.tokens", "is missing or empty");
  if (tokens->size() > kTokensMost)
    keys.fail(ErrorKind::kUnsupported, "tokenizer.ggml.tokens", "has more than 4194304 tokens");
  std::size_t bytes = 0;
  for (const auto t : *tokens) bytes += t.size();
  parts->texts.reserve(tokens->size(), bytes);
  for (std::size_t i = 0; i < tokens->size(); ++i) {
    if (!unicode::is_valid((*tokens)[i])) {
      keys.fail(ErrorKind::kCorrupt, "tokenizer.ggml.tokens",
                "holds text that is not UTF-8 at index " + std::to_string(i));
    }
    parts->texts.add((*tokens)[i]);
  }
  const auto* given = keys.per_token<std::int64_t>("tokenizer.ggml.token_type", size());
  types = given ? *given : std::vector<std::int64_t>(size(), kNormal);
  for (std::size_t i = 0; i < size(); ++i) {
    if (!given && parse_byte_token(text(i)) >= 0) types[i] = kByte;
    parts->special.push_back(is(i, kControl) || is(i, kUnknown));
  }
  parts->by_text = StringIndex(&parts->texts, size());
  for (std::size_t i = 0; i < size(); ++i) parts->by_text.insert(static_cast<TokenId>(i));
}

void Loader::read_special_ids() {
  parts->bos = keys.token("bos_token_id", size());
  parts->eos = keys.token("eos_token_id", size());
  parts->unk = keys.token("unknown_token_id", size());
  parts->pad = keys.token("padding_token_id", size());
  for (const char* name : {"eot_token_id", "eom_token_id"}) {
    if (const auto id = keys.token(name, size())) parts->stop_ids.push_back(*id);
  }
  const auto source = [&](const char* key) { return std::string(keys.get<std::string_view>(key).value_or("")); };
  parts->chat_template = source("tokenizer.chat_template");
  parts->tool_template = source("tokenizer.chat_template.tool_use");
}

void Loader::add_bos_eos(bool bos_by_default, bool eos_by_default) {
  if (keys.get<bool>("tokenizer.ggml.add_bos_token").value_or(bos_by_default) && parts->bos)
    parts->prefix = {*parts->bos};
  if (keys.get<bool>("tokenizer.ggml.add_eos_token").value_or(eos_by_default) && parts->eos)
    parts->suffix = {*parts->eos};
}

Fallback Loader::byte_fallback() const {
  Fallback fallback;
  fallback.unk = parts->unk;
  for (std::size_t i = 0; i < size(); ++i) {
    if (const int b = is(i, kByte) ? parse_byte_token(text(i)) : -1; b >= 0) {
      fallback.bytes[static_cast<std::size_t>(b)] = static_cast<TokenId>(i);
    }
  }
  return fallback;
}

void Loader::collect_added_tokens() {
  // GGUF does not carry rstrip, which Phi-3's template relies on: "<|user|>\n" is one token there.
  std::string name(keys.get<std::string_view>("general.name").value_or(""));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool phi3 = name.find("phi-3") != std::string::npos || name.find("phi3") != std::string::npos;
  std::vector<AddedToken> added;
  for (std::size_t i = 0; i < size(); ++i) {
    if (!is_added(i) || text(i).empty()) continue;
    AddedToken token;
    token.id = static_cast<TokenId>(i);
    token.text = text(i);
    token.special = !is(i, kUserDefined);
    token.rstrip = phi3 && token.text != "<unk>" && token.text != "<s>" && token.text != "<|endoftext|>";
    added.push_back(std::move(token));
  }
  parts->added = AddedTokens(std::move(added));
}

std::vector<BpeMerge> Loader::read_merges() const {
  const std::string key = "tokenizer.ggml.merges";
  const auto* lines = keys.array<std::string_view>(key);
  if (!lines) keys.fail(ErrorKind::kCorrupt, key, "is missing");
  std::vector<BpeMerge> merges;
  merges.reserve(lines->size());
  std::string joined;
  for (const std::string_view line : *lines) {
    const auto fail = [&](const char* what) {
      keys.fail(ErrorKind::kCorrupt, key, what + std::string(" at index ") + std::to_string(merges.size()));
    };
    const std::size_t space = line.find(' ', 1);  // a merge may begin with a space, never with a space alone
    if (space == std::string_view::npos) fail("is not two tokens and a space");
    const std::string_view left = line.substr(0, space), right = line.substr(space + 1);
    joined.assign(left).append(right);
    const BpeMerge merge{parts->by_text.find(left), parts->by_text.find(right), parts->by_text.find(joined)};
    if (merge.left < 0 || merge.right < 0 || merge.result < 0) fail("names a token that the vocabulary lacks");
    merges.push_back(merge);
  }
  return merges;
}

void Loader::load_bpe() {
  const auto& pre = find_gguf_pre_tokenizer(keys.get<std::string_view>("tokenizer.ggml.pre").value_or("default"));
  for (const auto pattern : pre.patterns) {
    parts->pre_tokenizer.push_back(make_regex_split(Regex(std::string(pattern)), SplitBehavior::kIsolated));
  }
  add_bos_eos(pre.add_bos, false);
  BpeOptions options;
  options.ignore_merges = pre.ignore_merges;
  options.fallback.unk = parts->unk;
  StringTable spellings;
  for (std::size_t i = 0; i < size(); ++i) {
    const auto bytes = is_added(i) ? std::nullopt : from_byte_level(text(i));
    parts->bytes.add(bytes ? *bytes : text(i));
    spellings.add(bytes ? std::string_view(*bytes) : std::string_view());
    if (bytes && bytes->size() == 1) {
      options.fallback.bytes[static_cast<unsigned char>((*bytes)[0])] = static_cast<TokenId>(i);
    }
  }
  parts->model = make_bpe(std::move(spellings), read_merges(), options);
}

void Loader::load_sentencepiece() {
  add_bos_eos(true, false);
  const auto* given = keys.per_token<double>("tokenizer.ggml.scores", size());
  std::vector<float> scores(size());
  std::vector<bool> mergeable(size());
  StringTable spellings;
  for (std::size_t i = 0; i < size(); ++i) {
    scores[i] = given ? static_cast<float>((*given)[i]) : 0.0f;
    if (std::isnan(scores[i]))
      keys.fail(ErrorKind::kCorrupt, "tokenizer.ggml.scores", "holds a NaN at index " + std::to_string(i));
    mergeable[i] = !is(i, kControl) && !is(i, kUnknown) && !is(i, kByte);
    spellings.add(text(i));
    const int byte = is(i, kByte) ? parse_byte_token(text(i)) : -1;
    const bool literal = is(i, kControl) || is(i, kUnknown);
    parts->bytes.add(byte >= 0 ? std::string(1, static_cast<char>(byte))
                     : literal ? std::string(text(i))
                               : unescape_spaces(text(i), unicode::kMetaspace));
  }
  const bool prefix = keys.get<bool>("tokenizer.ggml.add_space_prefix").value_or(true);
  if (prefix) parts->normalizer.push_back(make_prepend(std::string(unicode::kMetaspace)));
  parts->normalizer.push_back(make_replace_literal(" ", std::string(unicode::kMetaspace)));
  parts->strips_leading_space = prefix;
  Fallback fallback = byte_fallback();
  fallback.fuse_unk = true;
  parts->model = make_sentencepiece(std::move(spellings), scores, mergeable, fallback);
}

void Loader::load_wordpiece() {
  // Converters mark the start of a word with U+2581 and drop the "##" of the others.
  const std::string mark(unicode::kMetaspace);
  const auto known = [&](const char* key, const char* text_) {
    const auto id = keys.token(key, size());
    const TokenId by_text = parts->by_text.find(text_);
    return id || by_text < 0 ? id : std::optional(by_text);
  };
  if (!parts->unk) parts->unk = known("unknown_token_id", "[UNK]");
  if (!parts->unk) keys.fail(ErrorKind::kCorrupt, "tokenizer.ggml.unknown_token_id", "is missing");
  if (!parts->bos) parts->bos = known("cls_token_id", "[CLS]");
  auto separator = known("seperator_token_id", "[SEP]");  // spelt so in GGUF
  if (!parts->eos) parts->eos = separator;
  add_bos_eos(true, true);
  std::vector<bool> usable(size());
  StringTable spellings;
  for (std::size_t i = 0; i < size(); ++i) {
    usable[i] = !is_added(i);
    spellings.add(text(i));
    const bool starts = text(i).starts_with(mark);
    const std::string_view word = starts ? text(i).substr(mark.size()) : text(i);
    parts->bytes.add(wordpiece_bytes(word, !starts && !is_added(i), true));
  }
  parts->normalizer.push_back(make_bert(BertOptions{}));
  parts->pre_tokenizer.push_back(make_property_split(unicode::is_whitespace, SplitBehavior::kRemoved));
  parts->pre_tokenizer.push_back(make_property_split(unicode::is_punctuation, SplitBehavior::kIsolated));
  parts->strips_leading_space = true;
  parts->model = make_wordpiece(std::move(spellings), usable,
                                {.first_prefix = mark, .continuation_prefix = "", .unk = *parts->unk});
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const GgufFile& file) {
  const GgufKeys keys(file);
  const auto model = keys.get<std::string_view>("tokenizer.ggml.model");
  if (!model) keys.fail(ErrorKind::kUnsupported, "tokenizer.ggml.model", "is missing: the file has no tokenizer");
  struct Kind {
    std::string_view name;
    void (Loader::*load)();
  };
  static constexpr Kind kKinds[] = {
      {"gpt2", &Loader::load_bpe}, {"llama", &Loader::load_sentencepiece}, {"bert", &Loader::load_wordpiece}};
  const auto* kind = std::find_if(std::begin(kKinds), std::end(kKinds), [&](auto& k) { return k.name == *model; });
  if (kind == std::end(kKinds)) {
    keys.fail(ErrorKind::kUnsupported, "tokenizer.ggml.model",
              "is " + in_quotes(*model) + "; known are gpt2, llama and bert");
  }
  Loader loader(file);
  loader.read_special_ids();
  loader.collect_added_tokens();
  (loader.*kind->load)();
  loader.parts->finish();
  return std::make_unique<Tokenizer>(std::move(loader.parts));
}

}  // namespace nacelle
