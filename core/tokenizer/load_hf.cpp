// Reads tokenizer.json and the files beside it.
#include "core/tokenizer/load_hf.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>

#include "core/tokenizer/hf_node.hpp"
#include "core/tokenizer/hf_steps.hpp"
#include "core/tokenizer/parts.hpp"
#include "core/tokenizer/token_bytes.hpp"

namespace nacelle {
namespace {

// The largest known tokenizer.json files have 20 MB and a million values.
constexpr JsonLimits kLimits{.bytes = 256 << 20, .nodes = 8'000'000, .depth = 64};

// One JSON file, alive while it is read. An empty text is an absent file.
struct HfFile {
  std::filesystem::path path;
  JsonNode root;
  HfFile(const std::filesystem::path& folder, const char* name, const std::string& text) : path(folder / name) {
    if (!text.empty()) root = parse_json(path, text, 0, kLimits);
  }
  HfNode node() const { return {path, &root, ""}; }
};

class HfLoader {
 public:
  explicit HfLoader(const HfTokenizerFiles& files)
      : files_(files),
        tokenizer_(files.folder, "tokenizer.json", files.tokenizer),
        root_(tokenizer_.node()),
        model_(root_["model"]) {}

  std::unique_ptr<Tokenizer> load();

 private:
  void read_vocabulary();
  void read_added_tokens();
  void place(std::int64_t id, const std::string& text, const HfNode& owner, bool added);
  void build_tables();
  std::string model_type() const;
  TokenId id_of(const HfNode& name) const;
  Fallback read_fallback() const;
  std::vector<BpeMerge> read_merges() const;
  StringTable spellings(bool byte_level) const;
  void load_bpe();
  void load_wordpiece();
  void load_unigram();
  void read_post_processor(const HfNode& node);
  void read_special(const HfNode& node, const HfNode& special, std::vector<TokenId>& out) const;
  void read_template(const HfNode& node);
  void read_pair(const HfNode& node);
  void read_config();
  void read_templates(const HfNode& source);
  void read_stop_ids();

  const HfTokenizerFiles& files_;
  HfFile tokenizer_;
  HfNode root_, model_;
  std::unique_ptr<TokenizerParts> parts_ = std::make_unique<TokenizerParts>();
  struct Slot {
    const std::string* text = nullptr;
    const std::string* model_text = nullptr;  // as the model's vocabulary has it; added tokens go before it
    bool added = false, special = false;
  };
  std::vector<Slot> slots_;
  std::vector<double> scores_;  // Unigram
  std::vector<AddedToken> added_;
  bool byte_level_ = false;
};

void HfLoader::place(std::int64_t id, const std::string& text, const HfNode& owner, bool added) {
  if (id < 0 || static_cast<std::size_t>(id) >= kTokensMost) {
    owner.fail("has the token id " + std::to_string(id) + "; expected 0 to " + std::to_string(kTokensMost - 1));
  }
  const auto index = static_cast<std::size_t>(id);
  if (index >= slots_.size()) slots_.resize(index + 1);
  if (!added && slots_[index].model_text) owner.fail("gives the token id " + std::to_string(id) + " twice");
  slots_[index].text = &text;
  if (!added) slots_[index].model_text = &text;
  slots_[index].added |= added;
}

void HfLoader::read_vocabulary() {
  const HfNode vocab = model_["vocab"];
  const bool unigram = model_type() == "Unigram";
  if (unigram) {
    vocab.expect(HfNode::Kind::kArray, "a list of pieces and scores");
  } else {
    vocab.expect(HfNode::Kind::kObject, "an object of tokens and ids");
  }
  for (std::size_t i = 0; i < vocab.size(); ++i) {
    const JsonNode& item = vocab.raw()->items[i];
    if (!unigram) {
      if (item.kind != JsonNode::Kind::kInteger) vocab.at(i).fail("expected a token id");
      place(item.integer, item.key, vocab, false);
      continue;
    }
    const bool pair = item.items.size() == 2 && item.items[0].kind == JsonNode::Kind::kString;
    const bool number =
        pair && (item.items[1].kind == JsonNode::Kind::kFloat || item.items[1].kind == JsonNode::Kind::kInteger);
    if (!number) vocab.at(i).fail("expected a piece and its score");
    const JsonNode& score = item.items[1];
    scores_.push_back(score.kind == JsonNode::Kind::kFloat ? score.number : static_cast<double>(score.integer));
    place(static_cast<std::int64_t>(i), item.items[0].text, vocab, false);
  }
}

void HfLoader::read_added_tokens() {
  const HfNode list = root_["added_tokens"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    const HfNode node = list.at(i);
    AddedToken token;
    token.text = node["content"].text();
    const std::int64_t id = node["id"].integer();
    place(id, node["content"].text(), node, true);
    token.id = static_cast<TokenId>(id);
    token.special = node["special"].flag_or(false);
    token.lstrip = node["lstrip"].flag_or(false);
    token.rstrip = node["rstrip"].flag_or(false);
    token.single_word = node["single_word"].flag_or(false);
    token.normalized = node["normalized"].flag_or(!token.special);
    slots_[static_cast<std::size_t>(id)].special |= token.special;
    added_.push_back(std::move(token));
  }
}

void HfLoader::build_tables() {
  const HfDecoder decoder = read_decoder(root_["decoder"]);
  parts_->strips_leading_space = decoder.strips_leading_space;
  for (const Slot& slot : slots_) {
    parts_->texts.add(slot.text ? std::string_view(*slot.text) : std::string_view());
    parts_->bytes.add(slot.text ? decoder.bytes(*slot.text, slot.added) : std::string());
    parts_->special.push_back(slot.special);
  }
  parts_->by_text = StringIndex(&parts_->texts, slots_.size());
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].text) parts_->by_text.insert(static_cast<TokenId>(i));
  }
}

std::string HfLoader::model_type() const {
  if (const HfNode type = model_["type"]) return type.text();
  // Files of early versions do not say.
  if (model_["merges"]) return "BPE";
  return model_["vocab"].is(HfNode::Kind::kArray) ? "Unigram" : "WordPiece";
}

TokenId HfLoader::id_of(const HfNode& name) const {
  const TokenId id = parts_->by_text.find(name.text());
  if (id < 0) name.fail("is " + in_quotes(name.text()) + ", which the vocabulary lacks");
  return id;
}

Fallback HfLoader::read_fallback() const {
  Fallback fallback;
  if (const HfNode unk = model_["unk_token"]) fallback.unk = id_of(unk);
  fallback.fuse_unk = model_["fuse_unk"].flag_or(false);
  for (unsigned b = 0; b < 256 && model_["byte_fallback"].flag_or(false); ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    fallback.bytes[b] = parts_->by_text.find(name);
  }
  return fallback;
}

// What the model can produce: its own vocabulary without the special tokens, which text must never turn into by itself.
StringTable HfLoader::spellings(bool byte_level) const {
  StringTable table;
  for (const Slot& slot : slots_) {
    std::string_view text = slot.model_text && !slot.special ? std::string_view(*slot.model_text) : std::string_view();
    const auto bytes = byte_level ? from_byte_level(text) : std::nullopt;
    if (byte_level) text = bytes ? std::string_view(*bytes) : std::string_view();
    table.add(text);
  }
  return table;
}

std::vector<BpeMerge> HfLoader::read_merges() const {
  const HfNode list = model_["merges"];
  list.expect(HfNode::Kind::kArray, "a list");
  std::vector<BpeMerge> merges;
  merges.reserve(list.size());
  std::string joined;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const JsonNode& item = list.raw()->items[i];
    std::string_view left, right;
    if (item.kind == JsonNode::Kind::kString) {
      const std::size_t space = item.text.find(' ', 1);
      if (space == std::string::npos) list.at(i).fail("expected two tokens and a space");
      left = std::string_view(item.text).substr(0, space);
      right = std::string_view(item.text).substr(space + 1);
    } else {
      const bool pair = item.items.size() == 2 && item.items[0].kind == JsonNode::Kind::kString &&
                        item.items[1].kind == JsonNode::Kind::kString;
      if (!pair) list.at(i).fail("expected two tokens");
      left = item.items[0].text;
      right = item.items[1].text;
    }
    joined.assign(left).append(right);
    const BpeMerge merge{parts_->by_text.find(left), parts_->by_text.find(right), parts_->by_text.find(joined)};
    if (merge.left < 0 || merge.right < 0 || merge.result < 0)
      list.at(i).fail("names a token that the vocabulary lacks");
    merges.push_back(merge);
  }
  return merges;
}

void HfLoader::load_bpe() {
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model_[name].text_or("").empty()) model_[name].fail("is not supported", ErrorKind::kUnsupported);
  }
  BpeOptions options;
  options.byte_level = byte_level_;
  options.ignore_merges = model_["ignore_merges"].flag_or(false);
  options.fallback = read_fallback();
  StringTable table = spellings(byte_level_);
  for (std::size_t i = 0; byte_level_ && i < table.size(); ++i) {
    if (table[i].size() == 1) options.fallback.bytes[static_cast<unsigned char>(table[i][0])] = static_cast<TokenId>(i);
  }
  parts_->unk = options.fallback.unk;
  parts_->model = make_bpe(std::move(table), read_merges(), options);
}

void HfLoader::load_wordpiece() {
  WordPieceOptions options;
  options.unk = id_of(model_["unk_token"]);
  options.continuation_prefix = model_["continuing_subword_prefix"].text_or("##");
  if (const HfNode most = model_["max_input_chars_per_word"]) {
    options.longest_word = static_cast<std::size_t>(std::clamp<std::int64_t>(most.integer(), 0, 10'000));
  }
  parts_->unk = options.unk;
  parts_->model = make_wordpiece(spellings(false), std::vector<bool>(slots_.size(), true), options);
}

void HfLoader::load_unigram() {
  Fallback fallback = read_fallback();
  if (const HfNode unk = model_["unk_id"]) {
    const std::int64_t id = unk.integer();
    if (id < 0 || static_cast<std::size_t>(id) >= scores_.size()) unk.fail("is not an id of the vocabulary");
    fallback.unk = static_cast<TokenId>(id);
  }
  for (const double score : scores_) {
    if (!std::isfinite(score)) model_["vocab"].fail("holds a score that is not finite");
  }
  parts_->unk = fallback.unk;
  scores_.resize(slots_.size());  // added tokens have no spelling here
  parts_->model = make_unigram(spellings(false), scores_, fallback);
}

// Adds the ids of a template's special token.
void HfLoader::read_special(const HfNode& node, const HfNode& special, std::vector<TokenId>& out) const {
  const HfNode ids = node["special_tokens"][special["id"].text()]["ids"];
  for (std::size_t k = 0; k < ids.size(); ++k) {
    const std::int64_t id = ids.at(k).integer();
    if (id < 0 || static_cast<std::size_t>(id) >= slots_.size()) ids.at(k).fail("is not a token's id");
    out.push_back(static_cast<TokenId>(id));
  }
}

void HfLoader::read_template(const HfNode& node) {
  const HfNode list = node["single"];
  list.expect(HfNode::Kind::kArray, "a list");
  bool behind = false;  // of the text
  for (std::size_t i = 0; i < list.size(); ++i) {
    const HfNode special = list.at(i)["SpecialToken"];
    behind = behind || !special;
    if (special) read_special(node, special, behind ? parts_->suffix : parts_->prefix);
  }
  read_pair(node);
}

// The special tokens between the two texts of a pair.
void HfLoader::read_pair(const HfNode& node) {
  const HfNode list = node["pair"];
  if (!list) return;
  std::size_t texts = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const HfNode special = list.at(i)["SpecialToken"];
    texts += !special;
    if (special && texts == 1) read_special(node, special, parts_->between);
  }
}

void HfLoader::read_post_processor(const HfNode& node) {
  if (!node) return;
  const std::string& type = node["type"].text();
  if (type == "ByteLevel") return;  // trims offsets only
  if (type == "TemplateProcessing") return read_template(node);
  if (type == "Sequence") {
    const HfNode list = node["processors"];
    for (std::size_t i = 0; i < list.size(); ++i) read_post_processor(list.at(i));
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    // [text, id] pairs
    const auto id = [&](const HfNode& pair) {
      if (pair.size() != 2) pair.fail("expected a token and its id");
      const std::int64_t value = pair.at(1).integer();
      if (value < 0 || static_cast<std::size_t>(value) >= slots_.size()) pair.fail("is not a token's id");
      return static_cast<TokenId>(value);
    };
    parts_->prefix.push_back(id(node["cls"]));
    parts_->suffix.push_back(id(node["sep"]));
    parts_->between.assign(type == "RobertaProcessing" ? 2 : 1, parts_->suffix.back());
  } else {
    node["type"].fail("post-processor " + in_quotes(type) + " is not supported", ErrorKind::kUnsupported);
  }
}

// The names of BOS and EOS, and the chat templates.
void HfLoader::read_config() {
  const HfFile config(files_.folder, "tokenizer_config.json", files_.tokenizer_config);
  const HfFile map(files_.folder, "special_tokens_map.json", files_.special_tokens_map);
  const auto named = [&](const char* name) -> std::optional<TokenId> {
    HfNode node = config.node()[name];
    if (!node) node = map.node()[name];
    if (node.is(HfNode::Kind::kObject)) node = node["content"];
    if (!node) return std::nullopt;
    const TokenId id = parts_->by_text.find(node.text());
    return id < 0 ? std::nullopt : std::optional(id);  // configurations often name tokens that their files lack
  };
  parts_->bos = named("bos_token");
  parts_->eos = named("eos_token");
  parts_->pad = named("pad_token");
  if (!parts_->unk) parts_->unk = named("unk_token");
  read_templates(config.node()["chat_template"]);
}

// One template, or a list of named ones, of which "default" and "tool_use" are known; without a default the first is
// it.
void HfLoader::read_templates(const HfNode& source) {
  parts_->chat_template = files_.chat_template;
  parts_->tool_template = files_.tool_template;
  if (!parts_->chat_template.empty() || !source) return;
  if (source.is(HfNode::Kind::kString)) {
    parts_->chat_template = source.text();
    return;
  }
  source.expect(HfNode::Kind::kArray, "a string or a list of templates");
  for (std::size_t i = 0; i < source.size(); ++i) {
    const std::string name(source.at(i)["name"].text_or(""));
    if (name == "default" || i == 0) parts_->chat_template = source.at(i)["template"].text();
    if (name == "tool_use" && parts_->tool_template.empty()) parts_->tool_template = source.at(i)["template"].text();
  }
}

void HfLoader::read_stop_ids() {
  const HfFile config(files_.folder, "generation_config.json", files_.generation_config);
  const auto add = [&](const HfNode& node) {
    const std::int64_t id = node.integer();
    if (id >= 0 && static_cast<std::size_t>(id) < slots_.size()) parts_->stop_ids.push_back(static_cast<TokenId>(id));
  };
  const HfNode eos = config.node()["eos_token_id"];
  if (eos.is(HfNode::Kind::kArray)) {
    for (std::size_t i = 0; i < eos.size(); ++i) add(eos.at(i));
  } else if (eos) {
    add(eos);
  }
}

std::unique_ptr<Tokenizer> HfLoader::load() {
  root_.expect(HfNode::Kind::kObject, "an object");
  model_.expect(HfNode::Kind::kObject, "an object");
  struct Kind {
    std::string_view type;
    void (HfLoader::*load)();
  };
  static constexpr Kind kKinds[] = {
      {"BPE", &HfLoader::load_bpe}, {"WordPiece", &HfLoader::load_wordpiece}, {"Unigram", &HfLoader::load_unigram}};
  const std::string type = model_type();
  const Kind* kind = std::find_if(std::begin(kKinds), std::end(kKinds), [&](const Kind& k) { return k.type == type; });
  if (kind == std::end(kKinds)) {
    model_["type"].fail("model " + in_quotes(type) + " is not supported; known are BPE, WordPiece, Unigram",
                        ErrorKind::kUnsupported);
  }
  read_vocabulary();
  read_added_tokens();
  if (slots_.empty()) model_["vocab"].fail("is empty");
  build_tables();
  parts_->normalizer = read_normalizer(root_["normalizer"]);
  HfPreTokenizer pre = read_pre_tokenizer(root_["pre_tokenizer"]);
  parts_->pre_tokenizer = std::move(pre.steps);
  byte_level_ = pre.byte_level;
  (this->*kind->load)();
  read_post_processor(root_["post_processor"]);
  // A normalized token is looked for as the normalizer would leave it.
  RegexScratch scratch;
  for (AddedToken& token : added_) {
    if (token.normalized && !token.special) normalize(parts_->normalizer, token.text, scratch);
  }
  parts_->added = AddedTokens(std::move(added_));
  read_config();
  read_stop_ids();
  parts_->finish();
  return std::make_unique<Tokenizer>(std::move(parts_));
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const HfTokenizerFiles& files) { return HfLoader(files).load(); }

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& hf_folder) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(hf_folder / "tokenizer.json", ignored)) {
    throw Error(ErrorKind::kNotFound, hf_folder.string() + ": no tokenizer.json in this folder");
  }
  return load_tokenizer(
      HfTokenizerFiles{.folder = hf_folder,
                       .tokenizer = read_file(hf_folder / "tokenizer.json"),
                       .tokenizer_config = read_file(hf_folder / "tokenizer_config.json"),
                       .special_tokens_map = read_file(hf_folder / "special_tokens_map.json"),
                       .generation_config = read_file(hf_folder / "generation_config.json"),
                       .chat_template = read_file(hf_folder / "chat_template.jinja"),
                       .tool_template = read_file(hf_folder / "additional_chat_templates/tool_use.jinja")});
}

}  // namespace nacelle
