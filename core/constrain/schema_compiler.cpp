// Sets of schemas, their alternatives, and the rule of each set.
#include "core/constrain/schema_compiler.hpp"

#include <algorithm>
#include <set>

#include "core/base/error.hpp"
#include "core/formats/bounded_json.hpp"

namespace nacelle::constrain {
namespace {

constexpr std::size_t kMaxDepth = 200;  // of a schema: what looks at it goes as deep with the stack

}  // namespace

RuleId SchemaCompiler::compile() {
  const RuleId root = rule_for({{&root_, "#"}});
  while (!queue_.empty()) {
    auto [rule, places] = std::move(queue_.back());
    queue_.pop_back();
    network_.check_time();
    write_rule(rule, places);
  }
  return root;
}

// One rule for each set; it is written later, so that recursion ends.
RuleId SchemaCompiler::rule_for(Places places) {
  std::erase_if(places, [](const Place& place) { return place.schema->is_boolean() && place.schema->get<bool>(); });
  if (places.empty()) return json_.value();
  Key key;
  for (const Place& place : places) key.emplace_back(place.schema, place.alone);
  std::sort(key.begin(), key.end());
  key.erase(std::unique(key.begin(), key.end()), key.end());
  const auto [entry, added] = rules_.try_emplace(std::move(key), 0);
  if (!added) return entry->second;
  const RuleId rule = entry->second = network_.add_rule(places.front().pointer);
  queue_.emplace_back(rule, std::move(places));
  return rule;
}

void SchemaCompiler::write_rule(RuleId rule, const Places& places) {
  std::vector<Flat> alternatives;
  expand({places, {}, {}}, alternatives);
  const PositionId end = network_.add(rule);
  network_.accept(end);
  for (const Flat& flat : alternatives) {
    const PositionId begin = network_.add(rule);
    network_.skip(network_.start(rule), begin);
    network_.skip(write(begin, flat), end);
  }
}

// Takes one schema into an alternative; false where nothing satisfies it.
bool SchemaCompiler::take(const Place& place, Expansion& expansion) {
  if (place.schema->is_boolean()) return place.schema->get<bool>();
  if (!place.schema->is_object()) refuse_schema(place.pointer, "a schema must be an object, true or false");
  const auto same = [&](const Place& other) { return other.schema == place.schema; };
  if (std::any_of(expansion.done.begin(), expansion.done.end(), same)) return true;
  check_keywords(place, place.schema == &root_);
  expansion.done.push_back(place);
  if (place.alone) return true;
  if (const Json* reference = member(place, "$ref")) {
    if (!reference->is_string()) refuse_schema(below(place.pointer, "$ref"), "it must be a string");
    expansion.todo.push_back(references_.find(place, *reference));
  }
  if (const Json* all = array_member(place, "allOf"))
    for (std::size_t i = 0; i < all->size(); ++i)
      expansion.todo.push_back({&(*all)[i], below(below(place.pointer, "allOf"), std::to_string(i))});
  for (const char* keyword : {"anyOf", "oneOf"})
    if (const Json* some = array_member(place, keyword)) {
      if (some->empty()) refuse_schema(below(place.pointer, keyword), "it must not be empty");
      expansion.choices.push_back({place, keyword});
    }
  return true;
}

void SchemaCompiler::expand(Expansion e, std::vector<Flat>& out) {
  network_.check_time();
  for (std::size_t i = 0; i < e.todo.size(); ++i) {
    network_.check_time();          // each is looked for among all that were taken
    const Place place = e.todo[i];  // todo grows
    if (!take(place, e)) return;
  }
  e.todo.clear();
  if (e.choices.empty()) {
    Flat flat{std::move(e.done)};
    set_types(flat);
    out.push_back(std::move(flat));
    if (out.size() > network_.limits().alternatives)
      refuse_schema(out.back().places.front().pointer, "its anyOf and oneOf multiply out to more than " +
                                                           std::to_string(network_.limits().alternatives) +
                                                           " alternatives; use fewer at one place");
    return;
  }
  const Choice choice = e.choices.back();
  e.choices.pop_back();
  const Json& branches = (*choice.place.schema)[choice.keyword];
  if (std::string_view(choice.keyword) == "oneOf") check_one_of(choice, branches, e.done);
  for (std::size_t i = 0; i < branches.size(); ++i) {
    Expansion branch = e;
    branch.todo.push_back({&branches[i], below(below(choice.place.pointer, choice.keyword), std::to_string(i))});
    expand(std::move(branch), out);
  }
}

// Notes that no two branches may hold at once, beside what else is asked here.
void SchemaCompiler::check_one_of(const Choice& choice, const Json& branches, const Places& done) {
  constexpr std::size_t kMaxBranches = 64;
  const std::string pointer = below(choice.place.pointer, "oneOf");
  if (branches.size() > kMaxBranches)
    refuse_keyword(choice.place, "oneOf", "it has more than " + std::to_string(kMaxBranches) + " branches; use anyOf");
  Places context = done;
  for (Place& place : context) place.alone = true;
  for (std::size_t a = 0; a < branches.size(); ++a)
    for (std::size_t b = a + 1; b < branches.size(); ++b) {
      Places both = context;
      both.push_back({&branches[a], below(pointer, std::to_string(a))});
      both.push_back({&branches[b], below(pointer, std::to_string(b))});
      checks_.push_back({rule_for(std::move(both)),
                         "the schema's oneOf at " + pointer + ": its branches " + std::to_string(a) + " and " +
                             std::to_string(b) +
                             " allow some of the same values; make them exclude each other by a const property that is "
                             "required, or use anyOf"});
    }
}

void SchemaCompiler::set_types(Flat& flat) {
  static constexpr std::pair<std::string_view, std::uint32_t> kNames[] = {
      {"null", kNull},     {"boolean", kBoolean}, {"number", kNumber}, {"integer", kNumber},
      {"string", kString}, {"array", kArray},     {"object", kObject}};
  for (const Place& place : flat.places) {
    const Json* type = member(place, "type");
    if (!type) continue;
    std::uint32_t types = 0;
    bool integer = false, number = false;
    const auto add = [&](const Json& name) {
      const auto known = std::find_if(std::begin(kNames), std::end(kNames), [&](const auto& entry) {
        return name.is_string() && name == std::string(entry.first);
      });
      if (known == std::end(kNames))
        refuse_schema(below(place.pointer, "type"),
                      "it must be one or several of null, boolean, number, integer, string, array and object");
      types |= known->second;
      integer = integer || known->first == "integer";
      number = number || known->first == "number";
    };
    if (type->is_array())
      for (const Json& name : *type) add(name);
    else
      add(*type);
    flat.types &= types;
    flat.integers = flat.integers || (integer && !number);
  }
}

PositionId SchemaCompiler::write(PositionId from, const Flat& flat) {
  const PositionId end = network_.add_beside(from);
  if (write_values(from, flat, end)) return end;
  const auto branch = [&](Type type, auto&& writer) {
    if (!(flat.types & type)) return;
    const PositionId begin = network_.add_beside(from);
    network_.skip(from, begin);
    network_.skip(writer(begin), end);
  };
  branch(kNull, [&](PositionId at) { return network_.text(at, "null"); });
  branch(kBoolean, [&](PositionId at) { return read_any_of(network_, at, {"true", "false"}); });
  branch(kNumber, [&](PositionId at) { return write_number(at, flat); });
  branch(kString, [&](PositionId at) { return write_string(at, flat); });
  branch(kArray, [&](PositionId at) { return write_array(at, flat); });
  branch(kObject, [&](PositionId at) { return write_object(at, flat); });
  return end;
}

// enum and const: those values that all else allows. False where neither is there.
bool SchemaCompiler::write_values(PositionId from, const Flat& flat, PositionId end) {
  std::vector<const Json*> values;
  bool found = false;
  for (const Place& place : flat.places) {
    std::vector<const Json*> own;
    const Json* constant = member(place, "const");
    const Json* list = array_member(place, "enum");
    if (constant) own.push_back(constant);
    const auto keep = [&](auto&& allowed) {
      if (!std::exchange(found, true)) return void(values = own);
      std::erase_if(values, [&](const Json* value) {
        network_.check_time();  // both lists may be long
        return !allowed(*value);
      });
    };
    if (constant) keep([&](const Json& value) { return value == *constant; });
    own.clear();
    if (list)
      for (const Json& value : *list) own.push_back(&value);
    if (list)
      keep([&](const Json& value) {
        return std::any_of(own.begin(), own.end(), [&](const Json* v) { return *v == value; });
      });
  }
  if (!found) return false;
  std::set<std::string> texts;
  for (const Json* value : values) {
    if (!allows(flat, *value)) continue;
    if (value->is_structured())
      network_.skip(write_value(from, *value), end);
    else if (value->is_string())
      texts.insert(json_string(value->get_ref<const std::string&>()));
    else
      texts.insert(value->is_number() ? decimal_of(*value).text() : value->dump());
  }
  if (!texts.empty()) network_.skip(read_any_of(network_, from, {texts.begin(), texts.end()}), end);
  return true;
}

// ---- The public face

RuleId read_schema(Network& network, std::string_view schema, std::vector<OneOfCheck>& checks) {
  Json root;
  try {
    root = parse_bounded_json(schema, {.depth = kMaxDepth});
  } catch (const Error& error) {
    throw Error(ErrorKind::kInvalidArgument, "the schema is not valid JSON: " + std::string(error.what()));
  }
  return SchemaCompiler(network, root, checks).compile();
}

void check_one_of(const Network& network, const std::vector<OneOfCheck>& checks) {
  for (const OneOfCheck& check : checks)
    if (network.matches_something(check.overlap)) throw Error(ErrorKind::kUnsupported, check.message);
}

RuleId read_json_object(Network& network) { return JsonRules(network).object(); }

}  // namespace nacelle::constrain
