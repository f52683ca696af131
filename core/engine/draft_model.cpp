#include "core/engine/draft_model.hpp"

#include <algorithm>

#include "core/base/error.hpp"

namespace nacelle {
namespace {

// Guesses are token ids: they must mean the same to both.
void check_tokens(const Model& draft, const Model& target) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::kInvalidArgument,
                "the draft model " + draft.name() + " cannot guess for " + target.name() + ": " + why, "draft-model");
  };
  if (draft.device().blocks().states) refuse("it keeps a state from token to token, which a wrong guess would spoil");
  if (draft.device().vocabulary() != target.device().vocabulary())
    refuse("its vocabulary has " + std::to_string(draft.device().vocabulary()) + " tokens, not " +
           std::to_string(target.device().vocabulary()));
  if (!draft.has_tokenizer() || !target.has_tokenizer()) return;
  const std::size_t size = std::min(draft.tokenizer().vocab_size(), target.tokenizer().vocab_size());
  for (std::size_t i = 0; i < size; ++i) {
    const auto id = static_cast<TokenId>(i);
    if (draft.tokenizer().token_bytes(id) != target.tokenizer().token_bytes(id))
      refuse("token " + std::to_string(id) + " is another one in it");
  }
}

}  // namespace

DraftModel::DraftModel(std::shared_ptr<Model> model, const Model& target)
    : model_(std::move(model)), device_(model_->device()), row_(device_) {
  check_tokens(*model_, target);
  device_.blocks().sharing = device_.blocks().can_share;
}

// The shadow of `target`, with its text: what the draft model has computed of it stays, from a wrong guess on it goes.
DraftModel::Shadow& DraftModel::follow(const Sequence& target) {
  Shadow& shadow = shadows_[target.id];
  if (!shadow.sequence) {
    GenerationRequest request;  // without what only the target's own text needs
    request.prompt = target.request.prompt;
    request.sampling = target.request.sampling;
    request.cache_salt = target.request.cache_salt;
    shadow.sequence = std::make_unique<Sequence>(
        target.id, std::move(request), [](GenerationEvent&&) {}, device_.blocks(), nullptr, target.sampler.seed(),
        target.limit);
    shadow.sequence->tokens = target.tokens;
    shadow.sequence->computed = shadow.sequence->blocks.adopt(target.tokens);
    shadow.agreed = target.size();
  }
  Sequence& own = *shadow.sequence;
  const auto from = [&](auto& tokens) { return tokens.begin() + shadow.agreed; };
  const auto differs = std::mismatch(from(own.tokens), own.tokens.end(), from(target.tokens), target.tokens.end());
  own.computed = std::min(own.computed, static_cast<std::uint32_t>(differs.first - own.tokens.begin()));
  own.computed = std::min(own.computed, target.size() - 1);
  own.tokens.resize(shadow.agreed);
  own.tokens.insert(own.tokens.end(), from(target.tokens), target.tokens.end());
  shadow.agreed = target.size();
  return shadow;
}

// Blocks for all its tokens and `count` guesses. A shadow that finds none gives up what it has.
bool DraftModel::make_room(Shadow& shadow, std::uint32_t count) {
  Sequence& own = *shadow.sequence;
  if (own.size() + count <= model_->context() && own.blocks.reserve(own.size() + count)) return true;
  own.blocks.clear();
  own.computed = 0;
  return false;
}

void DraftModel::run(std::span<const Chunk> chunks) {
  device_.copy_blocks();
  const StepCounts counts = count_step(chunks);
  const std::size_t plan = device_.plan_for(counts);
  write_step(chunks, device_, plan, host_adjusted_);
  device_.run(plan, counts);
  row_.read(device_.plan(device_.size() - 1, plan));
  std::uint32_t row = 0;
  for (const Chunk& chunk : chunks) {
    Sequence& own = *chunk.sequence;
    own.computed = chunk.begin + chunk.count;
    own.blocks.trim(own.computed);
    if (own.pending() != 0) continue;
    row_.select(row, own, host_adjusted_[row]);
    ++row;
    own.tokens.push_back(own.sampler.choose(row_, own.answer_size()));
  }
  device_.advance(plan);
}

void DraftModel::guess(std::span<Sequence* const> sequences, std::uint32_t count) {
  const LoadOptions& limits = model_->options();
  std::vector<Shadow*> shadows;
  for (Sequence* target : sequences) {
    Shadow& shadow = follow(*target);
    shadow.guessing = shadows.size() < limits.max_sequences && make_room(shadow, count);
    shadows.push_back(&shadow);
  }
  for (std::uint32_t round = 0; round < count; ++round) {
    chunks_.clear();
    std::uint32_t budget = limits.max_batch_tokens;
    for (Shadow* shadow : shadows) {
      Sequence& own = *shadow->sequence;
      const std::uint32_t rows = std::min(own.pending(), budget);
      if (!shadow->guessing || rows == 0) continue;
      chunks_.push_back({&own, own.computed, rows});
      budget -= rows;
      if (rows < own.pending()) shadow->guessing = false;  // its prompt is long: more of it the next time
    }
    if (chunks_.empty()) break;
    run(chunks_);
  }
  for (Shadow* shadow : shadows)  // guesses are not for others to find
    shadow->sequence->blocks.publish(shadow->sequence->tokens, std::min(shadow->sequence->computed, shadow->agreed));
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto& tokens = shadows[i]->sequence->tokens;
    if (shadows[i]->guessing) sequences[i]->guess.assign(tokens.begin() + sequences[i]->size(), tokens.end());
  }
}

}  // namespace nacelle
