// States: stacks, closures, transitions.
#include "core/constrain/machine.hpp"

#include <algorithm>
#include <atomic>

namespace nacelle::constrain {

Program::Program(std::unique_ptr<const Network> finished)
    : network(std::move(finished)), classes(byte_classes(*network)) {
  const auto& positions = network->positions();
  const auto& rules = network->rules();
  for (const Position& position : positions) {
    first_call.push_back(static_cast<std::uint32_t>(calls.size()));
    for (const CallEdge& e : position.calls) {
      // Below a barrier the stack must show where it was called.
      const bool last = network->is_end(e.to) && (!rules[position.rule].barrier || rules[e.rule].barrier);
      calls.push_back({e.rule, position.rule, e.to, e.min, e.max, last});
    }
  }
  first_call.push_back(static_cast<std::uint32_t>(calls.size()));
}

Machine::Machine(std::shared_ptr<const Program> program, std::shared_ptr<const Vocabulary> vocabulary)
    : program_(std::move(program)), vocabulary_(std::move(vocabulary)), width_(program_->classes.size()) {
  for (std::uint32_t mark = 0; mark <= kHoles; ++mark) {
    frames_.add(std::array{mark});
    stacks_.add(std::array{mark});  // stack n holds mark n alone
  }
  close();  // of nothing: the dead state is number 0
  reach(program_->network->start(program_->network->root()), kBottom);
  start_ = close();
}

std::uint64_t Machine::next_number() noexcept {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

// ---- Stacks

Machine::FrameId Machine::frame(std::uint32_t call, std::uint32_t need, std::uint32_t left, StackId parent) {
  return frames_.add(std::array{call, need, left, parent});
}

Machine::Frame Machine::frame_at(FrameId id) const {
  const auto words = frames_.at(id);
  return {words[0], words[1], words[2], words[3]};
}

Machine::StackId Machine::stack_of(FrameId id) { return stacks_.add(std::array{id}); }

// Of all at once: to add one after the other would keep every set on the way.
Machine::StackId Machine::union_of(std::span<const Item> items) {
  if (items.size() == 1) return items[0].stack;
  scratch_.clear();
  for (const Item& item : items) {
    const auto frames = stacks_.at(item.stack);
    count_work(frames.size());
    if (exhausted_) return kBottom;
    scratch_.insert(scratch_.end(), frames.begin(), frames.end());
  }
  std::sort(scratch_.begin(), scratch_.end());
  scratch_.erase(std::unique(scratch_.begin(), scratch_.end()), scratch_.end());
  return stacks_.add(scratch_);
}

// ---- Closure: everything that can be reached without reading a byte

void Machine::reach(PositionId position, StackId stack) {
  ++work_;
  if (seen_items_.insert(std::uint64_t{position} << 32 | stack)) pending_.push_back({position, stack});
}

// The frame says how often its rule must and may still be called.
void Machine::enter(FrameId id) {
  ++work_;
  if (!seen_frames_.insert(id)) return;
  count_work();
  const Frame f = frame_at(id);
  const Program::Call& call = program_->calls[f.call];
  if (f.need == 0) reach(call.to, f.parent);
  if (f.left == 0) return;
  const Rule& rule = program_->network->rules()[call.rule];
  if (f.left == 1 && f.need <= 1 && call.last) return reach(rule.start, f.parent);
  const FrameId inside =
      frame(f.call, f.need ? f.need - 1 : 0, f.left == kUnbounded ? kUnbounded : f.left - 1, f.parent);
  if (rule.nullable && call.max > 1) fresh_.insert(inside);
  reach(rule.start, stack_of(inside));
}

void Machine::pop(StackId stack) {
  if (!seen_stacks_.insert(stack)) return;
  const auto words = stacks_.at(stack);
  const std::vector<std::uint32_t> frames(words.begin(), words.end());
  count_work(frames.size());
  for (const FrameId id : frames) {
    if (exhausted_) return;  // there may be tens of thousands
    if (id <= kHoles) {
      reached_ |= 1u << id;  // kBottom is kAccepts
    } else if (!fresh_.contains(id)) {
      enter(id);  // a repeat that read nothing is no progress: leaving it was offered already
    }
  }
}

// Works off what was reached, and names the state.
Config Machine::close() {
  const auto& positions = program_->network->positions();
  items_.clear();
  while (!pending_.empty() && !exhausted_) {
    const Item item = pending_.back();
    pending_.pop_back();
    count_work();
    const Position& position = positions[item.position];
    if (!position.bytes.empty()) items_.push_back(item);
    for (const PositionId to : position.empty) reach(to, item.stack);
    const std::uint32_t first = program_->first_call[item.position], last = program_->first_call[item.position + 1];
    for (std::uint32_t call = first; call < last && !exhausted_; ++call)
      enter(frame(call, program_->calls[call].min, program_->calls[call].max, item.stack));
    if (position.accepts) pop(item.stack);
  }
  pending_.clear();
  std::sort(items_.begin(), items_.end(), [](const Item& a, const Item& b) { return a.position < b.position; });
  std::vector<std::uint32_t> words{reached_};
  for (std::size_t i = 0; i < items_.size() && !exhausted_;) {
    const std::size_t first = i;
    while (i < items_.size() && items_[i].position == items_[first].position) ++i;
    words.push_back(items_[first].position);
    words.push_back(union_of(std::span(items_).subspan(first, i - first)));
  }
  const Config config = exhausted_ ? kDead : configs_.add(words);
  if (config == flags_.size()) {
    flags_.push_back(reached_);
    transitions_.resize(transitions_.size() + width_, kUnknown);
    count_work(width_ / 16);  // memory is to be paid too
  }
  seen_items_.clear();
  seen_frames_.clear();
  seen_stacks_.clear();
  fresh_.clear();
  reached_ = 0;
  closure_work_ = 0;
  return config;
}

Config Machine::advance(Config config, std::uint8_t byte) {
  if (exhausted_) return kDead;
  const auto& positions = program_->network->positions();
  const auto words = configs_.at(config);
  if ((work_ += words.size() / 2) > limit_) return exhausted_ = true, kDead;
  for (std::size_t i = 1; i < words.size(); i += 2)
    for (const ByteEdge& e : positions[words[i]].bytes)
      if (e.low <= byte && byte <= e.high) reach(e.to, words[i + 1]);
  const Config next = close();
  if (exhausted_) return kDead;
  return transitions_[std::size_t{config} * width_ + program_->classes.of[byte]] = next;
}

Config Machine::resume(StackId stack) {
  const auto found = resumed_.find(stack);
  if (found != resumed_.end()) return found->second;
  pop(stack);
  const Config config = close();
  if (!exhausted_) resumed_[stack] = config;
  return config;
}

Config Machine::run(Config config, std::string_view bytes) {
  for (const char c : bytes) {
    if (config == kDead) return kDead;
    config = step(config, static_cast<std::uint8_t>(c));
  }
  return config;
}

int Machine::only_byte(Config config) const {
  if (accepts(config)) return -1;
  const auto& positions = program_->network->positions();
  const auto words = configs_.at(config);
  int only = -1;
  for (std::size_t i = 1; i < words.size(); i += 2)
    for (const ByteEdge& e : positions[words[i]].bytes) {
      if (e.low != e.high || (only >= 0 && only != e.low)) return -1;
      only = e.low;
    }
  return only;
}

// ---- Moving to another machine

Machine::StackId Machine::import_stack(const Machine& other, StackId stack, Imported& done) {
  // A work list, not recursion: stacks are as deep as the document.
  std::vector<StackId> work{stack};
  while (!work.empty()) {
    const StackId id = work.back();
    if (done.contains(id)) {
      work.pop_back();
      continue;
    }
    const auto frames = other.stacks_.at(id);
    bool ready = true;
    for (const FrameId f : frames) {
      if (f <= kHoles || done.contains(other.frame_at(f).parent)) continue;
      work.push_back(other.frame_at(f).parent);
      ready = false;
    }
    if (!ready) continue;
    std::vector<std::uint32_t> own;
    for (const FrameId f : frames) {
      const Frame there = f <= kHoles ? Frame{} : other.frame_at(f);
      own.push_back(f <= kHoles ? f : frame(there.call, there.need, there.left, done.at(there.parent)));
    }
    std::sort(own.begin(), own.end());
    done[id] = stacks_.add(own);
    work_ += own.size();
    work.pop_back();
  }
  return done.at(stack);
}

Config Machine::import(const Machine& other, Config config, Imported& done) {
  const auto there = other.configs_.at(config);
  std::vector<std::uint32_t> words(there.begin(), there.end());
  for (std::size_t i = 2; i < words.size(); i += 2) words[i] = import_stack(other, words[i], done);
  work_ += words.size();
  const Config own = configs_.add(words);
  if (own == flags_.size()) {
    flags_.push_back(words[0]);
    transitions_.resize(transitions_.size() + width_, kUnknown);
  }
  return own;
}

std::size_t Machine::bytes() const noexcept {
  return frames_.bytes() + stacks_.bytes() + configs_.bytes() + (flags_.capacity() + transitions_.capacity()) * 4 +
         mask_bytes_ + (locals_.size() + shapes_.size() + masks_.size()) * 160;
}

}  // namespace nacelle::constrain
