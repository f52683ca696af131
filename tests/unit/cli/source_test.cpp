// Names of models elsewhere, and what a hub's listing makes of them: text from the user and from the network.
#include "api/hub/source.hpp"

#include <catch2/catch.hpp>

#include "core/base/error.hpp"

using namespace nacelle;
using namespace nacelle::hub;
using Names = std::vector<std::string>;

TEST_CASE("sources of models") {
  CHECK(Source::parse("models/a.gguf").path == "models/a.gguf");
  CHECK(Source::parse("file:///models/a.gguf").path == "/models/a.gguf");
  CHECK(Source::parse("https://x/a.gguf").kind == Source::Kind::kUrl);
  const Source whole = Source::parse("hf:org/name.v1@refs/pr/3:sub/a-Q4_K.gguf");
  CHECK(whole.kind == Source::Kind::kHub);
  CHECK(whole.repository == "org/name.v1");
  CHECK(whole.revision == "refs/pr/3");
  CHECK(whole.wanted == "sub/a-Q4_K.gguf");
  CHECK(Source::parse("hf:a/b").revision == "main");
  for (const char* text : {"hf:", "hf:a", "hf:a/", "hf:/b", "hf:a/b/c", "hf:../b", "hf:a/.b", "hf:a/b@", "hf:a/b@../x",
                           "hf:a/b:", "hf:a/b:../x", "hf:a/b:/x", "hf:a/b:x\n", "hf:a/b:x\\y"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(Source::parse(text), Error);
  }
}

TEST_CASE("files of a repository") {
  const auto chosen = [](const Names& names, const std::string& wanted) {
    return select_files(names, wanted, "hf:a/b");
  };
  const auto refusal = [&](const Names& names, const std::string& wanted) -> std::string {
    try {
      chosen(names, wanted);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const Names many = {"m-Q4_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf", "x"};
  CHECK(chosen({"README.md", "m.GGUF"}, "") == Names{"m.GGUF"});
  CHECK(chosen(many, "q4_k") == Names{"m-Q4_K.gguf"});
  CHECK(chosen(many, "Q8_0") == Names{many[2], many[3]});
  CHECK(chosen(many, "x") == Names{"x"});
  CHECK(chosen({"config.json", "model.safetensors", "onnx/model.onnx", "extra.safetensors"}, "") ==
        Names{"config.json", "model.safetensors"});
  CHECK_THAT(refusal(many, ""), Catch::Contains("several models"));
  CHECK_THAT(refusal(many, "Q5"), Catch::Contains("none of its files"));
  CHECK_THAT(refusal({"m-00001-of-00003.gguf"}, ""), Catch::Contains("m-00002-of-00003.gguf is not there"));
  CHECK_THAT(refusal({}, ""), Catch::Contains("no model that can be read"));
  CHECK_THAT(refusal({".gguf", "-00001-of-00001.gguf"}, ""), Catch::Contains("several"));
  CHECK(split_parts("m-00001-of-00000.gguf") == Names{"m-00001-of-00000.gguf"});
}

TEST_CASE("a listing of many parts of many costs no more than its length") {
  Names names;
  for (int i = 0; i < 20'000; ++i) names.push_back("m" + std::to_string(i) + "-00002-of-99999.gguf");
  CHECK_THROWS_AS(select_files(names, "", "hf:a/b"), Error);
}

TEST_CASE("paths that may be written to") {
  for (const char* good : {"a", "a/b", "a..b/c", "..."}) CHECK(is_safe_relative(good));
  for (const char* bad : {"", "/a", "a/", "a//b", ".", "..", "a/../b", "a\\b", "a\tb"})
    CHECK_FALSE(is_safe_relative(bad));
  CHECK_FALSE(is_safe_relative(std::string(1025, 'a')));
}
