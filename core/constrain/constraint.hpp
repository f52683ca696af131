// Constrained decoding, as the engine and the API see it: a vocabulary prepared once a model, grammars compiled once
// and cached, and a matcher a sequence that says which tokens may come next.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace nacelle::constrain {

class Machine;     // core/constrain/machine.hpp
struct TokenTrie;  // core/constrain/vocabulary.hpp
struct CachedGrammars;

// The tokens of a model as bytes. Immutable: any thread.
class Vocabulary {
 public:
  struct Token {
    TokenId id;
    std::string_view bytes;  // never empty
  };
  using Encode = std::function<std::vector<TokenId>(std::string_view)>;

  // `width` is the length of the model's output row, at least the tokenizer's own size. Special tokens are allowed only
  // where a composition asks for them, and those that end an answer, `stop_ids`, at its end. Takes some 0.1 s for 128k
  // tokens. The tokenizer must outlive it.
  static std::shared_ptr<const Vocabulary> make(const Tokenizer& tokenizer, std::size_t width);
  // For tests: any tokens. Without `encode`, forced text becomes the longest tokens that fit.
  static std::shared_ptr<const Vocabulary> make(std::span<const Token> tokens, std::vector<TokenId> stop_ids,
                                                std::size_t width, Encode encode = {});
  ~Vocabulary();

  std::size_t width() const noexcept { return width_; }
  std::size_t words() const noexcept { return (width_ + 31) / 32; }  // of a mask
  const std::vector<TokenId>& stop_ids() const noexcept { return stop_ids_; }
  std::string_view bytes(TokenId id) const noexcept;  // "" for tokens that are never allowed
  const TokenTrie& trie() const noexcept { return *trie_; }
  // Tokens that spell exactly `text`, as the tokenizer would write it; empty where it cannot.
  std::vector<TokenId> encode(std::string_view text) const;

 private:
  Vocabulary() = default;
  std::size_t width_ = 0;
  std::vector<TokenId> stop_ids_;
  std::vector<std::string> bytes_;  // by id
  std::unique_ptr<TokenTrie> trie_;
  Encode encode_;
};

// What a request asks for. `param` is the request's field, for errors.
struct ConstraintSpec {
  // kComposition: core/constrain/composition.hpp
  enum class Kind : std::uint8_t { kJsonObject, kJsonSchema, kRegex, kGbnf, kChoice, kComposition };
  Kind kind = Kind::kJsonObject;
  std::string text;                  // the schema or composition as JSON, the regex or the grammar
  std::vector<std::string> choices;  // kChoice
  std::string param;
};

// What a compilation may take of its thread's CPU time.
inline constexpr std::chrono::milliseconds kCompileTime{2000};

// It took longer than it was given.
class CompileTimeout : public Error {
 public:
  using Error::Error;
};

// A compiled constraint. Any thread; what matchers learn of it (states, masks) is shared by all of them.
class Grammar {
 public:
  // Throws Error, kInvalidArgument or kUnsupported, whose param is that of the spec: what is wrong where, or which
  // keyword cannot be enforced.
  static std::shared_ptr<const Grammar> compile(const ConstraintSpec& spec,
                                                std::shared_ptr<const Vocabulary> vocabulary,
                                                std::chrono::milliseconds time = kCompileTime);
  ~Grammar();

  const Vocabulary& vocabulary() const noexcept { return *vocabulary_; }
  bool is_composition() const noexcept;       // what it begins with may be free text
  std::size_t positions() const noexcept;     // size of the compiled form
  std::size_t memory_bytes() const noexcept;  // with what was learnt so far

 private:
  friend class Matcher;
  Grammar() = default;
  std::shared_ptr<Machine> machine() const;  // the present one: a machine that grew too large is replaced
  struct State;
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::unique_ptr<State> state_;
};

// Compiled grammars by content, the least recently used given up where there are more than `capacity` of them, or where
// together they are large. Any thread.
class GrammarCache {
 public:
  explicit GrammarCache(std::shared_ptr<const Vocabulary> vocabulary, std::size_t capacity = 64);
  ~GrammarCache();
  // Throws as Grammar::compile(). With a time below kCompileTime a CompileTimeout says no more than that.
  std::shared_ptr<const Grammar> get(const ConstraintSpec& spec, std::chrono::milliseconds time = kCompileTime);
  struct Counts {
    std::uint64_t hits = 0, compiled = 0;
  };
  Counts counts() const;

 private:
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::unique_ptr<CachedGrammars> cached_;
};

// One sequence's place in a grammar. One thread at a time. No function throws but std::bad_alloc.
//
// Work is counted in steps, under an allowance of 20 ns at least, so that it is one of time.
// What a token costs is bounded, and what the caller's present allowance is: a call that takes more changes nothing,
// answers false (forced(): nothing), and either over() is true, then it gets further when it is made again with a new
// allowance, or error() says that the grammar is too ambiguous to go on.
class Matcher {
 public:
  explicit Matcher(std::shared_ptr<const Grammar> grammar);
  ~Matcher();
  Matcher(Matcher&&) noexcept;
  Matcher& operator=(Matcher&&) noexcept;

  // Of all calls until the next one of this. At first there is no limit.
  void allow(std::uint64_t steps) noexcept;
  bool over() const noexcept;           // of the latest call
  std::uint64_t work() const noexcept;  // of all calls

  // Writes one bit a token, set where the token may come next: [vocabulary().words()].
  [[nodiscard]] bool mask(std::span<std::uint32_t> words);
  // Where a match stands. Equal places have equal masks, whichever matchers they are of.
  struct Place {
    std::uint64_t machine = 0;  // its number; 0: none
    std::uint32_t state = 0;
    bool stopped = false;
    bool operator==(const Place&) const = default;
  };
  Place place() const noexcept;
  // The mask there. `place` is this matcher's own, taken since the latest renew().
  [[nodiscard]] bool mask(const Place& place, std::span<std::uint32_t> words);
  // Makes that call a copy.
  [[nodiscard]] bool learn(const Place& place);
  // Changes to the grammar's present machine where that was replaced: a grammar's memory stays bounded only if those
  // who follow it call this, or mask(words), now and then. Not where little of the allowance is left.
  void renew();
  // What was accepted so far is not to be taken back: forgets how.
  void settle() noexcept;
  // Moves on by a token. False, and nothing changes, where the grammar does not allow it. A stop token ends the match.
  [[nodiscard]] bool accept(TokenId token);
  // Takes back the last `count` tokens, and the error that came of what was asked since. False where so many were not
  // accepted; kHistory are remembered.
  [[nodiscard]] bool rollback(std::size_t count);
  static constexpr std::size_t kHistory = 4096;

  // Tokens that must come next whatever the model says, to be appended without asking it; often none. The text of the
  // answer is not changed by it, its tokens are those that the tokenizer itself would use. They are not accepted yet.
  [[nodiscard]] std::vector<TokenId> forced();

  bool may_end() const noexcept;   // the text so far is complete
  bool finished() const noexcept;  // and nothing can be added: only a stop token is left, or one was accepted
  const std::string& error() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::constrain
