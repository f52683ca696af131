// Bodies as JSON: the JSONTestSuite, and the bounds that it does not test.
#include "api/fields/json.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/shared_data.hpp"
#include "tests/unit/api/failure.hpp"

using namespace nacelle;
using namespace nacelle::fields;
using test::failure_of;

TEST_CASE("JSONTestSuite: y_ parses, n_ is a clean 400, i_ is either") {
  if (!test::have_shared("conformance/json-test-suite/test_parsing")) return;
  int count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(test::shared_dir() / "conformance/json-test-suite/test_parsing")) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const std::string name = entry.path().filename();
    INFO(name);
    const auto failure = failure_of([&] { parse_json(text); });
    if (name.starts_with("y_object_duplicated_key")) {
      CHECK(failure.status == 400);  // well-formed, but which of the two the client meant is anybody's guess
    } else if (name.starts_with("y_")) {
      CHECK(failure.status == 0);
    } else if (name.starts_with("n_")) {
      CHECK(failure.status == 400);
      CHECK(failure.code == "invalid_json");
    } else {
      CHECK((failure.status == 0 || failure.status == 400));
    }
    ++count;
  }
  CHECK(count >= 318);
}

TEST_CASE("JSON keeps the order of names and refuses a second of one name") {
  CHECK(to_text(parse_json(R"({"b": 1, "a": {"z": null, "y": [1.5, "x"]}})")) ==
        R"({"b":1,"a":{"z":null,"y":[1.5,"x"]}})");
  CHECK(failure_of([] { parse_json(R"({"a": 1, "b": {"a": 2}, "a": 3})"); }).message.find("\"a\" occurs twice") !=
        std::string::npos);
  CHECK(failure_of([] { parse_json(R"({"a": {"x": 1}, "b": {"x": 1}})"); }).status == 0);
}

TEST_CASE("JSON is bounded in depth and in values") {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(failure_of([&] { parse_json(nested(64)); }).status == 0);
  CHECK(failure_of([&] { parse_json(nested(65)); }).status == 400);
  std::string many = "[0";
  for (int i = 0; i < 1'000'000; ++i) many += ",0";
  CHECK(failure_of([&] { parse_json(many + "]"); }).message.find("1000000") != std::string::npos);
}

TEST_CASE("JSON errors say where, and quote no megabytes") {
  const auto failure = failure_of([] { parse_json("{\"a\": 1,\n \"b\": nul}"); });
  CHECK(failure.message.find("line 2") != std::string::npos);
  CHECK(failure_of([] { parse_json("\"" + std::string(1 << 20, 'a')); }).message.size() < 400);
  CHECK(failure_of([] { parse_json("1e999"); }).message ==
        "the request body is not valid JSON: number overflow parsing '1e999'");
  CHECK(failure_of([] { parse_json("NaN"); }).status == 400);
  CHECK(failure_of([] { parse_json("\"\xff\""); }).status == 400);
}
