// A sequence's place in a grammar.
#include <algorithm>
#include <deque>

#include "core/constrain/grammar.hpp"
#include "core/tokenizer/unicode.hpp"

namespace nacelle::constrain {
namespace {

constexpr std::size_t kMostForced = 1024;  // bytes at once; longer texts come in parts

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

  // Moves to the grammar's present machine, where that was replaced.
  void follow(std::shared_ptr<Machine> present) {
    if (present == machine) return;
    const std::shared_ptr<Machine> before = machine;  // perhaps its last holder, and its lock is held to the end
    std::scoped_lock both(before->mutex, present->mutex);
    Machine::Imported done;
    config = present->import(*before, config, done);
    for (Config& old : history) old = present->import(*before, old, done);
    present->note_imported();
    machine = std::move(present);
  }
  bool is_stop(TokenId token) const {
    const auto& stops = grammar->vocabulary().stop_ids();
    return std::find(stops.begin(), stops.end(), token) != stops.end();
  }
  // Whether somebody else's text was too much for the machine: this one's need not be.
  bool is_machine_spent() const {
    std::lock_guard lock(machine->mutex);
    return machine->exhausted();
  }
  bool check_exhausted(const Machine& asked) {
    if (!asked.exhausted()) return false;
    error = "the grammar is too ambiguous to follow: one token took too many steps; make it simpler";
    return true;
  }
};

Matcher::Matcher(std::shared_ptr<const Grammar> grammar) : state_(std::make_unique<State>()) {
  state_->machine = grammar->machine();
  state_->grammar = std::move(grammar);
  state_->config = state_->machine->start();
}
Matcher::~Matcher() = default;
Matcher::Matcher(Matcher&&) noexcept = default;
Matcher& Matcher::operator=(Matcher&&) noexcept = default;

void Matcher::renew() { state_->follow(state_->grammar->machine()); }

Matcher::Place Matcher::place() const noexcept { return {state_->machine->number(), state_->config, state_->stopped}; }

bool Matcher::mask(std::span<std::uint32_t> words) {
  renew();
  return mask(place(), words);
}

bool Matcher::mask(const Place& place, std::span<std::uint32_t> words) {
  State& s = *state_;
  std::shared_ptr<Machine> machine = s.machine;
  if (place.machine != machine->number()) return false;
  Config state = place.stopped ? kDead : place.state;
  if (s.is_machine_spent()) {  // the places stay the old one's
    const std::shared_ptr<Machine> present = s.grammar->machine();
    std::scoped_lock both(machine->mutex, present->mutex);
    Machine::Imported done;
    state = present->import(*machine, state, done);
    present->note_imported();
    machine = present;
  }
  std::lock_guard lock(machine->mutex);
  machine->reset_work();
  machine->write_mask(state, words);
  if (s.check_exhausted(*machine)) return false;
  if (place.stopped || machine->accepts(state))
    for (const TokenId id : s.grammar->vocabulary().stop_ids())
      words[static_cast<std::size_t>(id) / 32] |= 1u << (id % 32);
  return true;
}

bool Matcher::accept(TokenId token) {
  State& s = *state_;
  if (s.stopped) return false;
  if (s.is_machine_spent()) renew();
  std::lock_guard lock(s.machine->mutex);
  s.machine->reset_work();
  Config next = s.config;
  if (s.is_stop(token)) {
    if (!s.machine->accepts(s.config)) return false;
    s.stopped = true;
  } else {
    const std::string_view bytes = s.grammar->vocabulary().bytes(token);
    if (bytes.empty()) return false;
    next = s.machine->run(s.config, bytes);
    if (s.check_exhausted(*s.machine) || next == kDead) return false;
  }
  s.history.push_back(s.config);
  if (s.history.size() > kHistory) s.history.pop_front();
  s.config = next;
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
  if (s.stopped) return {};
  std::lock_guard lock(s.machine->mutex);
  s.machine->reset_work();
  std::string run;
  Config config = s.config;
  for (int byte; run.size() < kMostForced && (byte = s.machine->only_byte(config)) >= 0;) {
    config = s.machine->step(config, static_cast<std::uint8_t>(byte));
    if (config == kDead) break;
    run += static_cast<char>(byte);
  }
  const std::string_view text = whole_characters(run);
  if (text.empty()) return {};
  std::vector<TokenId> tokens = s.grammar->vocabulary().encode(text);
  // The model may prefer a token that starts inside the forced text and goes on behind it: there it is asked.
  std::size_t at = 0;
  config = s.config;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (s.machine->has_longer_token(config, std::string_view(run).substr(at))) {
      tokens.resize(i);
      break;
    }
    const std::string_view bytes = s.grammar->vocabulary().bytes(tokens[i]);
    config = s.machine->run(config, bytes);
    at += bytes.size();
  }
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
