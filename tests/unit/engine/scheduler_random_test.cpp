// Many random requests through pools that hold hardly more than one of them, against a model of the KV cache that knows
// what each slot and each state must hold: nothing is lost, nothing hangs, and no row ever reads what is not its own
// prefix.
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>

#include "core/engine/scheduler.hpp"
#include "tests/unit/engine/fake_row.hpp"

using namespace nacelle;

namespace {

constexpr std::uint32_t kTokens = 4, kContext = 40;

std::uint64_t mix(std::uint64_t value, std::uint64_t with) {
  value = (value ^ (with + 1)) * 0x9e3779b97f4a7c15u;
  return value ^ (value >> 29);
}

// What the cache holds for the last of `tokens`: it depends on all of them.
std::uint64_t state_after(std::span<const TokenId> tokens) {
  std::uint64_t state = 17;
  for (const TokenId token : tokens) state = mix(state, static_cast<std::uint64_t>(token));
  return state;
}

TokenId answer_to(std::span<const TokenId> tokens) { return static_cast<TokenId>(state_after(tokens) % 3); }

// The logits behind `tokens`.
test::FakeRow row_after(std::span<const TokenId> tokens) {
  std::vector<float> logits;
  for (std::uint64_t id = 0; id < 8; ++id)
    logits.push_back(static_cast<float>(mix(state_after(tokens), id) % 100) / 10);
  return test::FakeRow(std::move(logits), 2);
}

struct World {
  World(unsigned seed, bool sharing, bool has_states)
      : random(seed), limits{1 + below(5), 5 + below(12), below(8)}, scheduler(limits, blocks) {
    blocks.block_tokens = kTokens;
    blocks.windows = {0, 6};
    blocks.sharing = sharing;
    const std::uint32_t count = kContext / kTokens + below(12);
    for (std::size_t group = 0; group < 2; ++group) {
      blocks.pools.emplace_back(count);
      memory[group].resize(count * kTokens);
    }
    if (!has_states) return;
    blocks.states.emplace(1 + below(2 * limits.max_sequences));  // fewer than may run, or more
    blocks.pool_of_group = {0, 1, KvBlocks::kStates};
    states.resize(blocks.states->total(), 1);
  }

  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random() % limit); }

  void submit() {
    GenerationRequest request;
    // One of three beginnings, of a random length, and a tail of two letters: many prefixes are shared, few are equal.
    const std::uint32_t beginning = below(3), length = below(20);
    for (std::uint32_t i = 0; i < length; ++i) request.prompt.push_back(static_cast<TokenId>(i * beginning % 5));
    for (std::uint32_t i = 1 + below(8); i > 0; --i) request.prompt.push_back(static_cast<TokenId>(below(2)));
    request.client = std::string(1, static_cast<char>('a' + below(3)));
    request.priority = below(6) == 0 ? -1 : 0;
    request.cache_salt = below(4) == 0 ? "salt" : "";
    if (below(3) == 0) request.prompt_logprobs = 1;
    request.prompt_only = request.prompt_logprobs && below(2) == 0;
    const std::uint32_t answer = request.prompt_only ? 0 : 1 + below(12);
    const auto limit = static_cast<std::uint32_t>(request.prompt.size()) + answer;
    scheduler.add(std::make_unique<Sequence>(
        next_id, request, [](GenerationEvent&&) {}, blocks, nullptr, 0, limit));
    expected[next_id++] = std::move(request.prompt);
  }

  void cancel_one() {
    if (expected.empty()) return;
    const RequestId id = std::next(expected.begin(), below(static_cast<std::uint32_t>(expected.size())))->first;
    REQUIRE(scheduler.remove(id) != nullptr);
    expected.erase(id);
  }

  std::uint64_t& slot(const Sequence& sequence, std::size_t group, std::uint32_t position) {
    return memory[group][sequence.blocks.table(group)[position / kTokens] * kTokens + position % kTokens];
  }

  void make_copies() {
    for (std::size_t group = 0; group < blocks.copies.size(); ++group)
      for (const nacelle_block_copy& copy : blocks.copies[group])
        std::copy_n(memory[group].begin() + copy.from * kTokens, kTokens, memory[group].begin() + copy.to * kTokens);
    for (const nacelle_block_copy& copy : blocks.state_copies) states[copy.to] = states[copy.from];
    kept += blocks.state_copies.size();
    blocks.forget_copies();
  }

  // A sequence's state is that of all its tokens before, and nobody else's.
  void follow_state(const Chunk& chunk) {
    if (!blocks.states) return;
    const auto table = chunk.sequence->blocks.table(2);
    REQUIRE(table.size() == 1);
    scheduler.each([&](const Sequence& other) {
      const auto others = other.blocks.table(2);
      REQUIRE((&other == chunk.sequence || others.empty() || others[0] != table[0]));
    });
    const std::vector<TokenId> text = text_of(chunk);
    if (chunk.begin > 0) REQUIRE(states[table[0]] == state_after(std::span(text).first(chunk.begin)));
    states[table[0]] = state_after(text);
  }

  // Guesses, of which about half are right.
  void guess() {
    std::vector<Sequence*> decoding;
    scheduler.list_decoding(decoding);
    for (Sequence* sequence : decoding) {
      sequence->guess.clear();
      std::vector<TokenId> tokens = sequence->tokens;
      for (std::uint32_t i = below(6); i > 0; --i) {
        tokens.push_back(below(4) == 0 ? 7 : answer_to(tokens));
        sequence->guess.push_back(tokens.back());
      }
    }
  }

  // The tokens whose rows a chunk computes, and all before them.
  static std::vector<TokenId> text_of(const Chunk& chunk) {
    std::vector<TokenId> tokens = chunk.sequence->tokens;
    tokens.resize(chunk.begin + chunk.count);
    for (std::uint32_t row = chunk.count; row < chunk.rows(); ++row) tokens.push_back(chunk.token(row));
    return tokens;
  }

  // Nobody else may see a block that a chunk writes.
  void check_writes(const Chunk& chunk) {
    for (std::size_t group = 0; group < 2; ++group) {
      std::set<std::uint32_t> written;
      for (std::uint32_t at = chunk.begin; at < chunk.begin + chunk.rows(); ++at)
        written.insert(chunk.sequence->blocks.table(group)[at / kTokens]);
      scheduler.each([&](const Sequence& other) {
        if (&other == chunk.sequence) return;
        const auto table = other.blocks.table(group);
        for (std::size_t i = blocks.first_seen(group, other.computed); i < table.size(); ++i)
          REQUIRE(written.count(table[i]) == 0);
      });
    }
  }

  void write(const Chunk& chunk) {
    const std::vector<TokenId> text = text_of(chunk);
    const std::span<const TokenId> tokens = text;
    for (std::uint32_t at = chunk.begin; at < chunk.begin + chunk.rows(); ++at)
      for (std::size_t group = 0; group < 2; ++group)
        slot(*chunk.sequence, group, at) = state_after(tokens.first(at + 1));
  }

  void check_reads(const Chunk& chunk) {
    const std::vector<TokenId> text = text_of(chunk);
    const std::span<const TokenId> tokens = text;
    const std::uint32_t last = chunk.begin + chunk.rows() - 1;
    for (std::uint32_t at = 0; at <= last; ++at)
      REQUIRE(slot(*chunk.sequence, 0, at) == state_after(tokens.first(at + 1)));
    for (std::uint32_t at = chunk.begin >= 6 ? chunk.begin - 5 : 0; at <= last; ++at)
      REQUIRE(slot(*chunk.sequence, 1, at) == state_after(tokens.first(at + 1)));
  }

  // As the engine does: tokens are chosen as long as the guess was right.
  void verify(const Chunk& chunk) {
    Sequence& sequence = *chunk.sequence;
    for (std::uint32_t accepted = 0;; ++accepted) {
      sequence.tokens.push_back(answer_to(sequence.tokens));
      const bool over = sequence.size() >= sequence.limit;
      if (!over && accepted < chunk.guesses && sequence.tokens.back() == sequence.guess[accepted]) continue;
      const bool undone = sequence.blocks.settle_guess(accepted == chunk.guesses);
      sequence.computed = undone ? chunk.begin : sequence.computed + accepted;
      right += accepted;
      return;
    }
  }

  // As the engine does. The rows of a chunk that have logits are those that are wanted, then its last and its guesses.
  void read_prompt(const Chunk& chunk) {
    Sequence& sequence = *chunk.sequence;
    const std::uint32_t next = sequence.prompt_logprobs.next();
    for (std::uint32_t i = 0; i < chunk.scores; ++i) REQUIRE(chunk.begin + chunk.output_row(i) == next + i);
    for (std::uint32_t i = chunk.scores; i < chunk.output_rows(); ++i)
      REQUIRE(chunk.output_row(i) == chunk.count - 1 + i - chunk.scores);
    for (std::uint32_t i = 0; i < chunk.scores; ++i) {
      auto row = row_after(std::span(sequence.tokens).first(next + i + 1));
      sequence.prompt_logprobs.add(row, sequence.tokens);
    }
    scored += chunk.scores;
  }

  // With the first token they are all there, and never again.
  void take_scores(Sequence& sequence) {
    const auto scores = sequence.prompt_logprobs.take();
    const bool due = sequence.request.prompt_logprobs && told.insert(sequence.id).second;
    REQUIRE(scores.size() == (due ? sequence.request.prompt.size() : 0));
    for (std::size_t i = 1; i < scores.size(); ++i) {
      auto row = row_after(std::span(sequence.tokens).first(i));
      REQUIRE(scores[i].id == sequence.tokens[i]);
      REQUIRE(scores[i].logprob == row.whole_raw()[static_cast<std::size_t>(scores[i].id)] - row.logsumexp_raw());
    }
  }

  void step() {
    guess();
    const auto& chunks = scheduler.plan();
    REQUIRE((!chunks.empty() || expected.empty()));
    std::uint32_t rows = 0, outputs = 0;
    for (const Chunk& chunk : chunks) rows += chunk.rows(), outputs += chunk.output_rows();
    REQUIRE(rows <= limits.max_rows);
    REQUIRE(outputs <= limits.max_sequences + limits.max_guesses);
    make_copies();
    for (const Chunk& chunk : chunks) check_writes(chunk);
    for (const Chunk& chunk : chunks) write(chunk);
    std::vector<RequestId> ended;
    for (const Chunk& chunk : chunks) {
      check_reads(chunk);
      follow_state(chunk);
      Sequence& sequence = *chunk.sequence;
      sequence.computed = chunk.begin + chunk.count;
      const bool answers = chunk.wants_logits();
      read_prompt(chunk);
      if (answers) take_scores(sequence);
      if (answers && !sequence.request.prompt_only) verify(chunk);
      sequence.blocks.publish(sequence.tokens, sequence.computed);
      sequence.blocks.trim(sequence.computed);
      if (answers && sequence.size() >= sequence.limit) ended.push_back(sequence.id);
    }
    for (const RequestId id : ended) check_end(*scheduler.remove(id));
  }

  void check_end(const Sequence& sequence) {
    std::vector<TokenId> tokens = expected.at(sequence.id);
    while (tokens.size() < sequence.limit) tokens.push_back(answer_to(tokens));
    REQUIRE(sequence.tokens == tokens);
    expected.erase(sequence.id);
  }

  std::mt19937 random;
  SchedulerLimits limits;
  KvBlocks blocks;
  std::vector<std::uint64_t> memory[2], states;
  Scheduler scheduler;
  std::map<RequestId, std::vector<TokenId>> expected;  // prompts of those in flight
  RequestId next_id = 1;
  std::uint64_t right = 0;  // guesses
  std::uint64_t kept = 0;   // copies of states
  std::uint64_t scored = 0;
  std::set<RequestId> told;  // that had their scores
};

}  // namespace

TEST_CASE("random requests in tiny pools: none is lost, none hangs, each reads its own prefix") {
  const bool has_states = GENERATE(false, true);
  std::uint64_t preemptions = 0, cached = 0, right = 0, scored = 0, kept = 0;
  for (unsigned seed = 0; seed < 200; ++seed) {
    INFO("seed " << seed);
    World world(seed, seed % 4 != 0, has_states);
    for (int round = 0; round < 150; ++round) {
      if (world.below(3) == 0) world.submit();
      if (world.below(25) == 0) world.cancel_one();
      world.step();
    }
    for (int round = 0; !world.expected.empty(); ++round) {
      REQUIRE(round < 20'000);
      world.step();
    }
    for (const BlockPool& pool : world.blocks.pools) REQUIRE(pool.free() == pool.total());
    if (has_states) REQUIRE(world.blocks.states->free() == world.blocks.states->total());
    preemptions += world.scheduler.preemptions();
    cached += world.scheduler.cached_tokens();
    right += world.right;
    scored += world.scored;
    kept += world.kept;
  }
  CHECK(preemptions > 500);
  CHECK(cached > 1000);
  CHECK(right > 1000);
  CHECK((!has_states || kept > 1000));
  CHECK(scored > 1000);
}
