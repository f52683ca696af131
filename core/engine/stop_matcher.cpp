// The buffer never holds more than the longest stop string and one piece, so plain searches are cheap.
#include "core/engine/stop_matcher.hpp"

#include <algorithm>
#include <utility>

namespace nacelle {

std::string StopMatcher::push(std::string_view piece) {
  if (stopped_) return {};
  if (stops_.empty()) return std::string(piece);
  buffer_ += piece;
  std::size_t earliest = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t at = buffer_.find(stop);
    if (at > earliest || at == std::string::npos || (at == earliest && stop.size() < match_.size())) continue;
    earliest = at;
    match_ = stop;
  }
  if (earliest != std::string::npos) {
    stopped_ = true;
    buffer_.resize(earliest);
    return std::exchange(buffer_, {});
  }
  const std::size_t shown = buffer_.size() - held_length();
  std::string text = buffer_.substr(0, shown);
  buffer_.erase(0, shown);
  return text;
}

std::string StopMatcher::flush() { return std::exchange(buffer_, {}); }

// Length of the longest suffix of the buffer that begins a stop string.
std::size_t StopMatcher::held_length() const {
  std::size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t length = std::min(stop.size() - 1, buffer_.size()); length > longest; --length) {
      if (std::string_view(stop).starts_with(std::string_view(buffer_).substr(buffer_.size() - length))) {
        longest = length;
        break;
      }
    }
  }
  return longest;
}

}  // namespace nacelle
