// The merge loop that byte-pair encoding and SentencePiece share: of all neighbours that may merge, join those of the
// lowest rank, the leftmost first, until none is left. A linked list and a heap: O(n log n) for a word of n symbols.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "core/tokenizer/tokenizer.hpp"

namespace nacelle {

inline constexpr std::uint32_t kNoRank = std::numeric_limits<std::uint32_t>::max();

// What two neighbours become. `rank` is kNoRank where they do not merge.
struct Merge {
  std::uint32_t rank = kNoRank;
  TokenId id = -1;
};

class Merger {
 public:
  static constexpr std::uint32_t kEnd = std::numeric_limits<std::uint32_t>::max();
  struct Symbol {
    std::uint32_t begin, end;  // bytes of the word
    TokenId id;
    std::uint32_t previous, next;  // kEnd at the border
    Merge merge;                   // with the next symbol
  };

  void clear() { symbols_.clear(); }
  // Frees the memory where it has grown beyond `bytes`.
  void shrink(std::size_t bytes) {
    if (symbols_.capacity() * sizeof(Symbol) > bytes) symbols_ = {};
    if (heap_.capacity() * sizeof(std::uint64_t) > bytes) heap_ = {};
  }
  void add(std::uint32_t begin, std::uint32_t end, TokenId id) {
    const auto index = static_cast<std::uint32_t>(symbols_.size());
    symbols_.push_back({begin, end, id, index == 0 ? kEnd : index - 1, kEnd, {}});
    if (index > 0) symbols_[index - 1].next = index;
  }

  // `rank_of(left, right)` gives the Merge of two neighbours.
  template <class RankOf>
  void run(const RankOf& rank_of);

  // Calls visit(symbol) for each symbol left, in order.
  template <class Visit>
  void for_each(const Visit& visit) const {
    for (std::uint32_t i = symbols_.empty() ? kEnd : 0; i != kEnd; i = symbols_[i].next) visit(symbols_[i]);
  }

 private:
  // Recomputes the merge of symbol i with its next one; gives its heap key, or kNone.
  static constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();
  template <class RankOf>
  std::uint64_t rate(std::uint32_t i, const RankOf& rank_of) {
    Symbol& symbol = symbols_[i];
    symbol.merge = symbol.next == kEnd ? Merge{} : rank_of(symbol, symbols_[symbol.next]);
    return symbol.merge.rank == kNoRank ? kNone : std::uint64_t{symbol.merge.rank} << 32 | i;
  }
  void push(std::uint64_t key) {
    if (key == kNone) return;
    heap_.push_back(key);
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }

  std::vector<Symbol> symbols_;
  std::vector<std::uint64_t> heap_;  // rank << 32 | left symbol: the smallest key is the next merge
};

template <class RankOf>
void Merger::run(const RankOf& rank_of) {
  heap_.clear();
  for (std::uint32_t i = 0; i + 1 < symbols_.size(); ++i) {
    if (const auto key = rate(i, rank_of); key != kNone) heap_.push_back(key);
  }
  std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
  while (!heap_.empty()) {
    const std::uint64_t key = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    heap_.pop_back();
    const auto i = static_cast<std::uint32_t>(key);
    Symbol& left = symbols_[i];
    // A key is stale when its symbol was swallowed or has another neighbour by now: then the rank differs, or it is
    // equal and the merge is as valid as the one that the key was made for.
    if (left.merge.rank != key >> 32) continue;
    Symbol& right = symbols_[left.next];
    left.end = right.end;
    left.id = left.merge.id;
    left.next = right.next;
    right.merge.rank = kNoRank;
    if (left.next != kEnd) symbols_[left.next].previous = i;
    push(rate(i, rank_of));
    if (left.previous != kEnd) push(rate(left.previous, rank_of));
  }
}

}  // namespace nacelle
