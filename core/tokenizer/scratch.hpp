// Working memory of one encode() call, kept between calls so that its word cache stays warm.
#pragma once

#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/formats/regex.hpp"
#include "core/tokenizer/merge.hpp"
#include "core/tokenizer/string_table.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace nacelle {

// Remembers what words became. Direct-mapped, one cache line an entry, so that memory is fixed and a look-up is one
// miss at most; a word that shares its line with another replaces it. Long words are not kept.
class WordCache {
 public:
  static constexpr std::size_t kWordMost = 30, kIdsMost = 8;

  // Appends the ids of `word`: those that are remembered, else those that spell() appends, which then are.
  template <class Spell>
  void append(std::string_view word, std::vector<TokenId>& out, const Spell& spell) {
    Entry* entry = word.size() > kWordMost ? nullptr : &entry_of(word);
    if (entry && entry->holds(word)) {
      out.insert(out.end(), entry->ids, entry->ids + entry->count);
      return;
    }
    const std::size_t begin = out.size();
    spell();
    if (entry) entry->store(word, out.data() + begin, out.size() - begin);
  }

 private:
  struct alignas(64) Entry {
    std::uint8_t size = 0;  // of `word`; 0: empty
    std::uint8_t count = 0;
    char word[kWordMost];
    TokenId ids[kIdsMost];
    bool holds(std::string_view w) const noexcept { return size == w.size() && std::memcmp(word, w.data(), size) == 0; }
    void store(std::string_view w, const TokenId* first, std::size_t n) noexcept {
      if (n > kIdsMost) return;
      size = static_cast<std::uint8_t>(w.size());
      count = static_cast<std::uint8_t>(n);
      std::memcpy(word, w.data(), w.size());
      std::memcpy(ids, first, n * sizeof(TokenId));
    }
  };
  Entry& entry_of(std::string_view word) {
    if (entries_.empty()) entries_.resize(kEntries);
    return entries_[hash_bytes(word) >> 32 & (kEntries - 1)];
  }

  static constexpr std::size_t kEntries = 8192;  // half a MiB; English prose has some 5000 distinct words a megabyte
  std::vector<Entry> entries_;
};

struct EncodeScratch {
  RegexScratch regex;
  WordCache words;
  Merger merger;
  std::string text;                             // the normalized text
  std::string key;                              // a word with its prefix (WordPiece)
  std::vector<std::string_view> pieces, spare;  // pre-tokenizer
  std::deque<std::string> rewritten;            // texts that the pre-tokenizer made
};

// Lends scratches, one a running encode(); there are never more than calls ran at once. Thread-safe.
class ScratchPool {
 public:
  class Loan {
   public:
    explicit Loan(ScratchPool& pool) : pool_(pool), scratch_(pool.take()) {}
    ~Loan() { pool_.give(std::move(scratch_)); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    EncodeScratch& operator*() { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<EncodeScratch> scratch_;
  };

 private:
  std::unique_ptr<EncodeScratch> take();
  void give(std::unique_ptr<EncodeScratch> scratch) noexcept;

  std::mutex mutex_;
  std::vector<std::unique_ptr<EncodeScratch>> free_;
};

}  // namespace nacelle
