// Maps the steps that tokenizer.json names to ours. Tables by type name: one row a type.
#include "core/tokenizer/hf_steps.hpp"

#include <algorithm>
#include <memory>

#include "core/tokenizer/gguf_pre_tokenizers.hpp"
#include "core/tokenizer/token_bytes.hpp"
#include "core/tokenizer/unicode.hpp"

namespace nacelle {
namespace {

// Calls read(step) for `node`, or for each element of a Sequence in order, however nested.
void for_each_step(const HfNode& node, const char* members, const std::function<void(const HfNode&)>& read) {
  if (!node) return;
  if (node["type"].text() != "Sequence") return read(node);
  const HfNode list = node[members];
  list.expect(HfNode::Kind::kArray, "a list");
  for (std::size_t i = 0; i < list.size(); ++i) for_each_step(list.at(i), members, read);
}

template <class Row, std::size_t N>
const Row& find_row(const Row (&rows)[N], const HfNode& node, const char* kind) {
  const std::string& type = node["type"].text();
  const Row* row = std::find_if(rows, rows + N, [&](const Row& r) { return r.type == type; });
  if (row != rows + N) return *row;
  std::string known;
  for (const Row& r : rows) known.append(known.empty() ? "" : ", ").append(r.type);
  node["type"].fail(std::string(kind) + " " + in_quotes(type) + " is not supported; known are " + known,
                    ErrorKind::kUnsupported);
}

// {"String": "..."} or {"Regex": "..."}
Regex read_pattern(const HfNode& node) {
  if (const HfNode regex = node["Regex"]) return Regex(regex.text());
  return Regex::literal(node["String"].text());
}

std::unique_ptr<NormalizerStep> read_replace(const HfNode& node) {
  const HfNode pattern = node["pattern"];
  std::string content = node["content"].text();
  if (const HfNode literal = pattern["String"]) return make_replace_literal(literal.text(), std::move(content));
  return make_replace(read_pattern(pattern), std::move(content));
}

std::unique_ptr<NormalizerStep> read_bert(const HfNode& node) {
  BertOptions options;
  options.clean_text = node["clean_text"].flag_or(true);
  options.handle_chinese_chars = node["handle_chinese_chars"].flag_or(true);
  options.lowercase = node["lowercase"].flag_or(true);
  options.strip_accents = node["strip_accents"].flag_or(options.lowercase);
  return make_bert(options);
}

struct NormalizerRow {
  std::string_view type;
  std::unique_ptr<NormalizerStep> (*make)(const HfNode&);
};
constexpr NormalizerRow kNormalizers[] = {
    {"NFC", [](const HfNode&) { return make_unicode_form(unicode::Form::kNfc); }},
    {"NFD", [](const HfNode&) { return make_unicode_form(unicode::Form::kNfd); }},
    {"NFKC", [](const HfNode&) { return make_unicode_form(unicode::Form::kNfkc); }},
    {"NFKD", [](const HfNode&) { return make_unicode_form(unicode::Form::kNfkd); }},
    {"Lowercase", [](const HfNode&) { return make_lowercase(); }},
    {"Strip",
     [](const HfNode& n) { return make_strip(n["strip_left"].flag_or(true), n["strip_right"].flag_or(true)); }},
    {"StripAccents", [](const HfNode&) { return make_strip_accents(); }},
    {"Nmt", [](const HfNode&) { return make_nmt(); }},
    {"Prepend", [](const HfNode& n) { return make_prepend(n["prepend"].text()); }},
    {"Replace", read_replace},
    {"BertNormalizer", read_bert},
};

SplitBehavior read_behavior(const HfNode& node) {
  struct Row {
    std::string_view name;
    SplitBehavior behavior;
  };
  static constexpr Row kRows[] = {{"Isolated", SplitBehavior::kIsolated},
                                  {"Removed", SplitBehavior::kRemoved},
                                  {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
                                  {"MergedWithNext", SplitBehavior::kMergedWithNext},
                                  {"Contiguous", SplitBehavior::kContiguous}};
  const std::string name = node.text_or("Isolated");
  const Row* row = std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& r) { return r.name == name; });
  if (row == std::end(kRows)) node.fail("is " + in_quotes(name) + ", which is no split behavior");
  return row->behavior;
}

PrependScheme read_scheme(const HfNode& node) {
  // Files from before prepend_scheme have add_prefix_space.
  const std::string scheme =
      node["prepend_scheme"].text_or(node["add_prefix_space"].flag_or(true) ? "always" : "never");
  if (scheme == "always") return PrependScheme::kAlways;
  if (scheme == "first") return PrependScheme::kFirst;
  if (scheme == "never") return PrependScheme::kNever;
  node["prepend_scheme"].fail("expected always, first or never");
}

void add_byte_level(const HfNode& node, HfPreTokenizer& out) {
  if (node["add_prefix_space"].flag_or(true)) out.steps.push_back(make_prefix_space());
  if (node["use_regex"].flag_or(true)) {
    const std::string pattern(find_gguf_pre_tokenizer("gpt-2").patterns.front());
    out.steps.push_back(make_regex_split(Regex(pattern), SplitBehavior::kIsolated));
  }
  out.byte_level = true;
}

void add_whitespace(const HfNode&, HfPreTokenizer& out) {
  const std::string word = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc})";
  out.steps.push_back(make_regex_split(Regex("[" + word + "]+|[^" + word + R"(\s]+)"), SplitBehavior::kRemoved, true));
}

void add_bert(const HfNode&, HfPreTokenizer& out) {
  out.steps.push_back(make_property_split(unicode::is_whitespace, SplitBehavior::kRemoved));
  out.steps.push_back(make_property_split(unicode::is_punctuation, SplitBehavior::kIsolated));
}

struct PreTokenizerRow {
  std::string_view type;
  void (*add)(const HfNode&, HfPreTokenizer&);
};
constexpr PreTokenizerRow kPreTokenizers[] = {
    {"ByteLevel", add_byte_level},
    {"Split",
     [](const HfNode& n, HfPreTokenizer& out) {
       out.steps.push_back(
           make_regex_split(read_pattern(n["pattern"]), read_behavior(n["behavior"]), n["invert"].flag_or(false)));
     }},
    {"Digits",
     [](const HfNode& n, HfPreTokenizer& out) {
       const bool single = n["individual_digits"].flag_or(false);
       out.steps.push_back(
           make_property_split(unicode::is_number, single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
     }},
    {"Whitespace", add_whitespace},
    {"WhitespaceSplit",
     [](const HfNode&, HfPreTokenizer& out) {
       out.steps.push_back(make_property_split(unicode::is_whitespace, SplitBehavior::kRemoved));
     }},
    {"Punctuation",
     [](const HfNode& n, HfPreTokenizer& out) {
       out.steps.push_back(make_property_split(unicode::is_punctuation, read_behavior(n["behavior"])));
     }},
    {"CharDelimiterSplit",
     [](const HfNode& n, HfPreTokenizer& out) {
       out.steps.push_back(make_regex_split(Regex::literal(n["delimiter"].text()), SplitBehavior::kRemoved));
     }},
    {"Metaspace",
     [](const HfNode& n, HfPreTokenizer& out) {
       const std::string mark = n["replacement"].text_or(unicode::kMetaspace);
       if (mark.empty()) n["replacement"].fail("expected a character");
       out.steps.push_back(make_metaspace(mark, read_scheme(n), n["split"].flag_or(true)));
     }},
    {"BertPreTokenizer", add_bert},
};

// The reading of a decoder: `fused` once the tokens' texts have been joined.
struct DecoderReader {
  HfDecoder out;
  bool fused = false;

  void read(const HfNode& node);
  void read_strip(const HfNode& node);
};

std::string strip_token(std::string token, const std::string& content, std::int64_t start, std::int64_t stop) {
  for (; start > 0 && token.starts_with(content); --start) token.erase(0, content.size());
  for (; stop > 0 && token.ends_with(content); --stop) token.resize(token.size() - content.size());
  return token;
}

void DecoderReader::read_strip(const HfNode& node) {
  const std::string content = node["content"].text();
  const std::int64_t start = node["start"].integer(), stop = node["stop"].integer();
  if (content.empty()) node["content"].fail("expected a character");
  if (!fused) {
    out.steps.push_back([=](std::string token) { return strip_token(std::move(token), content, start, stop); });
  } else if (start == 0 && stop == 0) {
    return;
  } else if (content == " " && start == 1 && stop == 0) {
    out.strips_leading_space = true;
  } else {
    node.fail("of a whole text may only take one space from its start", ErrorKind::kUnsupported);
  }
}

struct DecoderRow {
  std::string_view type;
  void (*add)(const HfNode&, DecoderReader&);
};
constexpr DecoderRow kDecoders[] = {
    {"ByteLevel", [](const HfNode&, DecoderReader& r) { r.out.byte_level = true; }},
    {"ByteFallback", [](const HfNode&, DecoderReader& r) { r.out.byte_fallback = true; }},
    {"Fuse", [](const HfNode&, DecoderReader& r) { r.fused = true; }},
    {"Strip", [](const HfNode& n, DecoderReader& r) { r.read_strip(n); }},
    {"Metaspace",
     [](const HfNode& n, DecoderReader& r) {
       const std::string mark = n["replacement"].text_or(unicode::kMetaspace);
       if (mark.empty()) n["replacement"].fail("expected a character");
       r.out.strips_leading_space = read_scheme(n) != PrependScheme::kNever;
       r.out.steps.push_back([=](const std::string& token) { return unescape_spaces(token, mark); });
     }},
    {"Replace",
     [](const HfNode& n, DecoderReader& r) {
       if (r.fused) n.fail("after Fuse is not supported: text could not be streamed", ErrorKind::kUnsupported);
       r.out.steps.push_back([step = std::shared_ptr<NormalizerStep>(read_replace(n)),
                              scratch = std::make_shared<RegexScratch>()](std::string token) {
         step->apply(token, *scratch);
         return token;
       });
     }},
    {"WordPiece",
     [](const HfNode& n, DecoderReader& r) {
       r.out.strips_leading_space = true;
       r.out.steps.push_back(
           [prefix = n["prefix"].text_or("##"), cleanup = n["cleanup"].flag_or(true)](const std::string& token) {
             const bool continuation = !prefix.empty() && token.starts_with(prefix);
             return wordpiece_bytes(continuation ? token.substr(prefix.size()) : token, continuation, cleanup);
           });
     }},
};

}  // namespace

Normalizer read_normalizer(const HfNode& node) {
  Normalizer normalizer;
  for_each_step(node, "normalizers", [&](const HfNode& step) {
    normalizer.push_back(find_row(kNormalizers, step, "normalizer").make(step));
  });
  return normalizer;
}

HfPreTokenizer read_pre_tokenizer(const HfNode& node) {
  HfPreTokenizer pre;
  for_each_step(node, "pretokenizers", [&](const HfNode& step) {
    if (pre.byte_level) step.fail("follows ByteLevel, which must be the last step here", ErrorKind::kUnsupported);
    find_row(kPreTokenizers, step, "pre-tokenizer").add(step, pre);
  });
  return pre;
}

HfDecoder read_decoder(const HfNode& node) {
  DecoderReader reader;
  if (!node) {  // without a decoder, a text is its tokens with spaces between
    reader.out.strips_leading_space = true;
    reader.out.steps.push_back([](const std::string& token) { return " " + token; });
  }
  for_each_step(node, "decoders", [&](const HfNode& step) { find_row(kDecoders, step, "decoder").add(step, reader); });
  return std::move(reader.out);
}

std::string HfDecoder::bytes(std::string_view text, bool added) const {
  if (byte_level) {
    const auto raw = added ? std::nullopt : from_byte_level(text);
    return raw ? *raw : std::string(text);
  }
  if (const int byte = byte_fallback ? parse_byte_token(text) : -1; byte >= 0)
    return std::string(1, static_cast<char>(byte));
  std::string token(text);
  for (const auto& step : steps) token = step(std::move(token));
  return token;
}

}  // namespace nacelle
