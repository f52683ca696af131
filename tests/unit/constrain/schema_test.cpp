// JSON Schema: what is enforced beyond the official suite, what is refused and how, and schemas made to hurt.
#include <chrono>

#include "core/base/thread_cpu.hpp"
#include "tests/unit/constrain/support.hpp"

namespace nacelle::test {
namespace {

using Catch::Contains;

void check_schema(const char* text, const std::vector<std::string>& in, const std::vector<std::string>& out) {
  INFO(text);
  const auto grammar = schema(text);
  for (const std::string& value : in) {
    INFO("should be allowed: " << value);
    CHECK(allows(grammar, value));
  }
  for (const std::string& value : out) {
    INFO("should not be allowed: " << value);
    CHECK_FALSE(allows(grammar, value));
  }
}

std::string refused_schema(const std::string& text) { return refusal(Kind::kJsonSchema, text); }

}  // namespace

TEST_CASE("Members come in the schema's order, optional ones may be left out", "[constrain]") {
  check_schema(R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"boolean"},"c":{"type":"null"}},
                   "required":["b"],"additionalProperties":false})",
               {R"({"b":true})", R"({"a": 1, "b": false})", R"({"a":1,"b":true,"c":null})", R"({"b":true,"c":null})"},
               {"{}", R"({"a":1})", R"({"b":true,"a":1})", R"({"b":1})", R"({"b":true,"d":1})",
                R"({"b":true,"b":true})", R"({"b":true,})", R"({ "b":true})", R"({"b":  true})"});
  // Others stand behind, of any name that is not one of the schema's.
  check_schema(R"({"properties":{"a":{"type":"integer"}},"additionalProperties":{"type":"string"},"type":"object"})",
               {"{}", R"({"a":1,"x":"y"})", R"({"x":"y","aa":"z","":""})", "{\"\xc3\xa9\\n\":\"y\"}"},
               {R"({"x":"y","a":1})", R"({"a":"y"})", R"({"x":1})"});
}

TEST_CASE("Bounds on numbers are exact", "[constrain]") {
  check_schema(R"({"type":"integer","minimum":-15,"maximum":120})", {"-15", "-9", "0", "7", "99", "120"},
               {"-16", "121", "200", "-100", "1000", "00", "-0", "1.0"});
  check_schema(R"({"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":11})", {"10"}, {"9", "11", "1", "100"});
  check_schema(R"({"type":"number","minimum":0.25,"exclusiveMaximum":10.5})",
               {"0.25", "0.250", "0.3", "1", "9.99", "10.49", "10.4999", "10"},
               {"0.24", "0.2", "0", "10.5", "10.50", "10.51", "11", "100", "-1", "1e0"});
  check_schema(R"({"type":"number","maximum":-1.5})", {"-1.5", "-1.50", "-1.51", "-2", "-100.25"},
               {"-1.49", "-1", "0", "1.5", "2"});
  check_schema(R"({"type":"number","exclusiveMinimum":0})", {"0.1", "0.001", "1", "10.0"}, {"0", "0.0", "-1", "-0.5"});
  check_schema(R"({"type":"number","minimum":0})", {"0", "0.0", "1"}, {"-0.1", "-0", "-0.0"});
  check_schema(R"({"type":"number","multipleOf":0.25})", {"0", "1", "0.5", "0.25", "-1.75"}, {"0.3", "0.255", "1.1"});
  check_schema(R"({"type":"integer","multipleOf":7,"minimum":1,"maximum":1000000})", {"7", "14", "999999"},
               {"0", "8", "1000001", "1000006"});
  check_schema(R"({"type":"integer","minimum":1e2,"maximum":1.5e2})", {"100", "150"}, {"99", "151"});
  check_schema(R"({"enum":[1,2,3.5,10],"minimum":2})", {"2", "3.5", "10"}, {"1", "3"});
}

TEST_CASE("Lengths, patterns and formats of strings", "[constrain]") {
  check_schema(R"({"type":"string","minLength":2,"maxLength":3})",
               {R"("ab")", "\"\xc3\xa9\xf0\x9f\x8c\xa7\"", R"("\ud83c\udf27\n\u00e9")", R"("abc")"},
               {R"("a")", R"("abcd")", R"("")"});
  check_schema(R"({"type":"string","minLength":100000})", {'"' + std::string(100000, 'x') + '"'},
               {'"' + std::string(99999, 'x') + '"'});
  check_schema(R"({"type":"string","pattern":"^[a-z]+$","maxLength":3})", {R"("ab")", R"("abc")"},
               {R"("")", R"("abcd")", R"("AB")"});
  check_schema(R"({"type":"string","pattern":"b"})", {R"("b")", R"("abc")", "\"\xc3\xa9\\nb\""}, {R"("a")", R"("")"});
  check_schema(R"({"allOf":[{"pattern":"^a"},{"pattern":"z$"}],"type":"string"})", {R"("az")", R"("a\"z")"},
               {R"("a")", R"("za")"});
  check_schema(R"({"type":"string","pattern":"^\"\\\\\\n$"})", {R"("\"\\\n")"}, {R"("\"\\n")"});
  check_schema(R"({"type":"string","format":"date","pattern":"^20"})", {R"("2024-02-29")"},
               {R"("2023-02-29")", R"("1999-01-01")"});
  check_schema(R"({"type":"string","format":"uuid"})", {R"("123e4567-e89b-12d3-a456-426614174000")"},
               {R"("123e4567")"});
}

TEST_CASE("Alternatives, recursion and references", "[constrain]") {
  check_schema(R"({"$defs":{"tree":{"type":"object","properties":{"v":{"type":"integer"},
                   "kids":{"type":"array","items":{"$ref":"#/$defs/tree"}}},"required":["v"],"additionalProperties":false}},
                   "$ref":"#/$defs/tree"})",
               {R"({"v":1})", R"({"v":1,"kids":[]})", R"({"v":1,"kids":[{"v":2,"kids":[{"v":3}]}, {"v":4}]})"},
               {R"({"v":1,"kids":[{}]})", R"({"kids":[]})"});
  check_schema(
      R"({"oneOf":[{"type":"object","properties":{"k":{"const":"a"},"x":{"type":"integer"}},"required":["k","x"]},
                            {"type":"object","properties":{"k":{"const":"b"},"y":{"type":"string"}},"required":["k","y"]}]})",
      {R"({"k":"a","x":1})", R"({"k":"b","y":""})"}, {R"({"k":"a","y":""})", R"({"k":"c"})"});
  check_schema(
      R"({"allOf":[{"properties":{"a":{"type":"string"}},"required":["a"]},{"properties":{"a":{"maxLength":1},"b":{}}}],
                   "type":"object"})",
      {R"({"a":"x"})", R"({"a":"x","b":[1]})"}, {R"({"a":"xx"})", R"({"b":1})"});
  check_schema(R"({"type":["integer","null"]})", {"1", "null"}, {"1.5", "\"x\""});
  check_schema(R"({"const":{"a":[1,"x"],"b":null}})", {R"({"a":[1,"x"],"b":null})", R"({"a": [1, "x"], "b": null})"},
               {R"({"a":[1,"x"]})"});
  check_schema(R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":1000000})", {"[1,2]", "[1, 2, 3]"},
               {"[]", "[1]", "[1,2,]"});
  check_schema(
      R"({"type":"object","additionalProperties":false,"properties":{"a":{},"b":{},"c":{}},"minProperties":2,"maxProperties":2})",
      {R"({"a":1,"c":2})"}, {R"({"a":1})", R"({"a":1,"b":1,"c":1})"});
}

TEST_CASE("What cannot be enforced is refused with its keyword and place", "[constrain]") {
  ErrorKind kind{};
  CHECK_THAT(refusal(Kind::kJsonSchema, R"({"properties":{"a/b":{"type":"array","uniqueItems":true}}})", &kind),
             Contains("\"uniqueItems\" at #/properties/a~1b/uniqueItems"));
  CHECK(kind == ErrorKind::kUnsupported);
  CHECK_THAT(refused_schema(R"({"not":{"type":"string"}})"), Contains("\"not\" at #/not"));
  CHECK_THAT(refused_schema(R"({"if":{},"then":{}})"), Contains("\"if\""));
  CHECK_THAT(refused_schema(R"({"$ref":"http://example.com/x"})"), Contains("not in this document"));
  CHECK_THAT(refused_schema(R"({"$ref":"#/$defs/none"})"), Contains("leads nowhere"));
  CHECK_THAT(refused_schema(R"({"type":"strnig"})"), Contains("#/type"));
  CHECK_THAT(refused_schema(R"({"minLenght":1})"), Contains("\"minLenght\"") && Contains("not known"));
  CHECK_THAT(refused_schema(R"({"oneOf":[{"type":"integer"},{"minimum":2}]})"), Contains("branches 0 and 1"));
  CHECK_THAT(refused_schema(R"({"type":"string","format":"postcode"})"), Contains("date-time"));
  CHECK_THAT(refused_schema(R"x({"pattern":"(?=a)"})x"), Contains("look-ahead") && Contains("#/pattern"));
  CHECK_THAT(refused_schema("{"), Contains("not valid JSON"));
  CHECK_THAT(refused_schema("7"), Contains("must be an object"));
  CHECK_THAT(refused_schema(R"({"type":"integer","minimum":3,"maximum":2})"), Contains("no text that it allows"));
  CHECK_THAT(refused_schema(R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})"),
             Contains("no text"));
  CHECK_THAT(refused_schema("false"), Contains("no text"));
}

TEST_CASE("Schemas made to hurt end soon, taken or refused", "[constrain]") {
  std::string nested_any = "{}";
  for (int i = 0; i < 30; ++i) nested_any = "{\"anyOf\":[" + nested_any + ",{\"type\":\"object\"}]}";
  std::string product = "{\"allOf\":[";
  for (int i = 0; i < 20; ++i) product += std::string(i ? "," : "") + R"({"anyOf":[{"minLength":1},{"maxLength":9}]})";
  product += "]}";
  std::string wide = "{\"type\":\"object\",\"properties\":{";
  for (int i = 0; i < 5000; ++i)
    wide +=
        (i ? ",\"p" : "\"p") + std::to_string(i) + "\":{\"type\":\"integer\",\"maximum\":" + std::to_string(i) + "}";
  wide += "}}";
  std::string one_of = "{\"oneOf\":[";
  for (int i = 0; i < 200; ++i) one_of += std::string(i ? "," : "") + "{\"const\":" + std::to_string(i) + "}";
  one_of += "]}";
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "{\"items\":";
  deep += "{}" + std::string(5000, '}');
  const std::string deep_value = std::string(300'000, '[') + std::string(300'000, ']');  // a stack has no room for it
  std::string names = "{\"properties\":{", nothings = "{\"allOf\":[{}", listed = "\"a0\"", named;
  for (int i = 0; i < 80'000; ++i) names += (i ? ",\"" : "\"") + std::to_string(i) + "\":{}";
  for (int i = 0; i < 300'000; ++i) nothings += ",{}";
  for (int i = 1; i < 90'000; ++i) listed += ",\"a" + std::to_string(i) + '"';
  for (int i = 0; i < 14'000; ++i)
    named += (i ? ",\"" : "\"") + std::to_string(i) + "\":{\"$anchor\":\"b" + std::to_string(i) + "\"}";
  const std::string enumeration = "{\"enum\":[" + listed + "]}";
  std::string letters;
  for (int i = 0; i < 200'000; ++i) letters += "\\\\pL";
  const std::string sources[] = {
      nested_any,
      product,
      wide,
      one_of,
      deep,
      "{\"const\":" + deep_value + "}",
      "{\"enum\":[1," + deep_value + "]}",
      names + "}}",
      "{\"allOf\":[" + enumeration + "," + enumeration + "]}",
      nothings + "]}",
      R"({"format":"email","pattern":"^(a|b)*a(a|b){9}","enum":[)" + listed + "]}",
      "{\"$ref\":\"#a\",\"$defs\":{\"" + std::string(450'000, 'x') + R"(":{"$anchor":"a","properties":{)" + named +
          "}}}}",
      R"({"type":"string","pattern":")" + letters + "\"}",
      R"({"type":"string","pattern":")" + letters.substr(0, 16'000) + "\"}",
      R"({"type":"array","items":{"type":"array","items":{"type":"string","maxLength":999999},"maxItems":999999},"maxItems":4000000000})",
      R"({"type":"string","pattern":"^(a|b)*a(a|b){20}$"})",
      R"({"type":"string","pattern":"^((a{1,100}){1,100}){1,100}$"})",
      R"({"type":"string","pattern":"^.{5000}$","minLength":4000,"maxLength":90000})",
      R"({"type":"integer","multipleOf":123456789})",
      R"({"type":"number","minimum":1e-300,"maximum":1e300})",
      R"({"$ref":"#"})",
      R"({"allOf":[{"$ref":"#"}],"anyOf":[{"$ref":"#"}]})",
      R"({"patternProperties":{"a.*b.*c":{},"c.*b.*a":{},"x{100}":{},"y.*z":{},"q.*q.*q":{},"[a-z]{50}$":{}}})"};
  for (const std::string& source : sources) {
    INFO(source.substr(0, 100));
    const auto begin = thread_cpu();
    try {
      const auto grammar = schema(source);
      Matcher matcher(grammar);
      std::vector<std::uint32_t> words(byte_vocabulary()->words());
      CHECK(matcher.mask(words));
    } catch (const Error& error) {
      CHECK(std::string_view(error.what()).size() < 600);
    }
    const double seconds = std::chrono::duration<double>(thread_cpu() - begin).count();
    CHECK(seconds < 10);  // under the sanitizers; the limit is 2 s
  }
}

}  // namespace nacelle::test
