// Strings, numbers, and the values of enum and const.
#include <algorithm>
#include <array>
#include <optional>

#include "core/base/error.hpp"
#include "core/constrain/formats.hpp"
#include "core/constrain/regex.hpp"
#include "core/constrain/schema_compiler.hpp"
#include "core/tokenizer/unicode.hpp"

namespace nacelle::constrain {
namespace {

struct LengthBounds {
  std::uint32_t min = 0, max = kUnbounded;
};

LengthBounds length_bounds(const Places& places, const char* min, const char* max, const GrammarLimits& limits) {
  LengthBounds bounds;
  for (const Place& place : places) {
    bounds.min = std::max(bounds.min, count_member(place, min, 0, kUnbounded));
    if (bounds.min > limits.repeats) refuse_keyword(place, min, "it is above " + std::to_string(limits.repeats));
    bounds.max = std::min(bounds.max, count_member(place, max, kUnbounded, kUnbounded - 1));
  }
  // Nobody generates as much: no bound in effect.
  if (bounds.max > limits.repeats) bounds.max = kUnbounded;
  return bounds;
}

// Texts of `min` to `max` code points, of UTF-8 that something else checks.
Automaton length_automaton(const LengthBounds& bounds) {
  Automaton a;
  a.class_count = 2;
  for (unsigned byte = 0x80; byte < 0xC0; ++byte) a.class_of[byte] = 1;
  const bool open = bounds.max == kUnbounded;
  const std::uint32_t last = open ? bounds.min : bounds.max;
  for (std::uint32_t length = 0; length <= last; ++length) {
    a.accepts.push_back(length >= bounds.min);
    a.next.push_back(length < last ? static_cast<std::int32_t>(length + 1)
                                   : (open ? static_cast<std::int32_t>(length) : Automaton::kDead));
    a.next.push_back(static_cast<std::int32_t>(length));
  }
  return a;
}

std::size_t count_code_points(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

struct NumberBounds {
  struct Bound {
    Decimal value;
    bool lower, strict;
  };
  std::vector<Bound> bounds;
  std::vector<Decimal> steps;
};

NumberBounds number_bounds(const Places& places) {
  struct Keyword {
    const char* name;
    bool lower, strict;
  };
  static constexpr Keyword kKeywords[] = {{"minimum", true, false},
                                          {"exclusiveMinimum", true, true},
                                          {"maximum", false, false},
                                          {"exclusiveMaximum", false, true}};
  NumberBounds result;
  for (const Place& place : places) {
    for (const Keyword& keyword : kKeywords)
      if (const Json* value = member(place, keyword.name)) {
        if (!value->is_number()) refuse_schema(below(place.pointer, keyword.name), "it must be a number");
        result.bounds.push_back({decimal_of(*value), keyword.lower, keyword.strict});
        const Decimal& bound = result.bounds.back().value;
        if (bound.whole.size() > kMostDigits || bound.fraction.size() > kMostDigits)
          refuse_keyword(place, keyword.name, "it has more than " + std::to_string(kMostDigits) + " digits");
      }
    if (const Json* step = member(place, "multipleOf")) {
      if (!step->is_number() || step->get<double>() <= 0)
        refuse_schema(below(place.pointer, "multipleOf"), "it must be a number above 0");
      result.steps.push_back(decimal_of(*step));
    }
  }
  return result;
}

}  // namespace

// ---- Strings

const Automaton& SchemaCompiler::pattern(const Place& place, const std::string& text) {
  const auto found = patterns_.find(text);
  if (found != patterns_.end()) return found->second;
  try {
    check_pattern_size(text, network_.limits());
    return patterns_.emplace(text, search_automaton(text, network_.limits())).first->second;
  } catch (const Error& error) {
    throw Error(error.kind(), std::string(error.what()) + ", in the schema at " + place.pointer);
  }
}

bool SchemaCompiler::string_conditions(const Flat& flat, Automaton& conditions) {
  bool any = false;
  const auto add = [&](const Automaton& one) {
    conditions = any ? intersection(conditions, one, network_.limits()) : one;
    any = true;
  };
  for (const Place& place : flat.places) {
    if (const Json* text = member(place, "pattern")) {
      if (!text->is_string()) refuse_schema(below(place.pointer, "pattern"), "it must be a string");
      add(pattern({text, below(place.pointer, "pattern")}, *text));
    }
    if (const Json* name = member(place, "format")) {
      if (!name->is_string()) refuse_schema(below(place.pointer, "format"), "it must be a string");
      const Automaton* format = format_automaton(name->get_ref<const std::string&>());
      if (!format)
        refuse_keyword(place, "format",
                       "the formats known here are " + known_formats() + "; leave it out or use a pattern");
      add(*format);
    }
  }
  return any;
}

// Keeps the texts of the length that is asked.
void SchemaCompiler::limit_length(const Flat& flat, Automaton& texts) {
  const LengthBounds bounds = length_bounds(flat.places, "minLength", "maxLength", network_.limits());
  if (bounds.min == 0 && bounds.max == kUnbounded) return;
  const std::uint32_t largest = bounds.max == kUnbounded ? bounds.min : bounds.max;
  if (largest > network_.limits().automaton_states)
    refuse_keyword(
        flat.places.front(), bounds.max == kUnbounded ? "minLength" : "maxLength",
        "beside a pattern or format it must be at most " + std::to_string(network_.limits().automaton_states));
  texts = intersection(texts, length_automaton(bounds), network_.limits());
}

PositionId SchemaCompiler::write_string(PositionId from, const Flat& flat) {
  const LengthBounds bounds = length_bounds(flat.places, "minLength", "maxLength", network_.limits());
  if (bounds.max < bounds.min) return network_.add_beside(from);  // a dead end
  Automaton texts;
  if (!string_conditions(flat, texts)) return network_.call(from, json_.string(bounds.min, bounds.max));
  limit_length(flat, texts);
  const PositionId inside = network_.text(from, "\"");
  return network_.text(read_automaton_escaped(network_, inside, texts), "\"");
}

// ---- Numbers

PositionId SchemaCompiler::write_number(PositionId from, const Flat& flat) {
  const NumberBounds asked = number_bounds(flat.places);
  if (asked.bounds.empty() && asked.steps.empty())
    return network_.call(from, flat.integers ? json_.integer() : json_.number());
  Automaton texts = number_texts(flat.integers);
  const GrammarLimits& limits = network_.limits();
  for (const auto& bound : asked.bounds)
    texts = intersection(texts, bounded_numbers(bound.value, bound.lower, bound.strict, flat.integers, limits), limits);
  for (const Decimal& step : asked.steps) texts = intersection(texts, multiples(step, flat.integers, limits), limits);
  return read_automaton(network_, from, texts);
}

// ---- enum and const

bool SchemaCompiler::allows(const Flat& flat, const Json& value) {
  const GrammarLimits& limits = network_.limits();
  network_.check_time();  // a list may be long
  if (value.is_null()) return flat.types & kNull;
  if (value.is_boolean()) return flat.types & kBoolean;
  if (value.is_string()) {
    if (!(flat.types & kString)) return false;
    const auto& text = value.get_ref<const std::string&>();
    const LengthBounds bounds = length_bounds(flat.places, "minLength", "maxLength", limits);
    const std::size_t length = count_code_points(text);
    Automaton conditions;
    return length >= bounds.min && length <= bounds.max &&
           (!string_conditions(flat, conditions) || conditions.matches(text));
  }
  if (value.is_number()) {
    const Decimal number = decimal_of(value);
    if (!(flat.types & kNumber) || (flat.integers && !number.fraction.empty())) return false;
    const NumberBounds asked = number_bounds(flat.places);
    for (const auto& bound : asked.bounds) {
      const int order = compare(number, bound.value);
      if (order == 0 ? bound.strict : (order < 0) == bound.lower) return false;
    }
    return std::all_of(asked.steps.begin(), asked.steps.end(),
                       [&](const Decimal& step) { return multiples(step, false, limits).matches(number.text()); });
  }
  if (!(flat.types & (value.is_array() ? kArray : kObject))) return false;
  static constexpr std::array kOfArrays = {"items", "prefixItems", "minItems", "maxItems", "contains"};
  static constexpr std::array kOfObjects = {"properties",    "patternProperties", "additionalProperties",
                                            "propertyNames", "required",          "minProperties",
                                            "maxProperties", "dependentRequired"};
  const auto check = [&](const auto& keywords) {
    for (const Place& place : flat.places)
      for (const char* keyword : keywords)
        if (member(place, keyword))
          refuse_keyword(place, keyword, "it stands beside an enum or const that holds arrays or objects");
  };
  value.is_array() ? check(kOfArrays) : check(kOfObjects);
  return true;
}

// Arrays and objects as they are written in the schema.
PositionId SchemaCompiler::write_value(PositionId from, const Json& value) {
  if (value.is_string()) return network_.text(from, json_string(value.get_ref<const std::string&>()));
  if (value.is_number()) return network_.text(from, decimal_of(value).text());
  if (!value.is_structured()) return network_.text(from, value.dump());
  from = network_.text(from, value.is_array() ? "[" : "{");
  bool first = true;
  for (const auto& [name, item] : value.items()) {
    if (!std::exchange(first, false)) from = json_.comma(from);
    if (value.is_object()) from = json_.colon(network_.text(from, json_string(name)));
    from = write_value(from, item);
  }
  return network_.text(from, value.is_array() ? "]" : "}");
}

}  // namespace nacelle::constrain
