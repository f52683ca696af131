// Regex, GBNF, choice and json_object: what they allow and what they refuse.
#include <chrono>

#include "core/base/thread_cpu.hpp"
#include "tests/unit/constrain/support.hpp"

namespace nacelle::test {
namespace {

using Catch::Contains;

struct Language {
  std::string source;
  std::vector<std::string> in, out;
};

void check_language(Kind kind, const Language& language) {
  INFO(language.source);
  const auto grammar = compile(kind, language.source);
  for (const std::string& text : language.in) {
    INFO("should be allowed: " << text);
    CHECK(allows(grammar, text));
  }
  for (const std::string& text : language.out) {
    INFO("should not be allowed: " << text);
    CHECK_FALSE(allows(grammar, text));
  }
}

}  // namespace

TEST_CASE("A regex matches the text as a whole", "[constrain]") {
  const Language languages[] = {
      {"abc", {"abc"}, {"", "ab", "abcd", "xabc"}},
      {"^abc$", {"abc"}, {"ab", "abcd"}},
      {"a|bc|", {"a", "bc", ""}, {"b", "abc"}},
      {"^a$|^b$", {"a", "b"}, {"ab"}},
      {"(?:ab)+c?", {"ab", "ababc"}, {"", "abcab"}},
      {"(?<name>a)(?P<other>b)", {"ab"}, {"a"}},
      {"a{2}b{1,}c{0,2}", {"aab", "aabbbcc"}, {"ab", "aabccc"}},
      {"a{3,7}", {"aaa", "aaaaaaa"}, {"aa", "aaaaaaaa"}},
      {"(a?){100}", {"", "a", std::string(100, 'a')}, {std::string(101, 'a')}},
      {"(a|aa){10,20}", {std::string(10, 'a'), std::string(40, 'a')}, {std::string(9, 'a'), std::string(41, 'a')}},
      {"(ab*){1000}",
       {[] {
         std::string s;
         for (int i = 0; i < 1000; ++i) s += "ab";
         return s;
       }()},
       {"ab"}},
      {"[a-c-]+", {"a-c"}, {"d"}},
      {"[^a-c]", {"d", "é", "\n", "🌧"}, {"a", "\xff", ""}},
      {".", {"a", "é", "語", "\r"}, {"\n", "ab", "\xc3"}},
      {"\\d{4}-\\d\\d", {"2024-01"}, {"2024-1", "٢024-01"}},
      {"\\w+\\s\\S", {"a_1 b"}, {"a-b c", "a  "}},
      {"\\p{Lu}\\p{Ll}+", {"Äh", "Zürich"}, {"zürich"}},
      {"\\x41\\u00e9\\u{1F327}\\t\\.\\\\\\-", {"Aé🌧\t.\\-"}, {"A"}},
      {"a*?b+?", {"b", "aab"}, {"a"}},
      {"x{,3}", {"x{,3}"}, {"xx"}},
      {"[\\d\\-a]+", {"1-a"}, {"b"}},
      {"é+", {"éé"}, {"\xc3"}},
  };
  for (const Language& language : languages) check_language(Kind::kRegex, language);
}

TEST_CASE("What a regex cannot have is refused by name", "[constrain]") {
  const auto refused = [](const char* pattern) { return refusal(Kind::kRegex, pattern); };
  CHECK_THAT(refused("(?=a)b"), Contains("look-ahead"));
  CHECK_THAT(refused("(?<!a)b"), Contains("look-behind"));
  CHECK_THAT(refused("(a)\\1"), Contains("back-reference"));
  CHECK_THAT(refused("\\bword"), Contains("\\b"));
  CHECK_THAT(refused("a^b"), Contains("^ or $ inside"));
  CHECK_THAT(refused("(?i)a"), Contains("(?i"));
  CHECK_THAT(refused("(ab"), Contains("not closed"));
  CHECK_THAT(refused("ab)"), Contains("byte 2"));
  CHECK_THAT(refused("[b-a]"), Contains("backwards"));
  CHECK_THAT(refused("*a"), Contains("nothing before *"));
  CHECK_THAT(refused("a{2000000}"), Contains("above 1000000"));
  CHECK_THAT(refused("\\p{Klingon}"), Contains("not known"));
  CHECK_THAT(refused("[^\\s\\S]"), Contains("no text that it allows"));
  CHECK_THAT(refused(std::string(500, '(').c_str()), Contains("nested deeper"));
  CHECK_THAT(refused(std::string(20'000, 'a').c_str()), Contains("at most 16384 are read"));
}

TEST_CASE("A regex of many properties is refused within the time", "[constrain]") {
  std::string letters, of_a_class = "[";
  for (int i = 0; i < 5'000; ++i) letters += "\\pL", of_a_class += "\\pL";
  for (const std::string& pattern : {letters, of_a_class + "]"}) {
    const auto begin = thread_cpu();
    refusal(Kind::kRegex, pattern);
    // Under the sanitizers; the limit is 2 s.
    CHECK(thread_cpu() - begin < std::chrono::seconds(10));
  }
}

TEST_CASE("A compilation that runs out of time says so, wherever it was", "[constrain]") {
  for (const ConstraintSpec& spec :
       {ConstraintSpec{Kind::kJsonSchema,
                       R"({"properties":{"a":{"type":"string","pattern":"^(a|b)*a(a|b){12}$","minLength":2}}})",
                       {},
                       "f"},
        ConstraintSpec{Kind::kGbnf, "root ::= [a-z]{1,9}", {}, "f"}}) {
    CHECK_THROWS_AS(Grammar::compile(spec, byte_vocabulary(), std::chrono::milliseconds(0)), constrain::CompileTimeout);
    CHECK_NOTHROW(Grammar::compile(spec, byte_vocabulary()));
  }
  const ConstraintSpec wrong{Kind::kRegex, "a(", {}, "f"};
  try {
    Grammar::compile(wrong, byte_vocabulary());
    FAIL("it was taken");
  } catch (const constrain::CompileTimeout&) {
    FAIL("that is no matter of time");
  } catch (const Error& error) {
    CHECK(error.param() == "f");
  }
}

TEST_CASE("GBNF as llama.cpp reads it", "[constrain]") {
  const Language languages[] = {
      {"root ::= \"a\" | \"b\" \"c\"", {"a", "bc"}, {"b", "c", ""}},
      {"root ::= item+\nitem ::= [a-z]+ \"\\n\"", {"ab\n", "a\nb\n"}, {"", "a"}},
      {"# comment\nroot ::= (\n  \"x\" | # either\n  \"y\"\n)* \"!\"?", {"", "xy!", "y"}, {"!!", "z"}},
      {"root ::= digit{2} \"-\" digit{1,3} \"-\" digit{2,}\ndigit ::= [0-9]",
       {"12-3-45", "12-345-6789"},
       {"1-2-3", "12-3456-78"}},
      {"root ::= [^\"\\\\\\x00-\\x1f]* \"\\\"\"", {"é🌧\"", "\""}, {"\\\"", "a"}},
      {"root ::= expr\nexpr ::= term (\"+\" term)*\nterm ::= \"(\" expr \")\" | [0-9]",
       {"1", "(1+2)+3", "((4))"},
       {"(1", "1+"}},
      {"root ::= list\nlist ::= \"a\" list | \"a\"", {"a", "aaaa"}, {"", "ab"}},
      {"root ::= .{3}", {"aé\n"}, {"ab"}},
      {"root ::= a?\na ::= \"\\u00e9\" | \"\\x41\"", {"", "é", "A"}, {"\xe9"}},
      {"root ::= pair{1,100}\npair ::= (\"a\" | \"b\"){2}", {"ab", "aabb"}, {"a", "aba"}},
  };
  for (const Language& language : languages) check_language(Kind::kGbnf, language);
  // Ambiguity of every kind ends in few states: here a stack of two kinds of frames for each "a".
  const auto ambiguous = compile(Kind::kGbnf, "root ::= s\ns ::= \"a\" s \"b\" | \"a\" s \"c\" | \"a\"");
  std::string text(2000, 'a');
  for (int i = 0; i < 1999; ++i) text += i % 3 ? 'b' : 'c';
  CHECK(allows(ambiguous, text));
  CHECK_FALSE(allows(ambiguous, text + "b"));
}

TEST_CASE("What is wrong in GBNF is said with line and column", "[constrain]") {
  const auto refused = [](const char* text) { return refusal(Kind::kGbnf, text); };
  CHECK_THAT(refused("start ::= \"a\""), Contains("no rule \"root\""));
  CHECK_THAT(refused("root ::= a"), Contains("\"a\" is used but not defined"));
  CHECK_THAT(refused("root ::= \"a\"\nroot ::= \"b\""), Contains("line 2, column 1") && Contains("twice"));
  CHECK_THAT(refused("root ::= root \"a\" | \"b\""), Contains("left recursion"));
  CHECK_THAT(refused("root ::= a\na ::= b? a \"x\" | \"y\"\nb ::= \"z\""),
             Contains("\"a\"") && Contains("left recursion"));
  CHECK_THAT(refused("root ::= (\"a\""), Contains("not closed"));
  CHECK_THAT(refused("root ::= \"a"), Contains("not closed"));
  CHECK_THAT(refused("root ::= <[123]>"), Contains("tokens by name"));
  CHECK_THAT(refused("root = \"a\""), Contains("::= is missing"));
  CHECK_THAT(refused("root ::= \"a\"{3,1}"), Contains("wrong way round"));
  CHECK_THAT(refused("root ::= \"\\q\""), Contains("escape"));
  CHECK_THAT(refused("root ::= \"a\" root"), Contains("no text that it allows"));
}

TEST_CASE("A choice is one of its strings", "[constrain]") {
  const auto grammar = compile(Kind::kChoice, "", {"yes", "yesterday", "no", "nö", " "});
  for (const char* text : {"yes", "yesterday", "no", "nö", " "}) CHECK(allows(grammar, text));
  for (const char* text : {"", "ye", "yesterda", "n", "yesno"}) CHECK_FALSE(allows(grammar, text));
  CHECK_THROWS_WITH(compile(Kind::kChoice, ""), Contains("1 to 4096 strings"));
}

TEST_CASE("json_object allows any object, with at most one space between tokens", "[constrain]") {
  const auto grammar = compile(Kind::kJsonObject, "");
  for (const char* text : {"{}", R"({"a": 1, "b":[true,null, {"c": -1.5e10}]})", R"({"":"\u00e9\ud83c\udf27\n\\"})",
                           R"({"a":[],"b":{}})", "{\"é\":\"🌧\"}"})
    CHECK(allows(grammar, text));
  for (const char* text :
       {"", "[]", "1", "{", R"({"a"})", R"({"a":  1})", "{\n}", R"({"a":1,})", R"({"a":01})", R"({"a":"\ud800"})",
        R"({"a":"\x"})", "{\"a\":\"\n\"}", "{\"a\":\"\xff\"}", R"({"a":1e999})", R"({"a":1.})", "{} "})
    CHECK_FALSE(allows(grammar, text));
  std::string deep;
  for (int i = 0; i < 500; ++i) deep += "{\"a\":";
  CHECK(allows(grammar, deep + "1" + std::string(500, '}')));
}

}  // namespace nacelle::test
