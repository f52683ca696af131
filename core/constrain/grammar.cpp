// Compiling a spec, and the cache of what was compiled.
#include "core/constrain/grammar.hpp"

#include <algorithm>
#include <list>
#include <unordered_map>

#include "core/base/error.hpp"
#include "core/base/thread_cpu.hpp"
#include "core/constrain/composition.hpp"
#include "core/constrain/gbnf.hpp"
#include "core/constrain/json_schema.hpp"
#include "core/constrain/regex.hpp"

namespace nacelle::constrain {
namespace {

constexpr std::size_t kMaxSource = 1u << 20;  // bytes of a schema or grammar
constexpr std::size_t kMaxChoices = 4096;
constexpr std::uint64_t kStepsAMillisecond = 20'000;  // of a Matcher

void check_size(std::string_view source) {
  if (source.size() > kMaxSource)
    throw Error(ErrorKind::kInvalidArgument, "it has " + std::to_string(source.size()) + " bytes, at most " +
                                                 std::to_string(kMaxSource) + " are read; make it shorter");
}

RuleId read_choice(Network& network, const std::vector<std::string>& choices) {
  if (choices.empty() || choices.size() > kMaxChoices)
    throw Error(ErrorKind::kInvalidArgument, "a choice is made of 1 to " + std::to_string(kMaxChoices) +
                                                 " strings, not of " + std::to_string(choices.size()));
  const RuleId rule = network.add_rule("choice");
  network.accept(read_any_of(network, network.start(rule), {choices.begin(), choices.end()}));
  return rule;
}

RuleId read(Network& network, const ConstraintSpec& spec, std::vector<OneOfCheck>& checks) {
  switch (spec.kind) {
    case ConstraintSpec::Kind::kJsonObject: return read_json_object(network);
    case ConstraintSpec::Kind::kJsonSchema: check_size(spec.text); return read_schema(network, spec.text, checks);
    case ConstraintSpec::Kind::kGbnf: check_size(spec.text); return read_gbnf(network, spec.text);
    case ConstraintSpec::Kind::kChoice: return read_choice(network, spec.choices);
    case ConstraintSpec::Kind::kComposition: check_size(spec.text); return read_composition(network, spec.text, checks);
    case ConstraintSpec::Kind::kRegex: break;
  }
  check_pattern_size(spec.text, network.limits());
  const RuleId rule = network.add_rule("regex");
  const RegexNode node = parse_regex(spec.text, {}, network.limits());
  network.accept(read_regex(network, network.start(rule), node));
  return rule;
}

}  // namespace

std::unique_ptr<Network> build_network(const ConstraintSpec& spec, const GrammarLimits& limits) {
  auto network = std::make_unique<Network>(limits);
  std::vector<OneOfCheck> checks;
  const RuleId rule = read(*network, spec, checks);
  // Nothing calls the first rule, so the bottom of a stack is met in it alone.
  const RuleId root = network->add_rule("start");
  network->accept(network->call(network->start(root), rule));
  if (!network->finish(root))
    throw Error(ErrorKind::kInvalidArgument, "nothing can satisfy it: there is no text that it allows");
  check_one_of(*network, checks);
  return network;
}

std::shared_ptr<const Grammar> Grammar::compile(const ConstraintSpec& spec,
                                                std::shared_ptr<const Vocabulary> vocabulary,
                                                std::chrono::milliseconds time) {
  auto grammar = std::shared_ptr<Grammar>(new Grammar);
  grammar->vocabulary_ = std::move(vocabulary);
  grammar->state_ = std::make_unique<State>();
  grammar->state_->is_composition = spec.kind == ConstraintSpec::Kind::kComposition;
  const auto begin = thread_cpu();
  try {
    grammar->state_->program = std::make_shared<Program>(build_network(spec, {.time = time}));
  } catch (const Error& error) {
    const std::string& param = error.param().empty() ? spec.param : error.param();
    // By the clock, not by the type: on its way up an error is told where it happened.
    if (thread_cpu() - begin >= time) throw CompileTimeout(error.kind(), error.what(), param);
    throw Error(error.kind(), error.what(), param);
  }
  grammar->state_->machine = std::make_shared<Machine>(grammar->state_->program, grammar->vocabulary_);
  if (grammar->state_->machine->exhausted())
    throw Error(ErrorKind::kInvalidArgument, "it is too ambiguous to follow: too much may come first; make it simpler",
                spec.param);
  return grammar;
}

Grammar::~Grammar() = default;

std::shared_ptr<Machine> Grammar::machine() const {
  std::lock_guard lock(state_->mutex);
  bool full;
  {
    std::lock_guard inner(state_->machine->mutex);
    full = state_->machine->is_full();
  }
  if (full) state_->machine = std::make_shared<Machine>(state_->program, vocabulary_);
  return state_->machine;
}

bool Grammar::is_composition() const noexcept { return state_->is_composition; }
std::size_t Grammar::positions() const noexcept { return state_->program->network->positions().size(); }
std::size_t Grammar::memory_bytes() const noexcept {
  const auto now = machine();
  std::lock_guard lock(now->mutex);
  return now->bytes();
}

// ---- The cache

struct CachedGrammars {
  struct Entry {
    std::string key;
    std::shared_ptr<const Grammar> grammar;
  };
  std::mutex mutex;
  std::size_t capacity = 0, positions = 0;
  std::list<Entry> order;                                                   // the latest first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key;  // views of the entries' keys
  GrammarCache::Counts counts;

  void add(std::string key, const std::shared_ptr<const Grammar>& grammar) {
    positions += grammar->positions();
    order.push_front({std::move(key), grammar});
    by_key.emplace(order.front().key, order.begin());
    while (order.size() > capacity || (positions > kMaxPositions && order.size() > 1)) {
      positions -= order.back().grammar->positions();
      by_key.erase(order.back().key);
      order.pop_back();
    }
  }

 private:
  // Some 150 bytes each. Schemas for real use have some hundreds, the largest that is taken 200,000.
  static constexpr std::size_t kMaxPositions = 1'000'000;
};

namespace {

// The whole content, not a hash of it: two requests never share a grammar by accident.
std::string cache_key(const ConstraintSpec& spec) {
  std::string key(1, static_cast<char>('0' + static_cast<int>(spec.kind)));
  key += spec.text;
  for (const std::string& choice : spec.choices) key += std::to_string(choice.size()) + ':' + choice;
  return key;
}

}  // namespace

GrammarCache::GrammarCache(std::shared_ptr<const Vocabulary> vocabulary, std::size_t capacity)
    : vocabulary_(std::move(vocabulary)), cached_(std::make_unique<CachedGrammars>()) {
  cached_->capacity = std::max<std::size_t>(capacity, 1);
}
GrammarCache::~GrammarCache() = default;

std::shared_ptr<const Grammar> GrammarCache::get(const ConstraintSpec& spec, std::chrono::milliseconds time) {
  CachedGrammars& c = *cached_;
  std::string key = cache_key(spec);
  {
    std::lock_guard lock(c.mutex);
    if (const auto found = c.by_key.find(key); found != c.by_key.end()) {
      c.order.splice(c.order.begin(), c.order, found->second);
      ++c.counts.hits;
      return found->second->grammar;
    }
  }
  // Outside the lock: two requests may compile the same at once, and the first to finish wins.
  auto grammar = Grammar::compile(spec, vocabulary_, time);
  Matcher first(grammar);  // every answer begins with this mask: it is learnt here, not on an engine's thread
  first.allow(static_cast<std::uint64_t>(time.count()) * kStepsAMillisecond);
  if (!first.learn(first.place())) {
    if (first.over()) throw CompileTimeout(ErrorKind::kInvalidArgument, too_slow(time), spec.param);
    throw Error(ErrorKind::kInvalidArgument, first.error(), spec.param);
  }
  std::lock_guard lock(c.mutex);
  ++c.counts.compiled;
  if (const auto found = c.by_key.find(key); found != c.by_key.end()) return found->second->grammar;
  c.add(std::move(key), grammar);
  return grammar;
}

GrammarCache::Counts GrammarCache::counts() const {
  std::lock_guard lock(cached_->mutex);
  return cached_->counts;
}

}  // namespace nacelle::constrain
