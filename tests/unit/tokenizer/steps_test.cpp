// The steps by themselves: Unicode, splits, merges, streaming, and the promise that no text takes quadratic time.
#include <catch2/catch.hpp>
#include <ctime>
#include <functional>
#include <set>
#include <thread>

#include "core/base/error.hpp"
#include "core/tokenizer/gguf_pre_tokenizers.hpp"
#include "core/tokenizer/merge.hpp"
#include "core/tokenizer/normalizer.hpp"
#include "core/tokenizer/pre_tokenizer.hpp"
#include "tests/unit/tokenizer/support.hpp"

namespace nacelle::test {
namespace {

using Ids = std::vector<TokenId>;
using Strings = std::vector<std::string>;

Strings split(const std::string& text, std::unique_ptr<SplitStep> step) {
  RegexScratch regex;
  std::deque<std::string> rewritten;
  SplitContext context{regex, rewritten, true};
  std::vector<std::string_view> pieces{text}, spare;
  PreTokenizer steps;
  steps.push_back(std::move(step));
  pre_tokenize(steps, pieces, spare, context);
  return {pieces.begin(), pieces.end()};
}

std::string normalized(std::unique_ptr<NormalizerStep> step, std::string text) {
  RegexScratch scratch;
  step->apply(text, scratch);
  return text;
}

std::string valid(std::string_view bytes) {
  std::string out;
  if (unicode::append_valid(out, bytes) > 0) out += unicode::kReplacement;
  return out;
}

std::string repeat(std::string_view unit, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += unit;
  return text;
}

// Processor time, which other processes do not spoil.
double seconds(const std::function<void()>& work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

}  // namespace

TEST_CASE("UTF-8: maximal invalid parts become U+FFFD") {
  // Table 3-8 of the Unicode standard, and Python's bytes.decode(errors="replace").
  CHECK(valid("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82"
              "A") == "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
  CHECK(valid("\xED\xA0\x80\xED\xBF\xBF\xED\xAF"
              "A") == "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
  CHECK(valid("\xF4\x91\x92\x93\xFF"
              "A\x80\xBF"
              "B") == "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA\uFFFD\uFFFDB");
  CHECK(valid("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
              "A") == "\uFFFD\uFFFD\uFFFD\uFFFDA");
  CHECK(valid("a\xF0\x9F\x99") == "a\uFFFD");
  CHECK_FALSE(unicode::is_valid("a\xE2\x82"));
  CHECK(unicode::is_valid("a\xE2\x82\xAC\xF4\x8F\xBF\xBF"));
}

TEST_CASE("normal forms") {
  using unicode::Form;
  CHECK(unicode::normalize("e\u0301", Form::kNfc) == "\u00E9");
  CHECK(unicode::normalize("\u1E69", Form::kNfd) == "s\u0323\u0307");
  CHECK(unicode::normalize("s\u0307\u0323", Form::kNfc) == "\u1E69");
  CHECK(unicode::normalize("\uFB01\u00B2", Form::kNfkc) == "fi2");
  CHECK(unicode::normalize("\uAC01", Form::kNfd) == "\u1100\u1161\u11A8");
  CHECK(unicode::normalize("\uFDFA", Form::kNfkd).size() == 33);
}

TEST_CASE("normalizer steps") {
  CHECK(normalized(make_lowercase(), "AÉ\u0130Σ") == "aéi\u0307σ");
  CHECK(normalized(make_strip(true, false), "\t\u3000 a ") == "a ");
  CHECK(normalized(make_strip(false, true), " a\u00A0\n") == " a");
  CHECK(normalized(make_strip(true, true), "  ") == "");
  CHECK(normalized(make_strip_accents(), "e\u0301\u20DD") == "e");
  CHECK(normalized(make_nmt(), "a\x01\t\u200Bb\u007F") == "a  b");
  CHECK(normalized(make_replace(Regex("x*"), "-"), "axb") == "-a--b-");
  CHECK(normalized(make_replace(Regex(" {2,}"), " "), "a   b c") == "a b c");
  CHECK(normalized(make_prepend("_"), "") == "");
  CHECK(normalized(make_bert({}), "\u00C0B\u200D\u4E2Dx\n") == "ab \u4E2D x ");
}

TEST_CASE("split behaviors") {
  // The example in the documentation of Hugging Face's SplitDelimiterBehavior.
  const auto by = [](SplitBehavior behavior) {
    return split("the-final--countdown", make_regex_split(Regex("-"), behavior));
  };
  CHECK(by(SplitBehavior::kRemoved) == Strings{"the", "final", "countdown"});
  CHECK(by(SplitBehavior::kIsolated) == Strings{"the", "-", "final", "-", "-", "countdown"});
  CHECK(by(SplitBehavior::kMergedWithPrevious) == Strings{"the-", "final-", "-", "countdown"});
  CHECK(by(SplitBehavior::kMergedWithNext) == Strings{"the", "-final", "-", "-countdown"});
  CHECK(by(SplitBehavior::kContiguous) == Strings{"the", "-", "final", "--", "countdown"});
  CHECK(split("a1b22", make_regex_split(Regex("[0-9]+"), SplitBehavior::kRemoved, true)) == Strings{"1", "22"});
  CHECK(split("abc", make_regex_split(Regex("(?=b)"), SplitBehavior::kIsolated)) == Strings{"a", "bc"});
  CHECK(split("a b", make_metaspace("_", PrependScheme::kAlways, true)) == Strings{"_a", "_b"});
  CHECK(split("a b", make_metaspace("_", PrependScheme::kNever, false)) == Strings{"a_b"});
}

TEST_CASE("merges: lowest rank first, then leftmost, for short and for long words") {
  // "aa" merges to A (rank 1) and "AA" to B (rank 0): of n letters, pairs form from the left, then pairs of pairs.
  const auto encode = [](std::uint32_t n) {
    Merger merger;
    for (std::uint32_t i = 0; i < n; ++i) merger.add(i, i + 1, 0);
    merger.run([](const Merger::Symbol& l, const Merger::Symbol& r) {
      return l.id == r.id && l.id < 2 ? Merge{l.id == 1 ? 0u : 1u, l.id + 1} : Merge{};
    });
    Ids ids;
    merger.for_each([&](const Merger::Symbol& s) { ids.push_back(s.id); });
    return ids;
  };
  CHECK(encode(0).empty());
  CHECK(encode(7) == Ids{2, 1, 0});
  Ids expected(25, 2);
  expected.push_back(1);
  expected.push_back(0);
  CHECK(encode(103) == expected);
}

TEST_CASE("pre-tokenizers of GGUF: all compile, unknown ones are refused with the list") {
  for (const auto& row : gguf_pre_tokenizers()) {
    for (const auto pattern : row.patterns) CHECK_NOTHROW(Regex(std::string(pattern)));
  }
  try {
    find_gguf_pre_tokenizer("martian");
    FAIL("not refused");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kUnsupported);
    CHECK_THAT(error.what(), Catch::Contains("'martian'") && Catch::Contains("gpt-2, ") && Catch::Contains("qwen2"));
  }
}

TEST_CASE("a tenth of a megabyte of anything takes far less than a tenth of a second a pattern") {
  const Strings texts{repeat("a", 100'000),       repeat("A", 100'000),          repeat(" ", 100'000),
                      repeat(" ", 100'000) + "x", repeat("\n", 100'000),         repeat(" \n", 100'000),
                      repeat("7", 100'000),       repeat("\U0001F600", 100'000), repeat("'", 100'000),
                      repeat("語", 100'000),      repeat("\u0301", 100'000),     repeat("\t ", 100'000) + "\n."};
  std::set<std::vector<std::string_view>> done;
  for (const auto& row : gguf_pre_tokenizers()) {
    if (!done.insert(row.patterns).second) continue;
    for (const auto& text : texts) {
      INFO(row.name << ": " << text.substr(0, 8));
      CHECK(seconds([&] {
              RegexScratch regex;
              std::deque<std::string> rewritten;
              SplitContext context{regex, rewritten, true};
              std::vector<std::string_view> pieces{text}, spare;
              PreTokenizer steps;
              for (const auto p : row.patterns)
                steps.push_back(make_regex_split(Regex(std::string(p)), SplitBehavior::kIsolated));
              pre_tokenize(steps, pieces, spare, context);
            }) < 0.5);  // a quadratic one takes minutes; the sanitizers some tenths
    }
  }
  CHECK(seconds([] { unicode::normalize(repeat("\u0301\u0323", 200'000), unicode::Form::kNfc); }) < 1);
}

TEST_CASE("a regex that gives up says so") {
  RegexScratch scratch;
  RegexMatch match;
  CHECK_THROWS_WITH(Regex("(x+x+)+y").search(repeat("x", 60) + "zy", 0, scratch, match), Catch::Contains("gave up"));
}

TEST_CASE("many threads encode with one tokenizer") {
  if (!have_shared("models/nacelle-demo/nacelle-demo-q8_0.gguf")) return;
  const auto tokenizer = load_tokenizer(GgufFile(shared_dir() / "models/nacelle-demo/nacelle-demo-q8_0.gguf"));
  const std::string text = repeat("Which country is Tokyo in? <|im_end|> ", 20'000);
  const Ids expected = tokenizer->encode(text);
  std::vector<int> equal(4);
  std::vector<std::thread> threads;
  for (auto& result : equal) threads.emplace_back([&] { result = tokenizer->encode(text) == expected; });
  for (auto& thread : threads) thread.join();
  CHECK(equal == std::vector<int>(4, 1));
}

}  // namespace nacelle::test
