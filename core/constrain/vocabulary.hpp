// The vocabulary as tries of bytes, in the order in which a walk visits them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/constrain/constraint.hpp"

namespace nacelle::constrain {

// Nodes in depth-first order. A walk that refuses a node goes on at `skip`.
struct Trie {
  struct Node {
    std::uint32_t skip;   // index behind the node's subtree
    std::uint32_t first;  // of its own tokens in `tokens`
    std::uint16_t count;
    std::uint8_t byte;
    std::uint8_t depth;  // bytes up to and with this one; deeper tokens are left out of the vocabulary
  };
  std::vector<Node> nodes;
  std::vector<TokenId> tokens;
};

inline constexpr std::size_t kMaxTokenBytes = 255;
// Before the text of a special token. No UTF-8 has it, so only what asks for special tokens reads it.
inline constexpr std::uint8_t kSpecialLead = 0xFF;

struct TokenTrie {
  // Tokens of whole characters that stand for themselves in a JSON string (no quote, backslash, control character), and
  // all others: in the middle of a string the first kind is judged by its length alone.
  Trie plain, other;
  // plain_up_to[n]: the bits of the plain tokens of at most n characters; the last one has all. Some 2 MB for 128k
  // tokens.
  std::vector<std::vector<std::uint32_t>> plain_up_to;
  std::uint32_t longest = 1;  // bytes of the longest token
};

// Tokens must be sorted by bytes.
Trie make_trie(std::span<const Vocabulary::Token> sorted);

}  // namespace nacelle::constrain
