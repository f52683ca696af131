// A sequence's place in a grammar.
#include <algorithm>
#include <deque>

#include "core/constrain/grammar.hpp"
#include "core/tokenizer/unicode.hpp"

namespace nacelle::constrain {
namespace {

constexpr std::uint64_t kRenewal = 10'000;  // steps: what it may take to find a state again in a new machine
constexpr std::size_t kMostForced = 1024;   // bytes at once; longer texts come in parts

// `text` without a code point that is not finished.
std::string_view whole_characters(std::string_view text) {
  std::string valid;
  return text.substr(0, text.size() - unicode::append_valid(valid, text));
}

}  // namespace

struct Matcher::State {
  std::shared_ptr<const Grammar> grammar;
  std::shared_ptr<Machine> machine;
  std::deque<Config> history;  // before each of the last tokens
  Config config = kDead;
  bool stopped = false;  // a stop token was accepted
  std::string error;

  static constexpr std::uint64_t kUnlimited = ~std::uint64_t{0};
  std::uint64_t allowance = kUnlimited, work = 0, of_token = 0;
  bool over = false;

  // Calls body() as a call's work on the machine, whose lock is held. False where it took too much.
  template <class Body>
  bool within_bounds(Machine& asked, Body&& body) {
    const std::uint64_t allowed = allowance;
    asked.begin_work(std::min(allowed, Machine::kMaxWork - std::min(Machine::kMaxWork, of_token)),
                     allowed < kUnlimited);
    body();
    const std::uint64_t steps = asked.work();
    count(steps);
    of_token += steps;
    over = asked.exhausted() && steps >= allowed && of_token < Machine::kMaxWork;
    if (asked.exhausted() && !over)
      error = "the grammar is too ambiguous to follow: one token took too many steps; make it simpler";
    return !asked.exhausted();
  }
  void count(std::uint64_t steps) {
    work += steps;
    if (allowance != kUnlimited) allowance -= std::min(allowance, steps);
  }
  // Moves to the grammar's present machine, where that was replaced.
  void follow(std::shared_ptr<Machine> present) {
    if (present == machine) return;
    const std::shared_ptr<Machine> before = machine;  // perhaps its last holder, and its lock is held to the end
    std::scoped_lock both(before->mutex, present->mutex);
    Machine::Imported done;
    present->begin_work(Machine::kMaxWork);
    config = present->import(*before, config, done);
    for (Config& old : history) old = present->import(*before, old, done);
    present->note_imported();
    count(present->work());
    machine = std::move(present);
  }
  std::vector<TokenId> find_forced();
  bool is_stop(TokenId token) const {
    const auto& stops = grammar->vocabulary().stop_ids();
    return std::find(stops.begin(), stops.end(), token) != stops.end();
  }
};

std::vector<TokenId> Matcher::State::find_forced() {
  std::string run;
  Config at_end = config;
  for (int byte; run.size() < kMostForced && (byte = machine->only_byte(at_end)) >= 0;) {
    at_end = machine->step(at_end, static_cast<std::uint8_t>(byte));
    if (at_end == kDead) break;
    run += static_cast<char>(byte);
  }
  const std::string_view text = whole_characters(run);
  if (text.empty()) return {};
  std::vector<TokenId> tokens = grammar->vocabulary().encode(text);
  // The model may prefer a token that starts inside the forced text and goes on behind it: there it is asked.
  std::size_t at = 0;
  Config here = config;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (machine->has_longer_token(here, std::string_view(run).substr(at))) {
      tokens.resize(i);
      break;
    }
    const std::string_view bytes = grammar->vocabulary().bytes(tokens[i]);
    here = machine->run(here, bytes);
    at += bytes.size();
  }
  return tokens;
}

Matcher::Matcher(std::shared_ptr<const Grammar> grammar) : state_(std::make_unique<State>()) {
  state_->machine = grammar->machine();
  state_->grammar = std::move(grammar);
  state_->config = state_->machine->start();
}
Matcher::~Matcher() = default;
Matcher::Matcher(Matcher&&) noexcept = default;
Matcher& Matcher::operator=(Matcher&&) noexcept = default;

void Matcher::allow(std::uint64_t steps) noexcept { state_->allowance = steps; }
bool Matcher::over() const noexcept { return state_->over; }
std::uint64_t Matcher::work() const noexcept { return state_->work; }

void Matcher::renew() {
  if (state_->allowance > kRenewal) state_->follow(state_->grammar->machine());
}

void Matcher::settle() noexcept { state_->history.clear(); }

Matcher::Place Matcher::place() const noexcept { return {state_->machine->number(), state_->config, state_->stopped}; }

bool Matcher::mask(std::span<std::uint32_t> words) {
  renew();
  return mask(place(), words);
}

bool Matcher::mask(const Place& place, std::span<std::uint32_t> words) {
  State& s = *state_;
  if (place.machine != s.machine->number()) return false;
  const Config state = place.stopped ? kDead : place.state;
  std::lock_guard lock(s.machine->mutex);
  if (!s.within_bounds(*s.machine, [&] { s.machine->write_mask(state, words); })) return false;
  if (place.stopped || s.machine->accepts(state))
    for (const TokenId id : s.grammar->vocabulary().stop_ids())
      words[static_cast<std::size_t>(id) / 32] |= 1u << (id % 32);
  return true;
}

bool Matcher::learn(const Place& place) {
  State& s = *state_;
  if (place.machine != s.machine->number()) return false;
  std::lock_guard lock(s.machine->mutex);
  return s.within_bounds(*s.machine, [&] { s.machine->learn_mask(place.stopped ? kDead : place.state); });
}

bool Matcher::accept(TokenId token) {
  State& s = *state_;
  s.over = false;
  if (s.stopped) return false;
  std::lock_guard lock(s.machine->mutex);
  Config next = s.config;
  if (s.is_stop(token)) {
    if (!s.machine->accepts(s.config)) return false;
    s.stopped = true;
  } else {
    const std::string_view bytes = s.grammar->vocabulary().bytes(token);
    if (bytes.empty()) return false;
    if (!s.within_bounds(*s.machine, [&] { next = s.machine->run(s.config, bytes); }) || next == kDead) return false;
  }
  s.history.push_back(s.config);
  if (s.history.size() > kHistory) s.history.pop_front();
  s.config = next;
  s.of_token = 0;
  return true;
}

bool Matcher::rollback(std::size_t count) {
  State& s = *state_;
  if (count > s.history.size()) return false;
  s.error.clear();
  if (count == 0) return true;
  s.config = s.history[s.history.size() - count];
  s.history.resize(s.history.size() - count);
  s.stopped = false;
  return true;
}

std::vector<TokenId> Matcher::forced() {
  State& s = *state_;
  s.over = false;
  std::vector<TokenId> tokens;
  if (s.stopped) return tokens;
  std::lock_guard lock(s.machine->mutex);
  if (!s.within_bounds(*s.machine, [&] { tokens = s.find_forced(); })) tokens.clear();
  return tokens;
}

bool Matcher::may_end() const noexcept {
  std::lock_guard lock(state_->machine->mutex);
  return !state_->stopped && state_->machine->accepts(state_->config);
}

bool Matcher::finished() const noexcept {
  std::lock_guard lock(state_->machine->mutex);
  return state_->stopped || (state_->machine->accepts(state_->config) && state_->machine->is_final(state_->config));
}

const std::string& Matcher::error() const noexcept { return state_->error; }

}  // namespace nacelle::constrain
