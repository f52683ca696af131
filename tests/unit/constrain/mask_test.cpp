// Token masks against brute force, over real vocabularies; jumps, rollback, replaced machines; walks that must end in
// valid documents.
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>

#include "core/base/thread_cpu.hpp"
#include "core/constrain/grammar.hpp"
#include "core/formats/gguf.hpp"
#include "tests/shared_data.hpp"
#include "tests/unit/constrain/support.hpp"

namespace nacelle::test {
namespace {

const ConstraintSpec kSpecs[] = {
    {Kind::kJsonObject, "", {}, "f"},
    {Kind::kJsonSchema,
     R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
        "short":{"type":"string","maxLength":5},"tags":{"type":"array","items":{"type":"string","pattern":"^[a-z]{2,8}$"},"maxItems":3},
        "kind":{"enum":["alpha","beta","gamma"]},"when":{"type":"string","format":"date"},"sub":{"$ref":"#"}},
        "required":["name","kind"],"additionalProperties":false})",
     {},
     "f"},
    {Kind::kJsonSchema,
     R"({"type":"array","items":{"anyOf":[{"type":"string"},{"type":"number"},{"$ref":"#"}]}})",
     {},
     "f"},
    {Kind::kRegex, "(\\w+ ){3,6}[^a-z]{1,3}", {}, "f"},
    {Kind::kRegex, ".*", {}, "f"},
    {Kind::kGbnf, "root ::= line+\nline ::= (word \" \")* word \".\\n\"\nword ::= [a-z]+ | \"(\" line \")\"", {}, "f"},
    {Kind::kChoice, "", {"yes", "no", "maybe so", "nö"}, "f"},
    {Kind::kComposition,
     R"([{"until":["{\""],"unlike":" *\\(","tokens":true},{"repeat":["{\"f\":",{"regex":" ?"},{"schema":{"type":"object","properties":{"a":
        {"enum":["b","c"]},"n":{"type":"integer","maximum":99}},"required":["a"],"additionalProperties":false}},"}",{"until":["{\""]}]}])",
     {},
     "f"},
};

// Deterministic draws without <random>'s distributions, which differ between libraries.
struct Draw {
  std::mt19937 engine;
  std::size_t below(std::size_t n) { return engine() % n; }
};

bool has_bit(const std::vector<std::uint32_t>& words, std::size_t id) { return words[id / 32] >> (id % 32) & 1; }

// One of the tokens that the mask has; -1 where it has none.
TokenId pick_token(const std::vector<std::uint32_t>& words, Draw& draw) {
  const std::size_t first = draw.below(words.size());
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::size_t at = (first + i) % words.size();
    if (words[at] == 0) continue;
    std::size_t bit = draw.below(32);
    while (!(words[at] >> bit & 1)) bit = (bit + 1) % 32;
    return static_cast<TokenId>(at * 32 + bit);
  }
  return -1;
}

// One random answer of at most `steps` tokens; where `check` is set, every mask against every token.
std::string random_walk(const std::shared_ptr<const Grammar>& grammar, Draw& draw, std::size_t steps, bool check,
                        bool& ended) {
  const Vocabulary& vocabulary = grammar->vocabulary();
  Matcher matcher(grammar);
  std::vector<std::uint32_t> words(vocabulary.words());
  std::string text;
  std::vector<TokenId> closers;
  for (std::size_t id = 0; id < vocabulary.width(); ++id)
    for (const char* closer : {"\"", "]", "}"})
      if (vocabulary.bytes(static_cast<TokenId>(id)) == closer) closers.push_back(static_cast<TokenId>(id));
  ended = false;
  for (std::size_t step = 0; step < steps; ++step) {
    REQUIRE(matcher.mask(words));
    if (check && step % 3 == 0) {
      std::size_t wrong = 0;
      for (std::size_t id = 0; id < vocabulary.width(); ++id) {
        const bool accepted = matcher.accept(static_cast<TokenId>(id));
        if (accepted) REQUIRE(matcher.rollback(1));
        wrong += accepted != has_bit(words, id);
      }
      INFO("behind " << text);
      REQUIRE(wrong == 0);
    }
    const TokenId picked = pick_token(words, draw);
    REQUIRE(picked >= 0);
    const bool may_stop = matcher.may_end();
    // Late in the walk the shortest way out is taken where there is one.
    TokenId token = picked;
    // Tokens that close something are few: without help a walk would stay inside its first string.
    const bool late = step > steps / 3;
    if (late || draw.below(4) == 0)
      for (const TokenId closing : closers)
        if (has_bit(words, static_cast<std::size_t>(closing))) token = closing;
    if (may_stop && (late || draw.below(4) == 0)) token = vocabulary.stop_ids()[0];
    REQUIRE(matcher.accept(token));
    if (matcher.finished() && token == vocabulary.stop_ids()[0]) return ended = true, text;
    text += vocabulary.bytes(token);
  }
  return text;
}

std::shared_ptr<const Vocabulary> real_vocabulary(const char* file) {
  static std::vector<std::unique_ptr<Tokenizer>> kept;
  kept.push_back(load_tokenizer(GgufFile(shared_dir() / "vocabs" / file)));
  return Vocabulary::make(*kept.back(), kept.back()->vocab_size() + 13);  // rows are padded
}

}  // namespace

TEST_CASE("A mask holds exactly the tokens that can be read byte by byte", "[constrain]") {
  Draw draw{std::mt19937(7)};
  bool ended;
  for (const ConstraintSpec& spec : kSpecs) {
    INFO(static_cast<int>(spec.kind) << " " << spec.text);
    const auto bytes = Grammar::compile(spec, byte_vocabulary());
    for (int i = 0; i < 20; ++i) random_walk(bytes, draw, 60, true, ended);
  }
  if (!have_shared("vocabs")) return;
  for (const char* file : {"ggml-vocab-gpt-2.gguf", "ggml-vocab-llama-spm.gguf"}) {
    const auto vocabulary = real_vocabulary(file);
    for (const ConstraintSpec& spec : kSpecs) {
      INFO(file << " " << static_cast<int>(spec.kind) << " " << spec.text);
      const auto grammar = Grammar::compile(spec, vocabulary);
      for (int i = 0; i < 3; ++i) random_walk(grammar, draw, 12, true, ended);
    }
  }
}

TEST_CASE("Walks along the masks end in valid documents", "[constrain]") {
  if (!have_shared("vocabs")) return;
  const auto vocabulary = real_vocabulary("ggml-vocab-gpt-2.gguf");
  Draw draw{std::mt19937(11)};
  for (const std::size_t index : {0u, 1u, 2u}) {
    const auto grammar = Grammar::compile(kSpecs[index], vocabulary);
    const auto again = Grammar::compile(kSpecs[index], byte_vocabulary());
    int whole = 0;
    for (int i = 0; i < 60; ++i) {
      bool ended;
      const std::string text = random_walk(grammar, draw, 400, false, ended);
      if (!ended) continue;
      ++whole;
      INFO(text);
      CHECK(nlohmann::json::accept(text));
      CHECK(allows(again, text));
    }
    CHECK(whole > 10);
  }
}

TEST_CASE("Forced text is appended as the tokenizer's own tokens, up to where the model may differ", "[constrain]") {
  const auto grammar = compile(Kind::kChoice, "", {"the quick fox", "the quick dog"});
  Matcher matcher(grammar);
  const auto forced = matcher.forced();
  std::string text;
  for (const TokenId id : forced) {
    text += static_cast<char>(id);
    REQUIRE(matcher.accept(id));
  }
  CHECK(text == "the quick ");
  CHECK(matcher.forced().empty());
  REQUIRE(matcher.accept('f'));
  CHECK(matcher.forced().size() == 2);
  CHECK_FALSE(matcher.finished());
  REQUIRE(matcher.accept('o'));
  REQUIRE(matcher.accept('x'));
  CHECK(matcher.finished());

  // "quick" is one token here, and "k f" crosses the end of the forced text: the k is left to the model.
  const std::vector<Vocabulary::Token> tokens = {{0, "qui"}, {1, "c"},  {2, "k "}, {3, "k f"},
                                                 {4, "fox"}, {5, "ox"}, {6, "dog"}};
  const auto few = Vocabulary::make(tokens, {7}, 8);
  Matcher other(Grammar::compile({Kind::kChoice, "", {"quick fox", "quick dog"}, "f"}, few));
  CHECK(other.forced() == std::vector<TokenId>{0, 1});
}

TEST_CASE("Tokens can be taken back, a stop token only ends what is whole", "[constrain]") {
  Matcher matcher(schema(R"({"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]})"));
  std::vector<std::uint32_t> before(byte_vocabulary()->words()), after(before.size());
  REQUIRE(matcher.mask(before));
  CHECK_FALSE(has_bit(before, kStop));
  CHECK_FALSE(matcher.accept(kStop));
  CHECK_FALSE(matcher.rollback(1));
  for (const char c : std::string_view(R"({"a":12})")) REQUIRE(matcher.accept(c));
  CHECK_FALSE(matcher.accept('}'));
  CHECK(matcher.may_end());
  REQUIRE(matcher.mask(after));
  CHECK(has_bit(after, kStop));
  REQUIRE(matcher.accept(kStop));
  CHECK(matcher.finished());
  CHECK_FALSE(matcher.accept(kStop));
  REQUIRE(matcher.rollback(9));
  REQUIRE(matcher.mask(after));
  CHECK(before == after);
  CHECK_FALSE(matcher.accept(9999));
  CHECK_FALSE(matcher.accept(-1));
}

TEST_CASE("Equal places have equal masks, and each place keeps its own", "[constrain]") {
  const auto grammar = schema(R"({"type":"object","properties":{"a":{"type":"string"}},"required":["a"]})");
  Matcher matcher(grammar), other(grammar), elsewhere(schema(R"({"type":"integer"})"));
  std::vector<std::uint32_t> start(byte_vocabulary()->words()), inside(start.size()), again(start.size());
  const Matcher::Place first = matcher.place();
  CHECK(first == other.place());
  CHECK(first != elsewhere.place());
  CHECK(first != Matcher::Place{});
  REQUIRE(matcher.mask(start));
  for (const char c : std::string_view(R"({"a":"b)")) REQUIRE(matcher.accept(c));
  const Matcher::Place text = matcher.place();
  CHECK(text != first);
  REQUIRE(matcher.mask(inside));
  CHECK(inside != start);
  REQUIRE(matcher.accept('c'));
  CHECK(matcher.place() == text);
  REQUIRE(matcher.mask(first, again));  // from another place of the same match
  CHECK(again == start);
  for (const char c : std::string_view(R"("})")) REQUIRE(matcher.accept(c));
  const Matcher::Place end = matcher.place();
  REQUIRE(matcher.accept(kStop));
  CHECK(matcher.place() != end);
}

TEST_CASE("A machine that learnt too much is replaced under its matchers", "[constrain]") {
  const auto grammar = compile(Kind::kJsonObject, "");
  Matcher matcher(grammar), witness(grammar);
  std::vector<std::uint32_t> words(byte_vocabulary()->words()), expected(words.size());
  for (const char c : std::string_view("{\"a\":[[\"")) REQUIRE(witness.accept(c));
  // Ever new stacks: the machine grows past its bound, some times over.
  std::size_t largest = 0;
  for (int i = 0; i < 20000; ++i) {
    for (const char c : i == 0 ? std::string_view("{\"a\":") : std::string_view("[{\"k\":")) REQUIRE(matcher.accept(c));
    if (i % 64 == 0) REQUIRE(matcher.mask(words));
    largest = std::max(largest, grammar->memory_bytes());
  }
  CHECK(largest < (64u << 20));
  REQUIRE(witness.mask(words));
  Matcher fresh(grammar);
  CHECK(fresh.place().machine != Matcher(compile(Kind::kJsonObject, "")).place().machine);
  for (const char c : std::string_view("{\"a\":[[\"")) REQUIRE(fresh.accept(c));
  REQUIRE(fresh.mask(expected));
  CHECK(words == expected);
  CHECK(witness.rollback(4));
}

TEST_CASE("An ambiguous grammar is followed, or given up, within bounds", "[constrain]") {
  // Each byte may be counted by any of the repeats, so that a state holds thousands of stacks.
  const auto nested = [](std::string pattern, int depth, const std::string& repeat) {
    for (int i = 0; i < depth; ++i) pattern = "(" + pattern + ")" + repeat;
    return pattern;
  };
  for (const std::string& pattern : {nested("a?", 8, "{9}"), nested("a?", 30, "{9}"), nested("[a-z]{1,9}", 9, "{1,9}"),
                                     nested("a{0,500}b{0,500}", 3, "{0,500}")}) {
    INFO(pattern);
    const auto begin = thread_cpu();
    const auto grammar = compile(Kind::kRegex, pattern);
    Matcher matcher(grammar);
    std::vector<std::uint32_t> words(byte_vocabulary()->words());
    int taken = 0;
    while (taken < 9 && matcher.mask(words) && matcher.accept('a')) ++taken;
    CHECK(taken >= 3);
    CHECK((taken == 9 || matcher.error().find("too ambiguous") != std::string::npos));
    // Under the sanitizers. With every set of stacks kept on the way to a larger one, this took gigabytes.
    CHECK(thread_cpu() - begin < std::chrono::seconds(4));
  }
}

TEST_CASE("A grammar that is too ambiguous from the start is refused", "[constrain]") {
  std::string optional = "root ::=";
  for (int i = 0; i < 90'000; ++i) optional += " r";
  CHECK_THAT(refusal(Kind::kGbnf, optional + "\nr ::= \"a\"?"), Catch::Contains("too ambiguous"));
}

TEST_CASE("A text that is too much for a grammar ends nobody else's", "[constrain]") {
  std::string ambiguous = "[a-z]{1,9}";
  for (int i = 0; i < 9; ++i) ambiguous = "(" + ambiguous + "){1,9}";
  const auto grammar = compile(Kind::kRegex, "[A-Z]+|" + ambiguous);
  Matcher other(grammar), spent(grammar);
  REQUIRE(other.accept('X'));
  std::vector<std::uint32_t> words(byte_vocabulary()->words()), before(words);
  REQUIRE(other.mask(before));
  const Matcher::Place place = other.place();
  while (spent.mask(words) && spent.accept('a')) {
  }
  CHECK_THAT(spent.error(), Catch::Contains("too ambiguous"));
  REQUIRE(other.mask(place, words));
  CHECK(words == before);
  CHECK(other.accept('Y'));
  CHECK(other.mask(words));
  CHECK(other.may_end());
  CHECK(other.error().empty());
  Matcher later(grammar);
  CHECK(later.mask(words));
  CHECK(later.accept('b'));
  CHECK(later.accept('c'));
}

TEST_CASE("Compiled grammars are cached by content", "[constrain]") {
  constrain::GrammarCache cache(byte_vocabulary(), 2);
  const auto get = [&](const char* text) { return cache.get({Kind::kRegex, text, {}, "f"}); };
  const auto a = get("a");
  CHECK(get("a") == a);
  get("b");
  CHECK(get("a") == a);
  get("c");  // "b" was used least recently
  CHECK(get("a") == a);
  CHECK(cache.counts().compiled == 3);
  get("b");
  CHECK(cache.counts().compiled == 4);
}

TEST_CASE("The cache of grammars is bounded by their size too", "[constrain]") {
  constrain::GrammarCache cache(byte_vocabulary(), 64);
  std::vector<std::weak_ptr<const Grammar>> made;
  std::size_t all = 0, kept = 0;
  for (char c = 'a'; c < 'm'; ++c) {
    const auto grammar = cache.get({Kind::kGbnf, "root ::= \"" + std::string(150'000, c) + '"', {}, "f"});
    all += grammar->positions();
    made.push_back(grammar);
  }
  for (const auto& one : made)
    if (const auto grammar = one.lock()) kept += grammar->positions();
  CHECK(all > 1'500'000);
  CHECK(kept <= 1'000'000);
  CHECK(kept >= 800'000);
  CHECK_FALSE(made.back().expired());
}

TEST_CASE("Work in small portions comes to the same masks", "[constrain]") {
  std::string ambiguous = "[a-z]{1,9}";
  for (int i = 0; i < 7; ++i) ambiguous = "(" + ambiguous + "){1,9}";
  const std::string json = R"({"type":"object","properties":{"name":{"type":"string","maxLength":9},"n":{"enum":[1,2]},
                               "list":{"type":"array","items":{"$ref":"#"}}},"additionalProperties":false})";
  struct Case {
    ConstraintSpec spec;
    std::string text;
    std::uint64_t portion;
  };
  for (const auto& [spec, text, portion] :
       {Case{{Kind::kRegex, ambiguous, {}, "f"}, "abcab", 1000},
        Case{{Kind::kJsonSchema, json, {}, "f"}, R"({"list":[{"name":"x","n":2},{"list":[]}]})", 20}}) {
    INFO(text);
    const auto grammar = Grammar::compile(spec, byte_vocabulary()), fresh = Grammar::compile(spec, byte_vocabulary());
    Matcher whole(grammar), portioned(fresh);
    std::vector<std::uint32_t> words(byte_vocabulary()->words()), expected(words);
    std::uint64_t portions = 0;
    const auto until_done = [&, step = portion](auto&& call) {
      for (std::uint64_t tries = 1;; ++tries, ++portions) {  // each a little larger, for one state must be whole
        portioned.allow(tries * step);
        if (call()) return;
        REQUIRE(portioned.over());
      }
    };
    for (const char c : text) {
      REQUIRE(whole.mask(expected));
      until_done([&] { return portioned.learn(portioned.place()); });
      portioned.allow(0);  // what is learnt costs nothing
      REQUIRE(portioned.mask(portioned.place(), words));
      CHECK(words == expected);
      REQUIRE(whole.accept(c));
      until_done([&] { return portioned.accept(c); });
    }
    CHECK(whole.may_end() == portioned.may_end());
    CHECK(portions > text.size());
  }
}

}  // namespace nacelle::test
