// From schemas to rules. The unit is a *set* of schemas that must all hold of one value: allOf and $ref add to the set,
// anyOf and oneOf multiply it out into alternatives, and a rule is made once a set, so recursive schemas end.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/constrain/decimal.hpp"
#include "core/constrain/json_rules.hpp"
#include "core/constrain/json_schema.hpp"
#include "core/constrain/regular.hpp"

namespace nacelle::constrain {

using Json = nlohmann::ordered_json;

// A schema and where it stands: "#/properties/a".
struct Place {
  const Json* schema = nullptr;
  std::string pointer;
  bool alone = false;  // only its own keywords count: its $ref, allOf, anyOf and oneOf were followed already
};
using Places = std::vector<Place>;

// The JSON pointer of a member.
std::string below(const std::string& pointer, std::string_view name);
[[noreturn]] void refuse_schema(const std::string& pointer, const std::string& why);                // not a schema
[[noreturn]] void refuse_keyword(const Place& place, const char* keyword, const std::string& why);  // not enforceable

// Checks a schema object's keywords: each is enforced, without effect, or refused by name.
void check_keywords(const Place& place, bool is_root);

// Typed access; each throws where the member has another type. nullptr where it is absent.
const Json* member(const Place& place, const char* keyword);
const Json* object_member(const Place& place, const char* keyword);
const Json* array_member(const Place& place, const char* keyword);
// 0 or more, also written 3.0; saturates at `most`.
std::uint32_t count_member(const Place& place, const char* keyword, std::uint32_t otherwise, std::uint32_t most);

// A document's $ref targets.
class SchemaReferences {
 public:
  explicit SchemaReferences(const Json& root);
  Place find(const Place& from, const std::string& reference) const;

 private:
  void collect(const Json& schema, const std::string& pointer, unsigned depth);
  Place follow(const Place& from, const std::string& reference, std::string pointer) const;
  const Json& root_;
  std::string id_;
  std::map<std::string, Place, std::less<>> anchors_;
};

class SchemaCompiler {
 public:
  SchemaCompiler(Network& network, const Json& root, std::vector<OneOfCheck>& checks)
      : network_(network), root_(root), references_(root), json_(network), checks_(checks) {}
  RuleId compile();

 private:
  enum Type : std::uint32_t { kNull = 1, kBoolean = 2, kNumber = 4, kString = 8, kArray = 16, kObject = 32, kAny = 63 };
  // An alternative: schemas without references, taken together.
  struct Flat {
    Places places;
    std::uint32_t types = kAny;
    bool integers = false;
  };
  struct Choice {
    Place place;
    const char* keyword;
  };
  struct Expansion {
    Places todo, done;
    std::vector<Choice> choices;
  };

  // schema_compiler.cpp
  RuleId rule_for(Places places);
  void write_rule(RuleId rule, const Places& places);
  void expand(Expansion expansion, std::vector<Flat>& out);
  bool take(const Place& place, Expansion& expansion);
  void check_one_of(const Choice& choice, const Json& branches, const Places& done);
  void set_types(Flat& flat);
  PositionId write(PositionId from, const Flat& flat);
  bool write_values(PositionId from, const Flat& flat, PositionId end);

  // schema_scalars.cpp
  PositionId write_string(PositionId from, const Flat& flat);
  PositionId write_number(PositionId from, const Flat& flat);
  bool allows(const Flat& flat, const Json& value);
  PositionId write_value(PositionId from, const Json& value);
  // What a string must match beside its length; false where nothing is asked.
  bool string_conditions(const Flat& flat, Automaton& conditions);
  void limit_length(const Flat& flat, Automaton& texts);
  const Automaton& pattern(const Place& place, const std::string& text);

  // schema_arrays.cpp
  PositionId write_array(PositionId from, const Flat& flat);
  PositionId write_array_containing(PositionId from, const Flat& flat, const Place& contains);
  Places item_places(const Flat& flat, std::size_t index);

  // schema_objects.cpp
  struct Property;
  struct ObjectPlan;
  struct NamePattern;
  PositionId write_object(PositionId from, const Flat& flat);
  void plan_properties(const Flat& flat, ObjectPlan& plan);
  Places property_places(const Flat& flat, const std::string& name, bool& allowed);
  bool name_allowed(const Flat& flat, const std::string& name);
  void plan_other_names(const Flat& flat, ObjectPlan& plan);
  std::vector<NamePattern> name_patterns(const Flat& flat);
  bool other_names(const Flat& flat, const ObjectPlan& plan, Automaton& names);
  void write_other(PositionId start, const Flat& flat, const std::vector<NamePattern>& patterns, const Automaton* names,
                   std::uint32_t matched);
  PositionId write_members(PositionId open, const ObjectPlan& plan);

  Network& network_;
  const Json& root_;
  SchemaReferences references_;
  JsonRules json_;
  std::vector<OneOfCheck>& checks_;
  using Key = std::vector<std::pair<const Json*, bool>>;
  std::map<Key, RuleId> rules_;
  std::vector<std::pair<RuleId, Places>> queue_;            // rules to be written
  std::map<std::string, Automaton, std::less<>> patterns_;  // by their text
};

}  // namespace nacelle::constrain
