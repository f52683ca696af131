// From a parsed pattern to positions.
#include "core/constrain/regex.hpp"

#include "core/base/error.hpp"

namespace nacelle::constrain {
namespace {

using Kind = RegexNode::Kind;

// Repeats up to this many copies are written out: plain positions are quicker than counted calls.
constexpr std::uint32_t kWrittenOut = 4;

class RegexWriter {
 public:
  RegexWriter(Network& network, bool counted_calls) : network_(network), counted_calls_(counted_calls) {}

  PositionId write(PositionId from, const RegexNode& node) {
    switch (node.kind) {
      case Kind::kChars: return read_char(network_, from, node.chars);
      case Kind::kSequence:
        for (const RegexNode& child : node.children) from = write(from, child);
        return from;
      case Kind::kAlternatives: {
        const PositionId end = network_.add_beside(from);
        for (const RegexNode& child : node.children) network_.skip(write(from, child), end);
        return end;
      }
      case Kind::kRepeat: return repeat(from, node);
      case Kind::kBegin:
      case Kind::kEnd: break;
    }
    throw Error(ErrorKind::kUnsupported,
                "the regular expression has ^ or $ inside: they are supported at the ends of the pattern and of its "
                "alternatives");
  }

  // Any text: valid UTF-8.
  PositionId anything(PositionId from) {
    const PositionId loop = network_.add_beside(from);
    network_.skip(from, loop);
    network_.skip(read_char(network_, loop, CharSet::all()), loop);
    return loop;
  }

  // `node` as the whole pattern: ties to the ends are taken off, and where there are none, `search` lets anything stand
  // before and behind.
  PositionId whole(PositionId from, const RegexNode& node, bool search) {
    if (node.kind == Kind::kAlternatives) {
      const PositionId end = network_.add_beside(from);
      for (const RegexNode& child : node.children) {
        const PositionId begin = network_.add_beside(from);
        network_.skip(from, begin);
        network_.skip(whole(begin, child, search), end);
      }
      return end;
    }
    if (node.kind != Kind::kSequence) {
      RegexNode sequence;
      sequence.children.push_back(node);
      return whole(from, sequence, search);
    }
    if (node.children.size() == 1 &&
        (node.children[0].kind == Kind::kAlternatives || node.children[0].kind == Kind::kSequence))
      return whole(from, node.children[0], search);
    std::size_t first = 0, last = node.children.size();
    bool at_begin = false, at_end = false;
    while (first < last && node.children[first].kind == Kind::kBegin) at_begin = true, ++first;
    while (last > first && node.children[last - 1].kind == Kind::kEnd) at_end = true, --last;
    if (search && !at_begin) from = anything(from);
    for (std::size_t i = first; i < last; ++i) from = write(from, node.children[i]);
    return search && !at_end ? anything(from) : from;
  }

 private:
  PositionId repeat(PositionId from, const RegexNode& node) {
    const RegexNode& body = node.children[0];
    const bool large = node.min > kWrittenOut || (node.max != kUnbounded && node.max > kWrittenOut);
    if (counted_calls_ && large) {
      const RuleId rule = network_.add_rule("repeat");
      network_.accept(write(network_.start(rule), body));
      return network_.call(from, rule, node.min, node.max);
    }
    for (std::uint32_t i = 0; i < node.min; ++i) from = write(from, body);
    if (node.max == kUnbounded) {
      const PositionId loop = network_.add_beside(from);
      network_.skip(from, loop);
      network_.skip(write(loop, body), loop);
      return loop;
    }
    const PositionId end = network_.add_beside(from);
    network_.skip(from, end);
    for (std::uint32_t i = node.min; i < node.max; ++i) {
      from = write(from, body);
      network_.skip(from, end);
    }
    return end;
  }

  Network& network_;
  bool counted_calls_;
};

Automaton automaton(std::string_view pattern, bool search, const GrammarLimits& limits) {
  const RegexNode node = parse_regex(pattern, {true}, limits);
  Network network(limits);
  const RuleId rule = network.add_rule("pattern");
  const PositionId end = RegexWriter(network, false).whole(network.start(rule), node, search);
  return determinise(network, network.start(rule), end);
}

}  // namespace

PositionId read_regex(Network& network, PositionId from, const RegexNode& regex) {
  return RegexWriter(network, true).whole(from, regex, false);
}

Automaton search_automaton(std::string_view pattern, const GrammarLimits& limits) {
  return automaton(pattern, true, limits);
}

Automaton match_automaton(std::string_view pattern, const GrammarLimits& limits) {
  return automaton(pattern, false, limits);
}

}  // namespace nacelle::constrain
