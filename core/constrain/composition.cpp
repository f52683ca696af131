// Grammars put together from others.
#include "core/constrain/composition.hpp"

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "core/base/error.hpp"
#include "core/constrain/gbnf.hpp"
#include "core/constrain/regex.hpp"
#include "core/constrain/vocabulary.hpp"
#include "core/formats/bounded_json.hpp"

namespace nacelle::constrain {
namespace {

using Part = nlohmann::ordered_json;

class CompositionReader {
 public:
  CompositionReader(Network& network, std::vector<OneOfCheck>& checks) : network_(network), checks_(checks) {}

  // Returns where the part ends.
  PositionId write(PositionId from, const Part& part) {
    if (part.is_string()) return network_.text(from, part.get_ref<const std::string&>());
    if (part.is_array()) {
      for (const Part& one : part) from = write(from, one);
      return from;
    }
    if (part.contains("one_of")) return one_of(from, part["one_of"]);
    if (part.contains("repeat")) return repeat(from, part["repeat"]);
    if (part.contains("mark")) return mark(from, part["mark"].get_ref<const std::string&>());
    if (part.contains("schema")) return network_.call(from, schema(part));
    if (part.contains("gbnf")) return network_.call(from, read_gbnf(network_, part["gbnf"].get<std::string>()));
    if (part.contains("regex")) {
      const auto& pattern = part["regex"].get_ref<const std::string&>();
      check_pattern_size(pattern, network_.limits());
      return read_regex(network_, beside(from), parse_regex(pattern, {}, network_.limits()));
    }
    return read_automaton(network_, beside(from), free_text(part));
  }

 private:
  // A position of its own for what may come back to its beginning.
  PositionId beside(PositionId from) {
    const PositionId begin = network_.add_beside(from);
    network_.skip(from, begin);
    return begin;
  }

  PositionId one_of(PositionId from, const Part& parts) {
    const PositionId end = network_.add_beside(from);
    for (const Part& one : parts) network_.skip(write(beside(from), one), end);
    return end;
  }

  PositionId repeat(PositionId from, const Part& part) {
    const PositionId loop = beside(from);
    network_.skip(write(beside(loop), part), loop);
    return loop;
  }

  PositionId mark(PositionId from, const std::string& text) {
    const PositionId behind = network_.add_beside(from);
    network_.skip(from, behind);
    network_.read(from, kSpecialLead, kSpecialLead, behind);
    return network_.text(behind, text);
  }

  RuleId schema(const Part& part) {
    const std::string text = part["schema"].dump();
    if (const auto known = schemas_.find(text); known != schemas_.end()) return known->second;
    try {
      return schemas_[text] = read_schema(network_, text, checks_);
    } catch (const Error& error) {
      if (!part.contains("of")) throw;
      throw Error(error.kind(), part["of"].get<std::string>() + ": " + error.what(), part.value("param", ""));
    }
  }

  static void read_anything(Network& network, PositionId at) { network.read(at, 0, 255, at); }

  // All texts of which some beginning ends where `write` does.
  template <class Write>
  Automaton beginning_with(bool anywhere, const Write& write) {
    Network network(network_.limits());
    const RuleId rule = network.add_rule("text");
    const PositionId start = network.start(rule), end = network.add(rule);
    if (anywhere) read_anything(network, start);
    write(network, start, end);
    read_anything(network, end);
    // What makes a token special is no text.
    for (PositionId at = 0; at < network.positions().size(); ++at) network.read(at, kSpecialLead, kSpecialLead, at);
    return determinise(network, start, end);
  }

  Automaton free_text(const Part& part) {
    const GrammarLimits& limits = network_.limits();
    Automaton text;
    if (part.value("tokens", false)) {
      text.next = {0};
      text.accepts = {true};
    } else {
      text = match_automaton("[\\s\\S]*", limits);
    }
    const Part& marks = part.at("until");
    if (!marks.empty()) {
      text = difference(text,
                        beginning_with(true,
                                       [&](Network& network, PositionId start, PositionId end) {
                                         for (const Part& one : marks)
                                           network.skip(network.text(start, one.get_ref<const std::string&>()), end);
                                       }),
                        limits);
    }
    if (part.contains("unlike")) {
      const Automaton unlike = match_automaton(part["unlike"].get_ref<const std::string&>(), limits);
      text = difference(
          text,
          beginning_with(false, [&](Network& network, PositionId start,
                                    PositionId end) { network.skip(read_automaton(network, start, unlike), end); }),
          limits);
    }
    return text;
  }

  Network& network_;
  std::vector<OneOfCheck>& checks_;
  std::map<std::string, RuleId> schemas_;  // a call may stand at several places
};

}  // namespace

RuleId read_composition(Network& network, std::string_view text, std::vector<OneOfCheck>& checks) {
  const RuleId rule = network.add_rule("composition");
  try {
    network.accept(CompositionReader(network, checks)
                       .write(network.start(rule), parse_bounded_json(text, {.depth = kCompositionDepth})));
  } catch (const Part::exception& error) {
    throw Error(ErrorKind::kInternal, std::string("not a composition of grammars: ") + error.what());
  }
  return rule;
}

}  // namespace nacelle::constrain
