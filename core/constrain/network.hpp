// A grammar over bytes as a recursive transition network: rules made of positions, joined by edges that read a byte,
// read nothing, or call a rule a counted number of times. Every dialect (JSON Schema, regex, GBNF, choice) compiles to
// it.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/constrain/constraint.hpp"

namespace nacelle::constrain {

using PositionId = std::uint32_t;
using RuleId = std::uint32_t;
inline constexpr std::uint32_t kUnbounded = 0xFFFFFFFFu;

// What one grammar may cost. A schema for real use has some hundreds of positions.
struct GrammarLimits {
  std::uint32_t positions = 200'000;
  std::uint32_t automaton_states = 20'000;        // of one regular language that must be determinised
  std::uint32_t nesting = 100;                    // of groups in a regex or a GBNF rule
  std::uint32_t alternatives = 512;               // of one place in a schema, anyOf multiplied out
  std::uint32_t repeats = 1'000'000;              // the largest count of {m,n}, minLength, maxItems, ...
  std::uint32_t pattern = 16u << 10;              // bytes of one regular expression
  std::chrono::milliseconds time = kCompileTime;  // of the thread that compiles, however busy the machine is
  // When that is over: set by the grammar's network, so that the automata made on the way have no time of their own.
  std::chrono::nanoseconds until = std::chrono::nanoseconds::max();
};

// The text of the refusal of a grammar that takes longer than `time`.
std::string too_slow(std::chrono::milliseconds time);
// Throws Error(kInvalidArgument) when the compilation takes too long.
void check_time(const GrammarLimits& limits);

struct ByteEdge {
  std::uint8_t low, high;
  PositionId to;
};

// `rule` at least `min` and at most `max` times, then `to`. A plain call is 1..1.
struct CallEdge {
  RuleId rule;
  PositionId to;
  std::uint32_t min, max;
};

struct Position {
  RuleId rule = 0;
  bool accepts = false;  // the rule may end here
  std::vector<ByteEdge> bytes;
  std::vector<CallEdge> calls;
  std::vector<PositionId> empty;
};

struct Rule {
  std::string name;
  PositionId start = 0;
  bool shared = false;    // asked for by the builder: masks inside it do not depend on who called it
  bool barrier = false;   // set by finish(): shared, or calls itself
  bool nullable = false;  // set by finish()
};

// Built by one thread, then immutable. Functions that build return the position where what they added ends.
class Network {
 public:
  explicit Network(const GrammarLimits& limits = {});

  RuleId add_rule(std::string name);
  PositionId start(RuleId rule) const { return rules_[rule].start; }
  void set_shared(RuleId rule) { rules_[rule].shared = true; }
  PositionId add(RuleId rule);  // throws Error(kInvalidArgument) past the limits, of time too
  // A new position of the same rule as `beside`.
  PositionId add_beside(PositionId beside) { return add(positions_[beside].rule); }
  void read(PositionId from, std::uint8_t low, std::uint8_t high, PositionId to) {
    positions_[from].bytes.push_back({low, high, to});
  }
  void skip(PositionId from, PositionId to) { positions_[from].empty.push_back(to); }
  void add_call(PositionId from, RuleId rule, PositionId to, std::uint32_t min = 1, std::uint32_t max = 1) {
    positions_[from].calls.push_back({rule, to, min, max});
  }
  PositionId call(PositionId from, RuleId rule, std::uint32_t min = 1, std::uint32_t max = 1);
  void accept(PositionId position) { positions_[position].accepts = true; }
  PositionId text(PositionId from, std::string_view bytes);

  // Removes what can never lead to an end, finds barriers and empty rules. False when `start` itself can never end: the
  // grammar matches nothing. Throws Error(kInvalidArgument) for a rule that calls itself before reading anything.
  bool finish(RuleId start);
  // After finish(): whether the rule matches anything at all.
  bool matches_something(RuleId rule) const { return productive_[rules_[rule].start]; }

  const GrammarLimits& limits() const noexcept { return limits_; }
  const std::vector<Position>& positions() const noexcept { return positions_; }
  const std::vector<Rule>& rules() const noexcept { return rules_; }
  RuleId root() const noexcept { return root_; }
  // True where nothing is left to do but to end the rule.
  bool is_end(PositionId position) const { return is_end_[position]; }
  void check_time() const { constrain::check_time(limits_); }

 private:
  void find_nullable();
  void find_productive();
  void drop_unproductive();
  void find_ends();
  void find_recursion();
  void refuse_left_recursion() const;

  GrammarLimits limits_;
  std::vector<Position> positions_;
  std::vector<Rule> rules_;
  std::vector<bool> productive_, is_end_;
  RuleId root_ = 0;
};

// Reads one of the texts, by a trie of them, so that a long list stays deterministic.
PositionId read_any_of(Network& network, PositionId from, std::vector<std::string_view> texts);

// Bytes that no edge of the network tells apart share a class.
struct ByteClasses {
  std::array<std::uint8_t, 256> of{};
  std::vector<std::uint8_t> sample;  // a byte of each class
  std::size_t size() const noexcept { return sample.size(); }
};
ByteClasses byte_classes(const Network& network);

}  // namespace nacelle::constrain
