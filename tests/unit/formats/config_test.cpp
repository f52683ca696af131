// config.json flattened, and its bounds.
#include <catch2/catch.hpp>
#include <cmath>

#include "core/formats/config_map.hpp"
#include "core/formats/json.hpp"
#include "tests/unit/formats/files.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

ConfigMap flatten(std::string_view text, const std::string& prefix = "") {
  ConfigMap config;
  const auto block = exact_bytes(text);
  add_json_config("config.json", block, prefix, config);
  return config;
}

template <typename T>
std::vector<T> list(const ConfigMap& config, const char* key) {
  return std::get<std::vector<T>>(std::get<ConfigArray>(config.values.at(key)).values);
}

}  // namespace

TEST_CASE("values of every kind are found by their dotted path") {
  const ConfigMap config = flatten(R"({"a": 1, "b": -2.5, "c": true, "d": "x\u00e9", "e": null,
    "f": {"g": {"h": 7}, "i": [1, 2]}, "j": [1, 2.5], "k": ["p", "q"], "l": [true], "m": [], "n": [1, "x"],
    "o": [{"p": 1}], "big": 18446744073709551615, "twice": 1, "twice": 2})");
  CHECK(std::get<std::int64_t>(config.values.at("a")) == 1);
  CHECK(std::get<double>(config.values.at("b")) == -2.5);
  CHECK(std::get<bool>(config.values.at("c")));
  CHECK(std::get<std::string_view>(config.values.at("d")) == "x\xc3\xa9");
  CHECK_FALSE(config.values.contains("e"));
  CHECK_FALSE(config.values.contains("f"));
  CHECK(std::get<std::int64_t>(config.values.at("f.g.h")) == 7);
  CHECK(list<std::int64_t>(config, "f.i") == std::vector<std::int64_t>{1, 2});
  CHECK(list<double>(config, "j") == std::vector<double>{1, 2.5});
  CHECK(list<std::string_view>(config, "k") == std::vector<std::string_view>{"p", "q"});
  CHECK(list<bool>(config, "l") == std::vector<bool>{true});
  CHECK(std::get<ConfigArray>(config.values.at("m")).size() == 0);
  CHECK(std::get<ConfigArray>(config.values.at("n")).nested);
  CHECK(std::get<ConfigArray>(config.values.at("o")).nested);
  CHECK(std::get<double>(config.values.at("big")) == 18446744073709551615.0);
  CHECK(std::get<std::int64_t>(config.values.at("twice")) == 2);
  CHECK(flatten(R"({"x": 1})", "generation_config").values.contains("generation_config.x"));
}

TEST_CASE("numbers without end are read as Python writes them") {
  const ConfigMap config = flatten(R"({"limit": [0.0, Infinity], "least": -Infinity, "text": "\" Infinity",
    "tagged": [0, {"__float__": "Infinity"}], "one": {"__float__": "-Infinity"}, "other": {"__float__": "x"}})");
  CHECK(list<double>(config, "limit") == std::vector<double>{0, INFINITY});
  CHECK(std::get<double>(config.values.at("least")) == -INFINITY);
  CHECK(std::get<std::string_view>(config.values.at("text")) == "\" Infinity");
  CHECK(list<double>(config, "tagged") == std::vector<double>{0, INFINITY});
  CHECK(std::get<double>(config.values.at("one")) == -INFINITY);
  CHECK(std::get<std::string_view>(config.values.at("other.__float__")) == "x");
  for (const char* bad : {"{\"a\": Infinit}", "{\"a\": 1Infinity}", "{\"a\": xInfinity}", "{\"a\": NaN}"}) {
    CAPTURE(bad);
    CHECK_THAT(error_of([&] { flatten(bad); }), Catch::Contains("is no valid JSON"));
  }
  const JsonLimits strict{.bytes = 100, .nodes = 10};
  CHECK_THAT(error_of([&] { parse_json("f", "[Infinity]", 0, strict); }), Catch::Contains("is no valid JSON"));
}

TEST_CASE("a bad config.json gives one line with the byte") {
  const std::string long_name = "{\"" + std::string(2000, 'k') + "\":1}";
  const std::pair<std::string, const char*> rows[] = {
      {"{\"a\": 1,\n  \"b\": tru}", "JSON at byte 20: is no valid JSON, line 2, column 11: syntax error"},
      {"{\"a\": 1e999}", "JSON at byte 12: is no valid JSON"},
      {"[1]", "JSON at byte 0: expected an object"},
      {"", "is no valid JSON"},
      {"{\"a\":\"\n\"}", "is no valid JSON"},
      {"{\"a\":" + std::string(100000, '[') + "}", "is nested deeper than 64 levels"},
      {std::string(17 << 20, ' '), "has 17825792 bytes, expected at most 16777216"},
      {long_name, "has a path of more than 1024 bytes"},
  };
  for (const auto& [text, expected] : rows) {
    CAPTURE(expected);
    const std::string message = error_of([&text = text] { flatten(text); });
    CHECK_THAT(message, Catch::StartsWith("config.json: "));
    CHECK_THAT(message, Catch::Contains(expected));
  }
}

TEST_CASE("the limits of a JSON file are those it is read with") {
  const JsonLimits limits{.bytes = 12, .nodes = 3, .depth = 2};
  const auto message = [&](std::string_view text) { return error_of([&] { parse_json("f", text, 100, limits); }); };
  CHECK(message("[[1]]").empty());
  CHECK(message("[[[1]]]") == "f: JSON at byte 103: is nested deeper than 2 levels");
  CHECK(message("[1,2]").empty());
  CHECK(message("[1,2,3]") == "f: JSON at byte 107: has more than 3 values");
  CHECK(message("\"1234567890\"").empty());
  CHECK(message("\"12345678901\"") == "f: JSON at byte 100: has 13 bytes, expected at most 12");
}

TEST_CASE("a config.json that is cut or changed anywhere never crashes") {
  const std::string text = R"({"a":[1,2.5e3,"\u00e9\ud83d\ude00"],"b":{"c":null,"d":[true,false]},"e":-7})";
  const std::size_t errors = count_damaged(text, [](std::span<const std::byte> damaged) {
    ConfigMap config;
    add_json_config("config.json", damaged, "", config);
  });
  CHECK(errors > text.size());
}
