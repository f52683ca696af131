// Attention of both kinds: what a backend reads of them alike.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>

namespace nacelle {

inline constexpr bool is_attention(std::uint32_t kind) noexcept {
  return kind == NACELLE_OP_ATTENTION || kind == NACELLE_OP_CHUNKED_ATTENTION;
}

// The first position that a row at `position` sees, where it sees as far back as its window, or its chunk, reaches.
inline constexpr std::uint32_t first_seen(bool chunked, std::uint32_t window, std::uint32_t position) noexcept {
  if (chunked) return position - position % window;
  return window && position >= window ? position - window + 1 : 0;
}

}  // namespace nacelle
