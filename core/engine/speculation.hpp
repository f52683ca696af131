// Whether guessing tokens pays: how often a sequence's guesses come true, and what a step of so many rows takes. The
// engine's thread only.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace nacelle {

// Of the latest guesses of one sequence, the share that came true.
class Acceptance {
 public:
  void note(std::uint32_t guessed, std::uint32_t accepted);
  // A guess was there and not tried: what is known gets old, so that after some hundred tokens it is tried again.
  void age();
  // That one guessed token is right, where those before it are.
  double rate() const noexcept { return (accepted_ + kPrior) / (tried_ + 2 * kPrior); }
  // How many of `count` guessed tokens will be accepted.
  double expected(std::uint32_t count) const;

 private:
  static constexpr double kPrior = 0.5;
  double tried_ = 0, accepted_ = 0;
};

// Seconds of steps that only decode, by their rows, as measured while serving.
class StepCosts {
 public:
  static constexpr std::uint32_t kMostRows = 128;
  void note(std::uint32_t rows, double seconds);
  // 0 before the first note. Rows not measured for long: from the nearest that were.
  double estimate(std::uint32_t rows) const;

 private:
  struct Cost {
    double seconds = 0;
    std::uint64_t noted = 0;  // as the how manieth; 0: never
  };
  bool is_known(std::uint32_t rows) const noexcept;
  std::array<Cost, kMostRows + 1> costs_{};
  std::uint64_t notes_ = 0;
};

// One sequence that would decode, and how many tokens could be guessed for it.
struct Guessable {
  const Acceptance* acceptance;
  std::uint32_t most;
};

struct SpeculationCosts {
  const StepCosts* steps;
  double guess_seconds = 0;        // of a draft model, for one token of every sequence
  std::uint32_t other_rows = 0;    // of prompts in the same step: then time goes by rows
  std::uint32_t most_guesses = 0;  // of all sequences together
  // Of models with a state: what keeping one takes. Where a guess was wrong the step's rows are computed anew, beside
  // the next token.
  std::optional<double> keep_seconds = std::nullopt;
};

// How many tokens to guess for each sequence, at most, so that the most tokens a second are made; 0: none.
std::uint32_t best_guess_count(std::span<const Guessable> sequences, std::uint32_t decoding,
                               const SpeculationCosts& costs);

}  // namespace nacelle
