// A text read by a loaded model, window by window, and the logits behind its tokens. It runs below the engine's loop,
// by the same step path: the text goes as the guess of a sequence, each row of which gives its logits.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/compress/scores.hpp"
#include "core/engine/model.hpp"

namespace nacelle {

struct Sequence;
struct Chunk;

// A text as a model reads it. The first token of every window is BOS where the model begins texts with one.
struct EvalText {
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
EvalText encode_windows(const Tokenizer& tokenizer, std::string_view text, std::uint32_t window, bool special,
                        std::size_t most = 0);

// Loads with no more than one sequence needs; at most so many rows of logits a step.
LoadOptions eval_load_options(std::uint32_t window);

// Alone on its model while it lives: no engine may run.
class WindowReader {
 public:
  // Throws Error(kUnsupported) for an encoder, which gives no logits.
  explicit WindowReader(Model& model);
  ~WindowReader();
  // Begins anew, and computes the first `skip` tokens (fewer than there are). Throws Error(kResource) where the KV
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
  std::uint32_t most_rows_;
  std::unique_ptr<Sequence> sequence_;
  std::span<const TokenId> window_;
  std::vector<float> row_;
  std::vector<bool> host_adjusted_;
  std::optional<std::size_t> plan_;  // that ran last
};

// Of `model`, and beside `base` where there is one. `progress`: windows done, windows in all; may be empty. Throws
// Error: kInvalidArgument (param "base") where the two have other vocabularies, kInternal for logits that are no
// numbers.
Scores evaluate(Model& model, Model* base, const EvalText& text,
                const std::function<void(std::uint64_t, std::uint64_t)>& progress = {});

}  // namespace nacelle
