// A text in windows, and a loaded model that reads them one by one. It runs below the engine's loop, by the same step
// path: where logits are asked for, the text goes as the guess of a sequence, each row of which gives its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/engine/model.hpp"

namespace nacelle {

struct StepCounts;
struct Sequence;
struct Chunk;

// A text as a model reads it. The first token of every window is BOS where the model begins texts with one.
struct TextWindows {
  std::vector<TokenId> tokens;  // whole windows
  std::uint32_t window = 0;     // tokens
  std::size_t text_tokens = 0;  // with those behind the last whole window
  std::size_t windows() const noexcept { return tokens.size() / window; }
  std::span<const TokenId> operator[](std::size_t index) const {
    return std::span(tokens).subspan(index * window, window);
  }
  // The rows of a window that are scored are [first(), window - 1): the first half is context alone.
  std::uint32_t first() const noexcept { return window / 2; }
};

// `special`: spellings of special tokens are those tokens. `most`: windows; 0: all. Throws Error(kInvalidArgument)
// where the text does not fill one window, or the window has fewer than 4 tokens.
TextWindows encode_windows(const Tokenizer& tokenizer, std::string_view text, std::uint32_t window, bool special,
                           std::size_t most = 0);

// Alone on its model while it lives: no engine may run.
class WindowReader {
 public:
  // After each step, before its rows are given up: the index of the plan that ran, and how many rows it had.
  using StepHook = std::function<void(std::size_t plan, const StepCounts& counts)>;
  // Throws Error(kUnsupported) for an encoder, which gives no logits.
  explicit WindowReader(Model& model, StepHook after_step = {});
  ~WindowReader();
  // Begins anew, and computes the first `skip` tokens. Throws Error(kResource) where the KV
  // cache is smaller than the window.
  void begin(std::span<const TokenId> window, std::uint32_t skip);
  // Computes the next `count` rows, most_rows() at most; logits(i) then is what comes behind the i-th of them.
  void advance(std::uint32_t count);
  std::uint32_t most_rows() const noexcept { return most_rows_; }
  // Valid until the next call of it.
  std::span<const float> logits(std::uint32_t row);

 private:
  void run(const Chunk& chunk);
  Model* model_;
  StepHook after_step_;
  std::uint32_t most_rows_;
  std::unique_ptr<Sequence> sequence_;
  std::span<const TokenId> window_;
  std::vector<float> row_;
  std::vector<bool> host_adjusted_;
  std::optional<std::size_t> plan_;  // that ran last
};

}  // namespace nacelle
