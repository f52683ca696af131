#include "core/engine/prompt_logprobs.hpp"

namespace nacelle {
namespace {

// The place of `id` among all tokens, the likeliest first and equal ones by id, as a row's candidates are ordered.
std::uint32_t rank_of(std::span<const float> logits, std::size_t id) {
  std::uint32_t before = 0;
  for (std::size_t other = 0; other < logits.size(); ++other)
    before += logits[other] > logits[id] || (logits[other] == logits[id] && other < id);
  return before + 1;
}

}  // namespace

PromptLogprobs::PromptLogprobs(const GenerationRequest& request) {
  if (request.prompt.empty()) return;
  if (request.embed && request.mean) end_ = static_cast<std::uint32_t>(request.prompt.size() - 1);
  if (!request.prompt_logprobs || request.embed) return;
  alternatives_ = *request.prompt_logprobs;
  end_ = static_cast<std::uint32_t>(request.prompt.size() - 1);
  entries_.reserve(request.prompt.size());
  entries_.push_back({.id = request.prompt[0], .top = {}});
}

// Nothing changed the row, so its candidates are the model's own best; only a token that is not among them has the
// whole row read.
void PromptLogprobs::add(LogitsRow& row, std::span<const TokenId> tokens) {
  TokenLogprob entry{.id = tokens[++next_], .top = {}};
  const auto ids = row.ids();
  const auto raw = row.raw();
  const std::size_t count = std::min<std::size_t>(alternatives_, ids.size());
  for (std::size_t i = 0; i < count; ++i)
    entry.top.emplace_back(static_cast<TokenId>(ids[i]), raw[i] - row.logsumexp_raw());
  const auto found =
      static_cast<std::size_t>(std::find(ids.begin(), ids.end(), static_cast<std::uint32_t>(entry.id)) - ids.begin());
  if (found < ids.size()) {
    entry.rank = static_cast<std::uint32_t>(found + 1);
    entry.logprob = raw[found] - row.logsumexp_raw();
  } else {
    const auto logits = row.whole_raw();
    entry.rank = rank_of(logits, static_cast<std::size_t>(entry.id));
    entry.logprob = logits[static_cast<std::size_t>(entry.id)] - row.logsumexp_raw();
  }
  entries_.push_back(std::move(entry));
}

void PromptLogprobs::add_hidden(std::span<const float> hidden) {
  sums_.resize(hidden.size());
  for (std::size_t i = 0; i < hidden.size(); ++i) sums_[i] += hidden[i];
  ++next_;
}

std::vector<float> PromptLogprobs::mean(std::span<const float> last) {
  sums_.resize(last.size());
  std::vector<float> result;
  for (std::size_t i = 0; i < last.size(); ++i) result.push_back(static_cast<float>((sums_[i] + last[i]) / (end_ + 1)));
  return result;
}

}  // namespace nacelle
