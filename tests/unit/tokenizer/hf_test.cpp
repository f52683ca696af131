// tokenizer.json: small files that together use every kind of step, against ids and texts of the JavaScript library
// @huggingface/tokenizers 0.2.0 (data/hf_cases.json), and files that must be refused.
#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/base/error.hpp"
#include "core/tokenizer/load_hf.hpp"
#include "tests/unit/tokenizer/support.hpp"

namespace nacelle::test {
namespace {

using nlohmann::json;
using Ids = std::vector<TokenId>;

// A byte-level BPE without merges over ASCII letters, whose parts a test may replace.
json small_file() {
  json vocabulary = json::object();
  for (char letter[] = "a"; letter[0] <= 'z'; ++letter[0]) vocabulary[letter] = letter[0] - 'a';
  vocabulary["Ġ"] = 26;
  return {{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", json::array()}}},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"added_tokens", json::array()}};
}

std::unique_ptr<Tokenizer> load(const json& file) {
  return load_tokenizer(HfTokenizerFiles{.folder = "folder", .tokenizer = file.dump()});
}

std::string refusal(const json& file, ErrorKind kind) {
  try {
    load(file);
  } catch (const Error& error) {
    CHECK(error.kind() == kind);
    return error.what();
  }
  return "not refused";
}

json added(int id, const std::string& content, bool special = false) {
  return {{"id", id}, {"content", content}, {"special", special}, {"normalized", false}};
}

}  // namespace

TEST_CASE("tokenizer.json: ids and texts of the reference library") {
  const json files = json::parse(read_text(source_dir() / "tests/unit/tokenizer/data/hf_cases.json"));
  REQUIRE(files.size() == 5);
  for (const auto& file : files) {
    const auto tokenizer = load(file["tokenizer"]);
    for (const auto& item : file["cases"]) {
      const auto text = item["text"].get<std::string>();
      INFO(file["name"] << ": " << item["text"]);
      CHECK(tokenizer->encode(text) == item["ids"].get<Ids>());
      CHECK(tokenizer->decode(item["ids"].get<Ids>()) == item["decoded"].get<std::string>());
    }
  }
}

TEST_CASE("tokenizer.json: added tokens") {
  json file = small_file();
  json strip = added(30, "<l>"), word = added(31, "cat");
  strip["lstrip"] = strip["rstrip"] = true;
  word["single_word"] = true;
  file["added_tokens"] = {strip, word, added(32, "<|end|>", true), added(33, "<|end|>x")};
  const auto tokenizer = load(file);
  CHECK(tokenizer->encode("a  <l> b") == Ids{0, 30, 1});
  CHECK(tokenizer->encode("cat cats") == Ids{31, 26, 2, 0, 19, 18});
  CHECK(tokenizer->encode("<|end|>x<|end|>") == Ids{33, 32});
  CHECK(tokenizer->encode("a<|end|>b<l>", {.parse_special = false}) == Ids{0, 4, 13, 3, 1, 30});
  const std::vector<std::size_t> quoted = {1};
  CHECK(tokenizer->special_spellings("a<|end|>b<l><|end|><|en") == std::vector<std::size_t>{1, 12});
  CHECK(tokenizer->encode("a<|end|>b<l><|end|>", {.quoted = quoted}) == Ids{0, 4, 13, 3, 1, 30, 32});
  CHECK(tokenizer->encode("a<|end|>x", {.quoted = quoted}) == Ids{0, 33});  // an added token, but no special one
  CHECK(tokenizer->encode("a<|end|>\xFF", {.quoted = quoted}) ==
        tokenizer->encode("a<|end|>\xFF", {.parse_special = false}));
  CHECK(tokenizer->decode(Ids{0, 32, 1}) == "ab");
  CHECK(tokenizer->decode(Ids{0, 32, 1}, false) == "a<|end|>b");
  CHECK(tokenizer->stop_ids() == Ids{32});
}

TEST_CASE("tokenizer.json: BOS, EOS, stop ids and template from the files beside it") {
  json file = small_file();
  file["added_tokens"] = {added(27, "<b>", true), added(28, "<e>", true), added(29, "<t>", true)};
  HfTokenizerFiles files{.folder = "folder", .tokenizer = file.dump()};
  files.tokenizer_config = R"({"bos_token": "<b>", "eos_token": {"content": "<e>"}, "pad_token": null,
    "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})";
  files.special_tokens_map = R"({"unk_token": "<t>", "bos_token": "<t>"})";
  files.generation_config = R"({"eos_token_id": [28, 29, 99]})";
  auto tokenizer = load_tokenizer(files);
  CHECK(tokenizer->bos() == 27);
  CHECK(tokenizer->eos() == 28);
  CHECK(tokenizer->unk() == 29);
  CHECK_FALSE(tokenizer->pad());
  CHECK(tokenizer->stop_ids() == Ids{28, 29});
  CHECK(tokenizer->chat_template() == "D");
  CHECK(tokenizer->chat_template(true) == "T");

  // Of a list without a default the first; a text is for all; files go before both.
  const auto templates = [&](const char* given, const char* jinja = "", const char* tool_jinja = "") {
    files.tokenizer_config = std::string(R"({"chat_template": )") + given + "}";
    files.chat_template = jinja;
    files.tool_template = tool_jinja;
    const auto loaded = load_tokenizer(files);
    return loaded->chat_template() + loaded->chat_template(true);
  };
  const char* list =
      R"([{"name": "default", "template": "D"}, {"name": "rag", "template": "R"}, {"name": "tool_use", "template": "T"}])";
  CHECK(templates(list) == "DT");
  CHECK(templates(R"([{"name": "rag", "template": "R"}])") == "RR");
  CHECK(templates(R"([{"name": "tool_use", "template": "T"}])") == "TT");
  CHECK(templates("\"S\"") == "SS");
  CHECK(templates(list, "F") == "FF");
  CHECK(templates(list, "", "U") == "DU");
  CHECK(templates("null", "F", "U") == "FU");
}

TEST_CASE("tokenizer.json: what is not known is refused by name") {
  const auto with = [](const char* part, const json& value) {
    json file = small_file();
    file[part] = value;
    return refusal(file, ErrorKind::kUnsupported);
  };
  CHECK_THAT(with("normalizer", {{"type", "Precompiled"}}), Catch::Contains("'Precompiled'") && Catch::Contains("NFC"));
  CHECK_THAT(with("pre_tokenizer", {{"type", "UnicodeScripts"}}), Catch::Contains("'UnicodeScripts'"));
  CHECK_THAT(with("decoder", {{"type", "CTC"}}), Catch::Contains("'CTC'"));
  CHECK_THAT(with("model", {{"type", "WordLevel"}}), Catch::Contains("'WordLevel'"));
  CHECK_THAT(with("post_processor", {{"type", "Odd"}}), Catch::Contains("'Odd'"));
  const json broken = {{"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}, {"invert", false}};
  CHECK_THAT(with("pre_tokenizer", broken), Catch::Contains("'(a'") && Catch::Contains("parenthes"));
}

TEST_CASE("tokenizer.json: contradictions are refused with file and field") {
  const auto damaged = [](const std::function<void(json&)>& damage) {
    json file = small_file();
    damage(file);
    return refusal(file, ErrorKind::kCorrupt);
  };
  CHECK_THAT(damaged([](json& f) { f["model"]["vocab"]["b"] = -1; }), Catch::Contains("-1"));
  CHECK_THAT(damaged([](json& f) { f["model"]["vocab"]["b"] = 1 << 30; }), Catch::Contains("1073741824"));
  CHECK_THAT(damaged([](json& f) { f["model"]["vocab"]["b"] = 0; }), Catch::Contains("twice"));
  CHECK_THAT(damaged([](json& f) { f["model"]["vocab"]["b"] = "x"; }), Catch::Contains("model.vocab"));
  CHECK_THAT(damaged([](json& f) { f["model"]["merges"] = {"a b"}; }), Catch::Contains("model.merges[0]"));
  CHECK_THAT(damaged([](json& f) { f["model"]["merges"] = {"ab"}; }), Catch::Contains("two tokens"));
  CHECK_THAT(damaged([](json& f) { f["model"].erase("vocab"); }), Catch::Contains("model.vocab"));
  CHECK_THAT(damaged([](json& f) { f.erase("model"); }), Catch::Contains("tokenizer.json: model"));
  CHECK_THAT(damaged([](json& f) { f["added_tokens"] = {{{"id", 3}}}; }), Catch::Contains("content"));
  CHECK_THAT(damaged([](json& f) { f["model"]["unk_token"] = "?"; }), Catch::Contains("'?'"));
  CHECK_THROWS_AS(load_tokenizer(std::filesystem::path("/nonexistent")), Error);
}

}  // namespace nacelle::test
