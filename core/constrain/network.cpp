// Analyses of a finished network. All are linear in its size but for the recursion search, which is Tarjan's.
#include "core/constrain/network.hpp"

#include <algorithm>
#include <bitset>

#include "core/base/error.hpp"
#include "core/base/thread_cpu.hpp"

namespace nacelle::constrain {

Network::Network(const GrammarLimits& limits) : limits_(limits) {
  limits_.until = std::min(limits.until, thread_cpu() + limits.time);
}

RuleId Network::add_rule(std::string name) {
  const auto rule = static_cast<RuleId>(rules_.size());
  rules_.push_back({std::move(name), 0, false, false, false});
  rules_[rule].start = add(rule);
  return rule;
}

PositionId Network::add(RuleId rule) {
  if (positions_.size() >= limits_.positions)
    throw Error(ErrorKind::kInvalidArgument, "the grammar is too large: it needs more than " +
                                                 std::to_string(limits_.positions) +
                                                 " positions; make it smaller, or repeat less");
  if (positions_.size() % 1024 == 0) check_time();
  positions_.emplace_back().rule = rule;
  return static_cast<PositionId>(positions_.size() - 1);
}

std::string too_slow(std::chrono::milliseconds time) {
  return "the grammar takes longer than " + std::to_string(time.count()) + " ms to compile; make it simpler";
}

void check_time(const GrammarLimits& limits) {
  if (thread_cpu() > limits.until) throw Error(ErrorKind::kInvalidArgument, too_slow(limits.time));
}

PositionId Network::call(PositionId from, RuleId rule, std::uint32_t min, std::uint32_t max) {
  const PositionId to = add_beside(from);
  add_call(from, rule, to, min, max);
  return to;
}

PositionId Network::text(PositionId from, std::string_view bytes) {
  for (const char c : bytes) {
    const PositionId to = add_beside(from);
    read(from, static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c), to);
    from = to;
  }
  return from;
}

bool Network::finish(RuleId start) {
  root_ = start;
  find_productive();
  drop_unproductive();
  find_nullable();
  refuse_left_recursion();
  find_recursion();
  find_ends();
  return productive_[rules_[start].start];
}

namespace {

// Edges backwards: who becomes true when a position does.
struct Dependents {
  std::vector<std::uint32_t> starts, items;
  explicit Dependents(std::size_t size) : starts(size + 2) {}
  template <class Visit>
  void build(std::size_t size, Visit&& each_edge) {
    each_edge([&](PositionId, PositionId to) { ++starts[to + 2]; });
    for (std::size_t i = 2; i < starts.size(); ++i) starts[i] += starts[i - 1];
    items.resize(starts[size + 1]);
    each_edge([&](PositionId from, PositionId to) { items[starts[to + 1]++] = from; });
  }
};

}  // namespace

// A position is productive when some run of bytes leads from it to its rule's end. Least fixed point by a work list.
void Network::find_productive() {
  const std::size_t size = positions_.size();
  productive_.assign(size, false);
  Dependents dependents(size);
  dependents.build(size, [&](auto&& edge) {
    for (PositionId p = 0; p < size; ++p) {
      for (const ByteEdge& e : positions_[p].bytes) edge(p, e.to);
      for (const PositionId to : positions_[p].empty) edge(p, to);
      for (const CallEdge& e : positions_[p].calls) {
        edge(p, e.to);
        if (e.min > 0) edge(p, rules_[e.rule].start);
      }
    }
  });
  const auto holds = [&](const Position& position) {
    if (position.accepts) return true;
    for (const ByteEdge& e : position.bytes)
      if (productive_[e.to]) return true;
    for (const PositionId to : position.empty)
      if (productive_[to]) return true;
    for (const CallEdge& e : position.calls)
      if (productive_[e.to] && (e.min == 0 || productive_[rules_[e.rule].start])) return true;
    return false;
  };
  std::vector<PositionId> work;
  for (PositionId p = 0; p < size; ++p)
    if (positions_[p].accepts) work.push_back(p), productive_[p] = true;
  while (!work.empty()) {
    const PositionId done = work.back();
    work.pop_back();
    for (std::uint32_t i = dependents.starts[done]; i < dependents.starts[done + 1]; ++i) {
      const PositionId p = dependents.items[i];
      if (productive_[p] || !holds(positions_[p])) continue;
      productive_[p] = true;
      work.push_back(p);
    }
  }
}

// Afterwards every edge leads on to an end, so a run that keeps to the masks never gets stuck.
void Network::drop_unproductive() {
  for (Position& position : positions_) {
    std::erase_if(position.bytes, [&](const ByteEdge& e) { return !productive_[e.to]; });
    std::erase_if(position.empty, [&](PositionId to) { return !productive_[to]; });
    std::erase_if(position.calls, [&](const CallEdge& e) {
      if (!productive_[e.to]) return true;
      if (productive_[rules_[e.rule].start] && e.max > 0) return false;
      if (e.min == 0) position.empty.push_back(e.to);  // it can only be left out
      return true;
    });
  }
}

void Network::find_nullable() {
  std::vector<bool> null(positions_.size());
  // Few rounds in practice; each round settles at least one position, so it ends.
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t p = positions_.size(); p-- > 0;) {
      if (null[p]) continue;
      const Position& position = positions_[p];
      bool now = position.accepts;
      for (const PositionId to : position.empty) now = now || null[to];
      for (const CallEdge& e : position.calls) now = now || (null[e.to] && (e.min == 0 || rules_[e.rule].nullable));
      if (!now) continue;
      null[p] = changed = true;
      Rule& rule = rules_[position.rule];
      if (rule.start == p) rule.nullable = true;
    }
    check_time();
  }
  // A repeat of what may be empty has no lower bound in effect, which spares the matcher from counting empty rounds.
  for (Position& position : positions_)
    for (CallEdge& e : position.calls)
      if (rules_[e.rule].nullable && e.max > 1) e.min = 0;
}

namespace {

// Strongly connected components of the rules. `edges(rule, visit)` names the rules that it calls.
class Components {
 public:
  template <class Edges>
  Components(std::size_t size, Edges&& edges) : index_(size), low_(size), on_stack_(size), cyclic_(size) {
    for (RuleId rule = 0; rule < size; ++rule)
      if (index_[rule] == 0) visit(rule, edges);
  }
  bool is_cyclic(RuleId rule) const { return cyclic_[rule]; }

 private:
  struct Frame {
    RuleId rule;
    std::vector<RuleId> next;
    std::size_t at = 0;
  };
  template <class Edges>
  void visit(RuleId first, Edges& edges) {
    std::vector<Frame> frames;
    open(first, frames, edges);
    while (!frames.empty()) {
      Frame& frame = frames.back();
      if (frame.at < frame.next.size()) {
        const RuleId to = frame.next[frame.at++];
        if (to == frame.rule) cyclic_[to] = true;
        if (index_[to] == 0)
          open(to, frames, edges);
        else if (on_stack_[to])
          low_[frame.rule] = std::min(low_[frame.rule], index_[to]);
        continue;
      }
      const RuleId rule = frame.rule;
      frames.pop_back();
      if (!frames.empty()) low_[frames.back().rule] = std::min(low_[frames.back().rule], low_[rule]);
      if (low_[rule] == index_[rule]) close(rule);
    }
  }
  template <class Edges>
  void open(RuleId rule, std::vector<Frame>& frames, Edges& edges) {
    index_[rule] = low_[rule] = ++count_;
    stack_.push_back(rule);
    on_stack_[rule] = true;
    Frame frame{rule, {}, 0};
    edges(rule, [&](RuleId to) { frame.next.push_back(to); });
    frames.push_back(std::move(frame));
  }
  void close(RuleId rule) {
    const bool several = stack_.back() != rule;
    for (;;) {
      const RuleId member = stack_.back();
      stack_.pop_back();
      on_stack_[member] = false;
      if (several) cyclic_[member] = true;
      if (member == rule) return;
    }
  }
  std::vector<std::uint32_t> index_, low_;
  std::vector<bool> on_stack_, cyclic_;
  std::vector<RuleId> stack_;
  std::uint32_t count_ = 0;
};

std::vector<std::vector<PositionId>> by_rule(const std::vector<Position>& positions, std::size_t rules) {
  std::vector<std::vector<PositionId>> lists(rules);
  for (PositionId p = 0; p < positions.size(); ++p) lists[positions[p].rule].push_back(p);
  return lists;
}

}  // namespace

void Network::find_recursion() {
  const auto members = by_rule(positions_, rules_.size());
  const Components components(rules_.size(), [&](RuleId rule, auto&& visit) {
    for (const PositionId p : members[rule])
      for (const CallEdge& e : positions_[p].calls) visit(e.rule);
  });
  for (RuleId rule = 0; rule < rules_.size(); ++rule)
    rules_[rule].barrier = rules_[rule].shared || components.is_cyclic(rule);
}

// The matcher would descend for ever.
void Network::refuse_left_recursion() const {
  std::vector<std::uint32_t> seen(positions_.size());
  std::uint32_t round = 0;
  const Components components(rules_.size(), [&](RuleId rule, auto&& visit) {
    ++round;
    std::vector<PositionId> work{rules_[rule].start};
    const auto reach = [&](PositionId p) {
      if (seen[p] != round) seen[p] = round, work.push_back(p);
    };
    seen[work[0]] = round;
    while (!work.empty()) {
      const Position& position = positions_[work.back()];
      work.pop_back();
      for (const PositionId to : position.empty) reach(to);
      for (const CallEdge& e : position.calls) {
        visit(e.rule);
        if (e.min == 0 || rules_[e.rule].nullable) reach(e.to);
      }
    }
  });
  for (RuleId rule = 0; rule < rules_.size(); ++rule)
    if (components.is_cyclic(rule))
      throw Error(ErrorKind::kInvalidArgument,
                  "the rule \"" + rules_[rule].name +
                      "\" can call itself before it reads anything (left recursion); write it with a repeat, as in "
                      "item (\",\" item)*");
}

// Positions that end through a chain of empty edges count too, so that a call in last place leaves nothing on the
// stack.
void Network::find_ends() {
  is_end_.assign(positions_.size(), false);
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t p = positions_.size(); p-- > 0;) {
      const Position& position = positions_[p];
      if (is_end_[p] || !position.bytes.empty() || !position.calls.empty()) continue;
      if (!position.accepts && position.empty.empty()) continue;
      if (!std::all_of(position.empty.begin(), position.empty.end(), [&](PositionId to) { return is_end_[to]; }))
        continue;
      is_end_[p] = changed = true;
    }
  }
}

PositionId read_any_of(Network& network, PositionId from, std::vector<std::string_view> texts) {
  std::sort(texts.begin(), texts.end());
  const PositionId end = network.add_beside(from), root = network.add_beside(from);
  network.skip(from, root);
  std::vector<PositionId> path{root};  // positions along the text before, which sorts next to this one
  std::string_view before;
  for (const std::string_view text : texts) {
    std::size_t common = 0;
    while (common < before.size() && common < text.size() && before[common] == text[common]) ++common;
    path.resize(common + 1);
    for (std::size_t i = common; i < text.size(); ++i) path.push_back(network.text(path.back(), text.substr(i, 1)));
    network.skip(path.back(), end);
    before = text;
  }
  return end;
}

ByteClasses byte_classes(const Network& network) {
  std::bitset<257> begins;
  begins[0] = true;
  for (const Position& position : network.positions())
    for (const ByteEdge& e : position.bytes) {
      begins[e.low] = true;
      begins[static_cast<std::size_t>(e.high) + 1] = true;
    }
  ByteClasses classes;
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (begins[byte]) classes.sample.push_back(static_cast<std::uint8_t>(byte));
    classes.of[byte] = static_cast<std::uint8_t>(classes.sample.size() - 1);
  }
  return classes;
}

}  // namespace nacelle::constrain
