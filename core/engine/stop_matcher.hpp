// Finds stop strings in streamed text, across the borders of its pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nacelle {

class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Takes the next piece and returns what can safely be shown: everything but a tail that may yet become a stop string.
  // After a match (stopped()) it returns the text before the earliest one; later text is dropped.
  std::string push(std::string_view piece);
  // The held-back tail, when the answer ends without a match.
  std::string flush();
  bool stopped() const noexcept { return stopped_; }
  // The string that was found, once stopped(): the longest of those that begin first.
  const std::string& match() const noexcept { return match_; }

 private:
  std::size_t held_length() const;
  std::vector<std::string> stops_;
  std::string buffer_, match_;
  bool stopped_ = false;
};

}  // namespace nacelle
