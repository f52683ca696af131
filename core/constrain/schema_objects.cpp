// Objects. Members stand in the order in which the schema names them, then those that are required only, then any
// others; what is not required may be left out.
#include <algorithm>
#include <map>
#include <optional>

#include "core/constrain/regex.hpp"
#include "core/constrain/schema_compiler.hpp"

namespace nacelle::constrain {
namespace {

constexpr std::size_t kMaxDependent = 8;  // names that dependentRequired speaks of, at one place
constexpr std::size_t kMaxPatterns = 6;   // of patternProperties: names are told apart by the sets that they match
constexpr std::uint32_t kMaxCounted = 64;

bool is_never(const Places& places) {
  return std::any_of(places.begin(), places.end(),
                     [](const Place& place) { return place.schema->is_boolean() && !place.schema->get<bool>(); });
}

std::vector<std::string> string_list(const Json& list, const std::string& pointer) {
  if (!list.is_array()) refuse_schema(pointer, "it must be an array of strings");
  std::vector<std::string> names;
  for (const Json& name : list) {
    if (!name.is_string()) refuse_schema(pointer, "it must be an array of strings");
    names.push_back(name);
  }
  return names;
}

}  // namespace

struct SchemaCompiler::Property {
  std::string name;
  bool required = false;
  RuleId member = 0;      // name, colon and value
  std::uint32_t bit = 0;  // of those that dependentRequired speaks of
};

struct SchemaCompiler::ObjectPlan {
  std::vector<Property> properties;
  std::optional<RuleId> other;  // a member of any other name
  std::uint32_t min = 0, max = kUnbounded;
  bool counts = false;                                             // min or max is not met by itself
  std::vector<std::pair<std::uint32_t, std::uint32_t>> dependent;  // where the first bit is set, the others must be
};

// A member of patternProperties.
struct SchemaCompiler::NamePattern {
  std::size_t owner;  // index of its schema in Flat::places
  const Automaton* automaton;
  Place value;
};

bool SchemaCompiler::name_allowed(const Flat& flat, const std::string& name) {
  const Json value = name;
  for (const Place& place : flat.places) {
    const Json* names = member(place, "propertyNames");
    if (!names) continue;
    std::vector<Flat> alternatives;
    expand({{{names, below(place.pointer, "propertyNames")}}, {}, {}}, alternatives);
    const auto fits = [&](const Flat& alternative) {
      bool listed = true;
      for (const Place& p : alternative.places) {
        if (const Json* constant = member(p, "const")) listed = listed && *constant == value;
        if (const Json* list = array_member(p, "enum"))
          listed = listed && std::find(list->begin(), list->end(), value) != list->end();
      }
      return listed && allows(alternative, value);
    };
    if (std::none_of(alternatives.begin(), alternatives.end(), fits)) return false;
  }
  return true;
}

// What holds of the member `name`. `allowed` is false where it cannot be there.
Places SchemaCompiler::property_places(const Flat& flat, const std::string& name, bool& allowed) {
  Places places;
  for (const Place& place : flat.places) {
    bool known = false;
    const Json* properties = object_member(place, "properties");
    if (properties && properties->contains(name)) {
      known = true;
      places.push_back({&(*properties)[name], below(below(place.pointer, "properties"), name)});
    }
    if (const Json* patterns = object_member(place, "patternProperties"))
      for (const auto& [text, schema] : patterns->items()) {
        const Place at{&schema, below(below(place.pointer, "patternProperties"), text)};
        if (!pattern(at, text).matches(name)) continue;
        known = true;
        places.push_back(at);
      }
    if (known) continue;
    if (const Json* additional = member(place, "additionalProperties"))
      places.push_back({additional, below(place.pointer, "additionalProperties")});
  }
  allowed = !is_never(places) && name_allowed(flat, name);
  return places;
}

void SchemaCompiler::plan_properties(const Flat& flat, ObjectPlan& plan) {
  std::map<std::string, std::size_t> index;
  const auto declare = [&](const std::string& name) -> Property& {
    const auto [entry, added] = index.try_emplace(name, plan.properties.size());
    if (added) plan.properties.push_back({name});
    return plan.properties[entry->second];
  };
  for (const Place& place : flat.places)
    if (const Json* properties = object_member(place, "properties"))
      for (const auto& [name, schema] : properties->items()) declare(name);
  for (const Place& place : flat.places)
    if (const Json* required = member(place, "required"))
      for (const std::string& name : string_list(*required, below(place.pointer, "required")))
        declare(name).required = true;
  // Where names are listed, only those can be there.
  for (const Place& place : flat.places)
    if (const Json* names = member(place, "propertyNames")) {
      std::vector<Flat> alternatives;
      expand({{{names, below(place.pointer, "propertyNames")}}, {}, {}}, alternatives);
      for (const Flat& alternative : alternatives)
        for (const Place& p : alternative.places) {
          if (const Json* constant = member(p, "const"); constant && constant->is_string()) declare(*constant);
          if (const Json* list = array_member(p, "enum"))
            for (const Json& name : *list)
              if (name.is_string()) declare(name);
        }
    }
  std::uint32_t bits = 0;
  const auto bit = [&](const Place& place, const std::string& name) {
    Property& property = declare(name);
    if (property.bit == 0) {
      if (bits == kMaxDependent)
        refuse_keyword(place, "dependentRequired", "it names more than " + std::to_string(kMaxDependent) + " members");
      property.bit = 1u << bits++;
    }
    return property.bit;
  };
  for (const Place& place : flat.places)
    if (const Json* dependent = object_member(place, "dependentRequired"))
      for (const auto& [name, others] : dependent->items()) {
        std::uint32_t needed = 0;
        for (const std::string& other : string_list(others, below(below(place.pointer, "dependentRequired"), name)))
          needed |= bit(place, other);
        if (needed) plan.dependent.emplace_back(bit(place, name), needed);
      }
  for (Property& property : plan.properties) {
    bool allowed = true;
    const Places places = property_places(flat, property.name, allowed);
    property.member = network_.add_rule("member");
    if (!allowed) continue;  // a rule without an end: it is never written
    const PositionId name = network_.text(network_.start(property.member), json_string(property.name));
    network_.accept(network_.call(json_.colon(name), rule_for(places)));
  }
}

// All patternProperties of the schemas that hold together.
std::vector<SchemaCompiler::NamePattern> SchemaCompiler::name_patterns(const Flat& flat) {
  std::vector<NamePattern> patterns;
  for (std::size_t i = 0; i < flat.places.size(); ++i) {
    const Place& place = flat.places[i];
    const Json* own = object_member(place, "patternProperties");
    if (!own) continue;
    for (const auto& [text, schema] : own->items()) {
      const Place at{&schema, below(below(place.pointer, "patternProperties"), text)};
      patterns.push_back({i, &pattern(at, text), at});
    }
    if (patterns.size() > kMaxPatterns)
      refuse_keyword(place, "patternProperties", "more than " + std::to_string(kMaxPatterns) + " hold at once here");
  }
  return patterns;
}

// The texts that a member's name may be and that the schema does not list; false where there is none.
bool SchemaCompiler::other_names(const Flat& flat, const ObjectPlan& plan, Automaton& names) {
  const GrammarLimits& limits = network_.limits();
  names = search_automaton("", limits);  // all texts
  if (!plan.properties.empty()) {
    Network listed(limits);
    const RuleId list = listed.add_rule("names");
    std::vector<std::string> declared;
    for (const Property& property : plan.properties) declared.push_back(property.name);
    const PositionId end = read_any_of(listed, listed.start(list), {declared.begin(), declared.end()});
    names = difference(names, determinise(listed, listed.start(list), end), limits);
  }
  for (const Place& place : flat.places) {
    const Json* asked = member(place, "propertyNames");
    if (!asked) continue;
    std::vector<Flat> alternatives;
    expand({{{asked, below(place.pointer, "propertyNames")}}, {}, {}}, alternatives);
    if (alternatives.size() > 1) refuse_keyword(place, "propertyNames", "alternatives are not supported for names");
    if (alternatives.empty() || !(alternatives[0].types & kString)) return false;
    for (const Place& p : alternatives[0].places)
      if (member(p, "enum") || member(p, "const")) return false;  // plan_properties() has those names
    Automaton conditions;
    if (string_conditions(alternatives[0], conditions)) names = intersection(names, conditions, limits);
    limit_length(alternatives[0], names);
  }
  return true;
}

// An alternative: one of `names` (null: any text), which matches the patterns whose bits are set in `matched`.
void SchemaCompiler::write_other(PositionId start, const Flat& flat, const std::vector<NamePattern>& patterns,
                                 const Automaton* names, std::uint32_t matched) {
  Places places;
  for (std::size_t i = 0; i < flat.places.size(); ++i) {
    bool known = false;
    for (std::size_t p = 0; p < patterns.size(); ++p)
      if (patterns[p].owner == i && matched >> p & 1) known = true, places.push_back(patterns[p].value);
    const Json* additional = member(flat.places[i], "additionalProperties");
    if (!known && additional) places.push_back({additional, below(flat.places[i].pointer, "additionalProperties")});
  }
  if (is_never(places)) return;
  PositionId name;
  if (names)
    name = network_.text(read_automaton_escaped(network_, network_.text(start, "\""), *names), "\"");
  else
    name = network_.call(start, json_.string());
  network_.accept(network_.call(json_.colon(name), rule_for(places)));
}

// Members that the schema does not name: one rule, with an alternative for each set of patternProperties that a name
// may match.
void SchemaCompiler::plan_other_names(const Flat& flat, ObjectPlan& plan) {
  const std::vector<NamePattern> patterns = name_patterns(flat);
  const auto closed = [](const Place& place) {
    const Json* own = object_member(place, "patternProperties");
    const Json* additional = member(place, "additionalProperties");
    return additional && *additional == Json(false) && (!own || own->empty());
  };
  if (std::any_of(flat.places.begin(), flat.places.end(), closed)) return;
  const RuleId rule = network_.add_rule("other member");
  const PositionId start = network_.start(rule);
  plan.other = rule;
  const bool restricted = std::any_of(flat.places.begin(), flat.places.end(),
                                      [](const Place& place) { return member(place, "propertyNames") != nullptr; });
  if (patterns.empty() && !restricted && plan.properties.empty()) return write_other(start, flat, patterns, nullptr, 0);
  Automaton names;
  if (!other_names(flat, plan, names)) return;
  const GrammarLimits& limits = network_.limits();
  // Splits the names by each pattern in turn.
  const auto split = [&](auto&& self, const Automaton& left, std::size_t index, std::uint32_t matched) -> void {
    if (left.empty()) return;
    if (index == patterns.size()) return write_other(start, flat, patterns, &left, matched);
    const Automaton& automaton = *patterns[index].automaton;
    self(self, intersection(left, automaton, limits), index + 1, matched | 1u << index);
    self(self, difference(left, automaton, limits), index + 1, matched);
  };
  split(split, names, 0, 0);
}

PositionId SchemaCompiler::write_object(PositionId from, const Flat& flat) {
  ObjectPlan plan;
  plan_properties(flat, plan);
  plan_other_names(flat, plan);
  for (const Place& place : flat.places) {
    plan.min = std::max(plan.min, count_member(place, "minProperties", 0, kUnbounded));
    plan.max = std::min(plan.max, count_member(place, "maxProperties", kUnbounded, kUnbounded - 1));
  }
  const auto required = static_cast<std::uint32_t>(
      std::count_if(plan.properties.begin(), plan.properties.end(), [](const Property& p) { return p.required; }));
  const bool min_counts = plan.min > required;
  const bool max_counts = plan.max != kUnbounded && (plan.other || plan.max < plan.properties.size());
  for (const Place& place : flat.places) {
    // A name may be written twice: as one member it would count for two.
    if (min_counts && plan.other && plan.min > 1 && member(place, "minProperties"))
      refuse_keyword(place, "minProperties", "above 1 it is supported where additionalProperties is false");
    if ((min_counts && plan.min > kMaxCounted && member(place, "minProperties")) ||
        (max_counts && plan.max > kMaxCounted && member(place, "maxProperties")))
      refuse_keyword(place, member(place, "minProperties") ? "minProperties" : "maxProperties",
                     "it is supported up to " + std::to_string(kMaxCounted));
  }
  plan.counts = min_counts || max_counts;
  return write_members(network_.text(from, "{"), plan);
}

// Positions are made as they are reached: how many properties were passed, whether a comma is due, how many members
// there are (where that matters) and which of them others depend on.
PositionId SchemaCompiler::write_members(PositionId open, const ObjectPlan& plan) {
  struct Stage {
    std::size_t index;
    bool comma;
    std::uint32_t count, bits;
    auto operator<=>(const Stage&) const = default;
  };
  const std::uint32_t top = plan.counts ? std::max(plan.min, plan.max == kUnbounded ? 0 : plan.max) : 0;
  std::map<Stage, PositionId> places;
  std::vector<Stage> queue;
  const auto at = [&](const Stage& key) {
    const auto [entry, added] = places.try_emplace(key, 0);
    if (added) {
      entry->second = network_.add_beside(open);
      queue.push_back(key);
    }
    return entry->second;
  };
  const PositionId close = network_.add_beside(open);
  network_.skip(open, at({0, false, 0, 0}));
  for (std::size_t next = 0; next < queue.size(); ++next) {
    const Stage key = queue[next];
    const PositionId here = at(key);
    const bool room = !plan.counts || plan.max == kUnbounded || key.count < plan.max;
    const std::uint32_t count = plan.counts ? std::min(key.count + 1, top) : 0;
    const auto write = [&](RuleId member, const Stage& to) {
      const PositionId begin = key.comma ? json_.comma(here) : here;
      network_.add_call(begin, member, at(to));
    };
    if (key.index < plan.properties.size()) {
      const Property& property = plan.properties[key.index];
      if (room) write(property.member, {key.index + 1, true, count, key.bits | property.bit});
      if (!property.required) network_.skip(here, at({key.index + 1, key.comma, key.count, key.bits}));
      continue;
    }
    if (room && plan.other) write(*plan.other, {key.index, true, count, key.bits});
    const bool satisfied = std::all_of(plan.dependent.begin(), plan.dependent.end(), [&](const auto& rule) {
      return !(key.bits & rule.first) || (key.bits & rule.second) == rule.second;
    });
    if (satisfied && (!plan.counts || key.count >= plan.min)) network_.skip(here, close);
  }
  return network_.text(close, "}");
}

}  // namespace nacelle::constrain
