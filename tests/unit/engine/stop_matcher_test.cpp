// StopMatcher: whatever the pieces, the text shown is what a search over the whole text would leave.
#include "core/engine/stop_matcher.hpp"

#include <catch2/catch.hpp>
#include <random>

using nacelle::StopMatcher;

namespace {

std::string shown(StopMatcher& matcher, const std::string& text, const std::vector<std::size_t>& cuts) {
  std::string result;
  std::size_t from = 0;
  for (const std::size_t cut : cuts) {
    result += matcher.push(text.substr(from, cut - from));
    from = cut;
  }
  result += matcher.push(text.substr(from));
  if (!matcher.stopped()) result += matcher.flush();
  return result;
}

}  // namespace

TEST_CASE("a stop string is found across the borders of pieces") {
  StopMatcher matcher({"\nUser:", "END"});
  CHECK(matcher.push("Hello\nUs") == "Hello");
  CHECK(matcher.push("e") == "");
  CHECK(matcher.push("r: hi") == "");
  CHECK(matcher.stopped());
  CHECK(matcher.push("more") == "");
  CHECK(matcher.match() == "\nUser:");
}

TEST_CASE("a held tail that leads nowhere is shown after all") {
  StopMatcher matcher({"abcd"});
  CHECK(matcher.push("xab") == "x");
  CHECK(matcher.push("ab") == "ab");
  CHECK(matcher.flush() == "ab");
}

TEST_CASE("random pieces give what a search over the whole text gives") {
  std::mt19937 random(3);
  const std::vector<std::string> stops = {"aab", "ba", "bbbb"};
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 12, 'a');
    for (char& c : text) c = "abc"[random() % 3];
    std::vector<std::size_t> cuts;
    for (std::size_t i = 1; i < text.size(); ++i)
      if (random() % 2) cuts.push_back(i);
    std::size_t end = std::string::npos;
    for (const auto& stop : stops) end = std::min(end, text.find(stop));
    StopMatcher matcher(stops);
    // Pieces may let an earlier-ending match win over an earlier-starting one; both are right answers of a stream.
    const std::string result = shown(matcher, text, cuts);
    INFO(text << " -> " << result);
    CHECK(matcher.stopped() == (end != std::string::npos));
    if (end == std::string::npos) CHECK(result == text);
    if (end != std::string::npos) CHECK(text.starts_with(result));
  }
}
