// The sampler's stages. Probabilities are taken in double from logits relative to the row's logsumexp.
#include "core/engine/sampler.hpp"

#include <fmt/core.h>
#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "core/base/error.hpp"

namespace nacelle {

const char* to_string(FinishReason reason) noexcept {
  switch (reason) {
    case FinishReason::kNone: return "";
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kCancelled: return "cancelled";
    case FinishReason::kError: return "error";
  }
  return "";
}

namespace {

// SplitMix64 (Steele, Lea, Flood 2014) as a counter-based generator: 53 uniform bits from (seed, index).
double uniform_draw(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

// A nucleus wider than the candidates: as many times more of them the next time. A pass over the row costs more than
// sorting what it brings.
constexpr std::size_t kGrowth = 16;

// The bias of a token that must not come: below every logit, and above what a mask forbids, which is -infinity.
constexpr float kHeldBack = -1e30f;

// Sorts as the logit does, the largest first, and equal ones by id.
std::uint64_t sort_key(float logit, std::size_t id) {
  const auto bits = std::bit_cast<std::uint32_t>(logit + 0.0f);  // -0 is 0
  const std::uint32_t rising = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return std::uint64_t{~rising} << 32 | id;
}

TokenId id_of(std::uint64_t key) { return static_cast<TokenId>(key & 0xffffffffu); }

// Sort keys of the `count` largest entries, largest first, equal ones by smaller id; what is -infinity, as most of a
// masked row, is left out. Returns how many entries there were to choose from. `keys` keeps its memory: a row's worth
// of fresh pages costs more than the search.
std::size_t largest(std::span<const float> logits, std::size_t count, std::vector<std::uint64_t>& keys) {
  keys.clear();
  keys.reserve(logits.size());
  for (std::size_t id = 0; id < logits.size(); ++id)
    if (logits[id] != -std::numeric_limits<float>::infinity()) keys.push_back(sort_key(logits[id], id));
  const std::size_t possible = keys.size();
  if (count < possible) {
    std::nth_element(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(count), keys.end());
    keys.resize(count);
  }
  std::sort(keys.begin(), keys.end());
  return possible;
}

void check_range(const char* name, double value, double low, double high) {
  if (!(value >= low && value <= high))
    throw Error(ErrorKind::kInvalidArgument,
                fmt::format("{} is {:g}; it must lie between {:g} and {:g}", name, value, low, high), name);
}

}  // namespace

void check_sampling(const SamplingParams& params, std::size_t vocabulary) {
  check_range("temperature", params.temperature, 0, 100);
  check_range("top_p", params.top_p, 0, 1);
  check_range("min_p", params.min_p, 0, 1);
  check_range("typical_p", params.typical_p, 0, 1);
  check_range("repetition_penalty", params.repetition_penalty, 0.01, 100);
  check_range("frequency_penalty", params.frequency_penalty, -2, 2);
  check_range("presence_penalty", params.presence_penalty, -2, 2);
  for (const auto& [token, bias] : params.logit_bias) {
    if (token < 0 || static_cast<std::size_t>(token) >= vocabulary)
      throw Error(ErrorKind::kInvalidArgument,
                  "logit_bias names token " + std::to_string(token) + "; the vocabulary has ids 0 to " +
                      std::to_string(vocabulary - 1),
                  "logit_bias");
    check_range("logit_bias", bias, -100, 100);
  }
}

// Not std::random_device: to make one asks the CPU what it is, which under a hypervisor costs more than a whole step of
// the demo model.
std::uint64_t random_seed() noexcept {
  std::uint64_t seed = 0;
  [[maybe_unused]] const auto bytes =
      ::getrandom(&seed, sizeof seed, 0);  // so few bytes come whole, or the kernel has none
  return seed;
}

// ---- Adjustments

Adjustments::Adjustments(const SamplingParams& params)
    : repetition_(params.repetition_penalty),
      frequency_(params.frequency_penalty),
      presence_(params.presence_penalty),
      window_(params.penalty_window) {
  if (repetition_ == 1.0f && frequency_ == 0.0f && presence_ == 0.0f) window_ = 0;  // nothing to look back for
  for (const auto& [token, bias] : params.logit_bias) entry(token).bias += bias;
  if (window_ == 0) return;
  for (const nacelle_adjustment& change : entries_) bias_[static_cast<TokenId>(change.token)] = change.bias;
}

nacelle_adjustment& Adjustments::entry(TokenId token) {
  const auto [place, added] = places_.try_emplace(token, static_cast<std::uint32_t>(entries_.size()));
  if (added) entries_.push_back({static_cast<std::uint32_t>(token), 1.0f, 0.0f});
  return entries_[place->second];
}

void Adjustments::add_prompt(std::span<const TokenId> tokens) {
  if (window_ != 0) {
    for (const TokenId token : tokens.last(std::min<std::size_t>(tokens.size(), window_))) remember({token, false});
    return;
  }
  if (repetition_ == 1.0f) return;
  for (const TokenId token : tokens) entry(token).repetition = repetition_;
}

void Adjustments::hold_back(std::span<const TokenId> ends, std::uint32_t answer_tokens) {
  held_for_ = answer_tokens;
  if (answer_tokens == 0) return;
  for (const TokenId end : ends) {
    float& bias = entry(end).bias;
    if (bias == kHeldBack) continue;  // named twice
    held_.emplace_back(end, std::exchange(bias, kHeldBack));
    if (window_ != 0) bias_[end] = kHeldBack;
  }
}

void Adjustments::let_go() {
  for (const auto& [end, bias] : held_) {
    if (window_ != 0) {
      bias_[end] = bias;
      if (bias == 0.0f) bias_.erase(end);
      renew(end);
    } else if (nacelle_adjustment& change = entry(end); bias != 0.0f || change.repetition != 1.0f) {
      change.bias = bias;
    } else {
      drop(end);
    }
  }
  held_.clear();
}

void Adjustments::add_answer(TokenId token) {
  if (held_for_ > 0 && --held_for_ == 0) let_go();
  if (window_ != 0) return remember({token, true});
  if (repetition_ != 1.0f) entry(token).repetition = repetition_;
  if (frequency_ == 0.0f && presence_ == 0.0f) return;
  const bool first = answered_[token]++ == 0;
  entry(token).bias -= frequency_ + (first ? presence_ : 0.0f);
}

// Takes a token into the window, and the oldest out of it.
void Adjustments::remember(Past past) {
  past_.push_back(past);
  ++seen_[past.token];
  answered_[past.token] += past.answer;
  renew(past.token);
  if (past_.size() <= window_) return;
  const Past oldest = past_.front();
  past_.pop_front();
  if (--seen_[oldest.token] == 0) seen_.erase(oldest.token);
  answered_[oldest.token] -= oldest.answer;
  renew(oldest.token);
}

// Its entry, from what the window has of it; none where that changes nothing, as the device has room for few.
void Adjustments::renew(TokenId token) {
  const bool repeated = repetition_ != 1.0f && seen_.count(token) > 0;
  const std::uint32_t answered = answered_[token];
  if (answered == 0) answered_.erase(token);
  const auto given = bias_.find(token);
  if (repeated || answered > 0 || given != bias_.end()) {
    const float bias = given == bias_.end() ? 0.0f : given->second;
    const float penalty = frequency_ * static_cast<float>(answered) + (answered > 0 ? presence_ : 0.0f);
    entry(token) = {static_cast<std::uint32_t>(token), repeated ? repetition_ : 1.0f, bias - penalty};
    return;
  }
  drop(token);
}

void Adjustments::drop(TokenId token) {
  const auto found = places_.find(token);
  if (found == places_.end()) return;
  const std::uint32_t place = found->second;
  entries_[place] = entries_.back();
  places_[static_cast<TokenId>(entries_[place].token)] = place;
  entries_.pop_back();
  places_.erase(token);
}

void apply_adjustments(std::span<float> logits, std::span<const nacelle_adjustment> changes, float temperature) {
  for (const nacelle_adjustment& change : changes) {
    float& logit = logits[change.token];
    logit = (logit > 0 ? logit / change.repetition : logit * change.repetition) + change.bias;
  }
  if (temperature != 0.0f && temperature != 1.0f)
    for (float& logit : logits) logit /= temperature;
}

void apply_mask(std::span<float> logits, std::span<const std::uint32_t> mask) {
  for (std::size_t id = 0; id < logits.size(); ++id)
    if (!(mask[id / 32] >> (id % 32) & 1)) logits[id] = -std::numeric_limits<float>::infinity();
}

// ---- Stages

TokenId Sampler::choose(LogitsRow& row, std::uint64_t index) {
  const auto ids = row.ids();
  if (params_.temperature == 0.0f || params_.top_k == 1) return static_cast<TokenId>(ids[0]);
  candidates_.clear();
  for (std::size_t i = 0; i < ids.size(); ++i) candidates_.push_back({static_cast<TokenId>(ids[i]), row.adjusted()[i]});
  complete_ = false;
  drop_impossible();
  logsumexp_ = row.logsumexp_adjusted();
  keep_top_k(row);
  keep_typical(row);
  keep_top_p(row);
  keep_min_p(row);
  return draw(row, uniform_draw(seed_, index));
}

// Replaces the candidates by the `count` best of the whole row.
void Sampler::extend(LogitsRow& row, std::size_t count) {
  const auto logits = row.whole_adjusted();
  complete_ = largest(logits, count, row.keys) <= count;
  candidates_.clear();
  for (const std::uint64_t key : row.keys) candidates_.push_back({id_of(key), logits[key & 0xffffffffu]});
}

// Tokens that a mask forbids: behind the first of them there are no others.
void Sampler::drop_impossible() {
  while (candidates_.size() > 1 && std::isinf(candidates_.back().logit)) {
    candidates_.pop_back();
    complete_ = true;
  }
}

// The candidates' share of the distribution that is left: 1 when they are all of it.
double Sampler::mass() const {
  double sum = 0;
  for (const Candidate& candidate : candidates_) sum += std::exp(static_cast<double>(candidate.logit) - logsumexp_);
  return sum;
}

void Sampler::keep_top_k(LogitsRow& row) {
  if (params_.top_k == 0) return;
  if (params_.top_k > candidates_.size()) extend(row, params_.top_k);
  if (candidates_.size() > params_.top_k) candidates_.resize(params_.top_k);
  complete_ = true;
  logsumexp_ += static_cast<float>(std::log(mass()));
}

// Locally typical sampling (Meister et al. 2022): the tokens whose surprise is nearest to the entropy. It needs every
// token.
void Sampler::keep_typical(LogitsRow& row) {
  if (params_.typical_p >= 1.0f) return;
  if (!complete_) extend(row, row.whole_adjusted().size());
  double entropy = 0;
  for (const Candidate& candidate : candidates_) {
    const double log_p = static_cast<double>(candidate.logit) - logsumexp_;
    if (std::isfinite(log_p)) entropy -= std::exp(log_p) * log_p;
  }
  const auto distance = [&](const Candidate& candidate) {
    return std::abs(logsumexp_ - static_cast<double>(candidate.logit) - entropy);
  };
  std::stable_sort(candidates_.begin(), candidates_.end(),
                   [&](const Candidate& a, const Candidate& b) { return distance(a) < distance(b); });
  double sum = 0;
  std::size_t kept = 0;
  while (kept < candidates_.size() && sum < params_.typical_p)
    sum += std::exp(static_cast<double>(candidates_[kept++].logit) - logsumexp_);
  candidates_.resize(std::max<std::size_t>(kept, 1));
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  });
  logsumexp_ += static_cast<float>(std::log(mass()));
}

void Sampler::keep_top_p(LogitsRow& row) {
  if (params_.top_p >= 1.0f) return;
  for (;;) {
    double sum = 0;
    std::size_t kept = 0;
    while (kept < candidates_.size() && (kept == 0 || sum < params_.top_p))
      sum += std::exp(static_cast<double>(candidates_[kept++].logit) - logsumexp_);
    if (sum >= params_.top_p || complete_) {
      candidates_.resize(kept);
      break;
    }
    extend(row, candidates_.size() * kGrowth);  // the nucleus is wider than the candidates
  }
  complete_ = true;
  logsumexp_ += static_cast<float>(std::log(mass()));
}

void Sampler::keep_min_p(LogitsRow& row) {
  if (params_.min_p <= 0.0f) return;
  const float threshold = candidates_[0].logit + std::log(params_.min_p);
  while (!complete_ && candidates_.back().logit >= threshold) extend(row, candidates_.size() * kGrowth);
  const auto below = [&](const Candidate& candidate) { return candidate.logit < threshold; };
  candidates_.erase(std::find_if(candidates_.begin() + 1, candidates_.end(), below), candidates_.end());
  complete_ = true;
  logsumexp_ += static_cast<float>(std::log(mass()));
}

// Walks the candidates, then, where they are not all of the distribution, the other tokens by id: any fixed order draws
// from the same distribution.
TokenId Sampler::draw(LogitsRow& row, double uniform) {
  double left = uniform * (complete_ ? mass() : 1.0);
  for (const Candidate& candidate : candidates_) {
    left -= std::exp(static_cast<double>(candidate.logit) - logsumexp_);
    if (left < 0) return candidate.id;
  }
  if (complete_) return candidates_.back().id;  // rounding
  const auto logits = row.whole_adjusted();
  std::vector<bool> seen(logits.size());
  for (const Candidate& candidate : candidates_) seen[static_cast<std::size_t>(candidate.id)] = true;
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if (seen[id]) continue;
    left -= std::exp(static_cast<double>(logits[id]) - logsumexp_);
    if (left < 0) return static_cast<TokenId>(id);
  }
  return candidates_[0].id;
}

TokenLogprob Sampler::logprob(LogitsRow& row, TokenId chosen, std::uint32_t alternatives, bool row_is_adjusted) {
  TokenLogprob result{chosen, 0, {}};
  const auto ids = row.ids();
  const auto in_candidates = std::find(ids.begin(), ids.end(), static_cast<std::uint32_t>(chosen));
  // Candidates are ordered by adjusted logits: with adjustments the best of the model's own may be elsewhere.
  if (!row_is_adjusted && in_candidates != ids.end() && alternatives <= ids.size()) {
    const auto at = [&](std::size_t i) { return row.raw()[i] - row.logsumexp_raw(); };
    result.logprob = at(static_cast<std::size_t>(in_candidates - ids.begin()));
    for (std::size_t i = 0; i < alternatives; ++i) result.top.emplace_back(static_cast<TokenId>(ids[i]), at(i));
    return result;
  }
  const auto logits = row.whole_raw();
  const auto at = [&](TokenId id) { return logits[static_cast<std::size_t>(id)] - row.logsumexp_raw(); };
  result.logprob = at(chosen);
  largest(logits, alternatives, row.keys);
  for (const std::uint64_t key : row.keys) result.top.emplace_back(id_of(key), at(id_of(key)));
  return result;
}

}  // namespace nacelle
