#include "core/compress/eval.hpp"

#include <algorithm>
#include <string>

#include "core/base/error.hpp"
#include "core/engine/placed_model.hpp"

namespace nacelle {
namespace {

// Rows of logits a step: enough for matrix products at full speed. Each takes memory in every plan, at a vocabulary of
// 151,936 some 2.4 MB.
constexpr std::uint32_t kLogitRows = 32;

void check_vocabularies(Model& model, Model* base, const TextWindows& text) {
  const auto largest = static_cast<std::uint32_t>(*std::max_element(text.tokens.begin(), text.tokens.end()));
  if (largest >= model.device().vocabulary())
    throw Error(ErrorKind::kCorrupt, model.name() + ": its tokenizer makes the token " + std::to_string(largest) +
                                         ", its head has " + std::to_string(model.device().vocabulary()));
  if (!base || base->device().vocabulary() == model.device().vocabulary()) return;
  throw Error(ErrorKind::kInvalidArgument,
              "--base " + base->name() + " has " + std::to_string(base->device().vocabulary()) + " tokens and " +
                  model.name() + " has " + std::to_string(model.device().vocabulary()) +
                  "; expected the same model before it was quantised",
              "base");
}

}  // namespace

LoadOptions eval_load_options(std::uint32_t window) {
  LoadOptions options;
  options.context = options.cache_tokens = window;
  options.max_sequences = kLogitRows > kMaxGuesses ? kLogitRows - kMaxGuesses : 1;
  options.max_batch_tokens = std::max(kLogitRows, std::min(window, options.max_batch_tokens));
  return options;
}

Scores evaluate(Model& model, Model* base, const TextWindows& text,
                const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  check_vocabularies(model, base, text);
  WindowReader own(model);
  std::unique_ptr<WindowReader> other = base ? std::make_unique<WindowReader>(*base) : nullptr;
  const std::uint32_t rows = other ? std::min(own.most_rows(), other->most_rows()) : own.most_rows();
  Scores scores;
  for (std::size_t w = 0; w < text.windows(); ++w) {
    const std::span<const TokenId> window = text[w];
    own.begin(window, text.first());
    if (other) other->begin(window, text.first());
    for (std::uint32_t at = text.first(); at + 1 < text.window;) {
      const std::uint32_t count = std::min(rows, text.window - 1 - at);
      own.advance(count);
      if (other) other->advance(count);
      for (std::uint32_t i = 0; i < count; ++i, ++at) {
        const auto next = static_cast<std::uint32_t>(window[at + 1]);
        const bool sound = other ? scores.add(own.logits(i), other->logits(i), next) : scores.add(own.logits(i), next);
        if (!sound)
          throw Error(ErrorKind::kInternal, model.name() + (base ? " or " + base->name() : "") +
                                                ": the logits behind token " + std::to_string(w * text.window + at) +
                                                " of the text are no finite numbers");
      }
    }
    if (progress) progress(w + 1, text.windows());
  }
  return scores;
}

}  // namespace nacelle
