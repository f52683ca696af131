// What the log writes to standard error.
#include "core/base/log.hpp"

#include <catch2/catch.hpp>
#include <regex>

#include "core/base/error.hpp"
#include "tests/unit/base/captured.hpp"

using namespace nacelle;
using nacelle::test::captured;

TEST_CASE("text: one line a message, with its level and component") {
  const std::string text = captured([] {
    log::info("{} loaded in {:.1f} s", "model", 1.25);
    log::write(log::Level::kWarning, "two\nlines\x1b[31m", "cpu");
    log::debug("not shown at {}", "info");
  });
  const std::regex expected(
      R"(\d\d:\d\d:\d\d\.\d{3} info model loaded in 1\.2 s\n\d\d:\d\d:\d\d\.\d{3} warning cpu: two\\nlines\\u001b\[31m\n)");
  INFO(text);
  CHECK(std::regex_match(text, expected));
}

TEST_CASE("JSON: one object a message, whatever the message holds") {
  log::configure(log::Level::kDebug, log::Format::kJson);
  const std::string text = captured([] {
    log::debug("a \"quoted\" \\ thing\t{}", 7);
    log::write(log::Level::kError, "lost", "cu\"da");
    log::trace("not shown");
  });
  log::configure(log::Level::kInfo, log::Format::kText);
  const std::regex expected(
      R"re(\{"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","level":"debug","message":"a \\"quoted\\" \\\\ thing\\u00097"\}\n)re"
      R"re(\{"time":"[^"]*","level":"error","component":"cu\\"da","message":"lost"\}\n)re");
  INFO(text);
  CHECK(std::regex_match(text, expected));
}

TEST_CASE("levels") {
  CHECK(log::parse_level("warning") == log::Level::kWarning);
  CHECK(log::parse_format("json") == log::Format::kJson);
  CHECK_THROWS_AS(log::parse_level("loud"), Error);
  CHECK_THROWS_AS(log::parse_format("xml"), Error);
  CHECK(log::enabled(log::Level::kInfo));
  CHECK_FALSE(log::enabled(log::Level::kDebug));
  log::configure(log::Level::kOff, log::Format::kText);
  CHECK(captured([] { log::error("nothing"); }).empty());
  log::configure(log::Level::kInfo, log::Format::kText);
}
