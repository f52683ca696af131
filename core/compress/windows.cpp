#include "core/compress/windows.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "core/base/error.hpp"
#include "core/engine/placed_model.hpp"
#include "core/engine/step.hpp"

namespace nacelle {
namespace {

GenerationRequest request_of(std::span<const TokenId> window) {
  GenerationRequest request;
  request.prompt.assign(window.begin(), window.end());
  request.sampling.temperature = 0;
  return request;
}

}  // namespace

TextWindows encode_windows(const Tokenizer& tokenizer, std::string_view text, std::uint32_t window, bool special,
                           std::size_t most) {
  constexpr std::uint32_t kLeastWindow = 4;  // the first half is context, and the last token has no next one
  if (window < kLeastWindow)
    throw Error(ErrorKind::kInvalidArgument, "--context must be at least 4 tokens, not " + std::to_string(window),
                "context");
  TextWindows result;
  result.window = window;
  const std::vector<TokenId> start = tokenizer.encode("");
  const bool begins = !start.empty() && tokenizer.bos() && start.front() == *tokenizer.bos();
  if (begins) result.tokens.push_back(*tokenizer.bos());
  const std::vector<TokenId> body = tokenizer.encode(text, {.add_special = false, .parse_special = special});
  result.tokens.insert(result.tokens.end(), body.begin(), body.end());
  result.text_tokens = result.tokens.size();
  std::size_t windows = result.tokens.size() / window;
  if (windows == 0)
    throw Error(ErrorKind::kInvalidArgument,
                "the text has " + std::to_string(result.text_tokens) + " tokens, expected at least the " +
                    std::to_string(window) + " of one window; give a longer text or a smaller --context",
                "text");
  if (most != 0) windows = std::min(windows, most);
  result.tokens.resize(windows * window);
  if (begins)
    for (std::size_t i = 0; i < windows; ++i) result.tokens[i * window] = *tokenizer.bos();
  return result;
}

WindowReader::WindowReader(Model& model, StepHook after_step)
    : model_(&model),
      after_step_(std::move(after_step)),
      most_rows_(model.is_encoder() ? 0 : model.device().last().plans().back().bucket.output_rows),
      row_(model.device().vocabulary()) {
  if (most_rows_ == 0 || row_.empty())
    throw Error(ErrorKind::kUnsupported,
                model.name() + ": it gives no probabilities of a next token; expected a model that generates text",
                "model");
}

WindowReader::~WindowReader() = default;

void WindowReader::begin(std::span<const TokenId> window, std::uint32_t skip) {
  window_ = window;
  sequence_.reset();  // gives its blocks back
  sequence_ = std::make_unique<Sequence>(
      0, request_of(window), [](GenerationEvent&&) {}, model_->device().blocks(), nullptr, 0,
      static_cast<std::uint32_t>(window.size() + 1));
  if (!sequence_->blocks.reserve(sequence_->size()))
    throw Error(
        ErrorKind::kResource,
        model_->name() + ": the KV cache does not hold a window of " + std::to_string(window.size()) + " tokens",
        "context");
  while (sequence_->computed < skip)
    run({sequence_.get(), sequence_->computed,
         std::min(skip - sequence_->computed, model_->options().max_batch_tokens)});
}

void WindowReader::advance(std::uint32_t count) {
  const std::uint32_t begin = sequence_->computed;
  const auto rest = window_.subspan(begin, count);
  sequence_->tokens.assign(window_.begin(), window_.begin() + begin + 1);
  sequence_->guess.assign(rest.begin() + 1, rest.end());
  run({sequence_.get(), begin, 1, count - 1});
}

void WindowReader::run(const Chunk& chunk) {
  PlacedModel& device = model_->device();
  if (plan_) device.advance(*plan_);  // its rows have been read
  const StepCounts counts = count_step({&chunk, 1});
  plan_ = device.plan_for(counts);
  write_step({&chunk, 1}, device, *plan_, host_adjusted_);
  device.run(*plan_, counts);
  if (after_step_) after_step_(*plan_, counts);
  sequence_->computed += chunk.rows();
  sequence_->blocks.trim(sequence_->computed);
}

std::span<const float> WindowReader::logits(std::uint32_t row) {
  PlacedModel& device = model_->device();
  device.last().read_logits(device.plan(device.size() - 1, *plan_), row, false, row_);
  return row_;
}

}  // namespace nacelle
