// The merge loop that byte-pair encoding and SentencePiece share: of all neighbours that may merge, join those of the
// lowest rank, the leftmost first, until none is left. A linked list and a heap: O(n log n) for a word of n symbols.
#pragma once

#include <algorithm>
#include <cstdint>
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

// A heap of four children a node, whose siblings share a cache line: for the millions of keys that a megabyte without a
// space makes, it misses half as often as a binary one. The smallest key comes first.
class KeyHeap {
 public:
  bool empty() const noexcept { return keys_.empty(); }
  void clear() noexcept { keys_.clear(); }
  void shrink(std::size_t bytes) {
    if (keys_.capacity() * sizeof(std::uint64_t) > bytes) keys_ = {};
  }
  void push(std::uint64_t key) {
    std::size_t i = keys_.size();
    keys_.push_back(key);
    for (; i > 0 && key < keys_[(i - 1) / 4]; i = (i - 1) / 4) keys_[i] = keys_[(i - 1) / 4];
    keys_[i] = key;
  }
  std::uint64_t pop() {
    const std::uint64_t top = keys_.front(), key = keys_.back();
    keys_.pop_back();
    const std::size_t n = keys_.size();
    std::size_t i = 0;
    for (std::size_t child = 1; child < n; child = i * 4 + 1) {
      const auto first = keys_.begin() + static_cast<std::ptrdiff_t>(child);
      const auto least =
          std::min_element(first, first + static_cast<std::ptrdiff_t>(std::min<std::size_t>(4, n - child)));
      if (key <= *least) break;
      keys_[i] = *least;
      i = static_cast<std::size_t>(least - keys_.begin());
    }
    if (n > 0) keys_[i] = key;
    return top;
  }

 private:
  std::vector<std::uint64_t> keys_;
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
    heap_.shrink(bytes);
  }
  void add(std::uint32_t begin, std::uint32_t end, TokenId id) {
    const auto index = static_cast<std::uint32_t>(symbols_.size());
    symbols_.push_back({begin, end, id, index == 0 ? kEnd : index - 1, kEnd, {}});
    if (index > 0) symbols_[index - 1].next = index;
  }

  // `rank_of(left, right)` gives the Merge of two neighbours.
  template <class RankOf>
  void run(const RankOf& rank_of) {
    for (std::uint32_t i = 0; i < symbols_.size(); ++i) rate(i, rank_of);
    symbols_.size() <= kFew ? run_few(rank_of) : run_many(rank_of);
  }

  // Calls visit(symbol) for each symbol left, in order.
  template <class Visit>
  void for_each(const Visit& visit) const {
    for (std::uint32_t i = symbols_.empty() ? kEnd : 0; i != kEnd; i = symbols_[i].next) visit(symbols_[i]);
  }

 private:
  static constexpr std::size_t kFew = 24;  // up to here, looking at every symbol for each merge is faster than a heap

  // Computes the merge of symbol i with its next one.
  template <class RankOf>
  void rate(std::uint32_t i, const RankOf& rank_of) {
    Symbol& symbol = symbols_[i];
    symbol.merge = symbol.next == kEnd ? Merge{} : rank_of(symbol, symbols_[symbol.next]);
  }
  // Joins symbol i with its next one, and rates it and its neighbours anew.
  template <class RankOf>
  void join(std::uint32_t i, const RankOf& rank_of) {
    Symbol& left = symbols_[i];
    Symbol& right = symbols_[left.next];
    left.end = right.end;
    left.id = left.merge.id;
    left.next = right.next;
    right.merge.rank = kNoRank;
    if (left.next != kEnd) symbols_[left.next].previous = i;
    rate(i, rank_of);
    if (left.previous != kEnd) rate(left.previous, rank_of);
  }

  template <class RankOf>
  void run_few(const RankOf& rank_of) {
    while (true) {
      std::uint32_t best = kEnd, rank = kNoRank;
      for (std::uint32_t i = symbols_.empty() ? kEnd : 0; i != kEnd; i = symbols_[i].next) {
        if (symbols_[i].merge.rank < rank) rank = symbols_[best = i].merge.rank;
      }
      if (best == kEnd) return;
      join(best, rank_of);
    }
  }

  template <class RankOf>
  void run_many(const RankOf& rank_of) {
    heap_.clear();
    const auto push = [&](std::uint32_t i) {
      if (symbols_[i].merge.rank != kNoRank) heap_.push(std::uint64_t{symbols_[i].merge.rank} << 32 | i);
    };
    for (std::uint32_t i = 0; i < symbols_.size(); ++i) push(i);
    while (!heap_.empty()) {
      const std::uint64_t key = heap_.pop();
      const auto i = static_cast<std::uint32_t>(key);
      // A key is stale when its symbol was swallowed or has another neighbour by now: then the rank differs, or it is
      // equal and the merge is as valid as the one that the key was made for.
      if (symbols_[i].merge.rank != key >> 32) continue;
      join(i, rank_of);
      push(i);
      if (symbols_[i].previous != kEnd) push(symbols_[i].previous);
    }
  }

  std::vector<Symbol> symbols_;
  KeyHeap heap_;  // rank << 32 | left symbol: the smallest key is the next merge
};

}  // namespace nacelle
