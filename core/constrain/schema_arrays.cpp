// Arrays: a chain of positions for prefixItems, a counted call for the rest.
#include <algorithm>
#include <set>

#include "core/constrain/schema_compiler.hpp"

namespace nacelle::constrain {
namespace {

// Of arrays with `contains`, whose places are written out one by one.
constexpr std::uint32_t kMaxWrittenItems = 64;

struct ItemCounts {
  std::uint32_t min = 0, max = kUnbounded, prefix = 0;
};

ItemCounts item_counts(const Places& places, const GrammarLimits& limits) {
  ItemCounts counts;
  for (const Place& place : places) {
    counts.min = std::max(counts.min, count_member(place, "minItems", 0, kUnbounded));
    if (counts.min > limits.repeats) refuse_keyword(place, "minItems", "it is above " + std::to_string(limits.repeats));
    counts.max = std::min(counts.max, count_member(place, "maxItems", kUnbounded, kUnbounded - 1));
    if (const Json* prefix = array_member(place, "prefixItems"))
      counts.prefix = std::max(counts.prefix, static_cast<std::uint32_t>(prefix->size()));
    if (const Json* items = member(place, "items"); items && items->is_array())
      refuse_schema(below(place.pointer, "items"), "it must be a schema; a list of schemas is now called prefixItems");
  }
  if (counts.max > limits.repeats) counts.max = kUnbounded;
  counts.prefix = std::min(counts.prefix, counts.max);
  return counts;
}

}  // namespace

// What holds of element `index`.
Places SchemaCompiler::item_places(const Flat& flat, std::size_t index) {
  Places places;
  for (const Place& place : flat.places) {
    const Json* prefix = array_member(place, "prefixItems");
    if (prefix && index < prefix->size()) {
      places.push_back({&(*prefix)[index], below(below(place.pointer, "prefixItems"), std::to_string(index))});
    } else if (const Json* items = member(place, "items")) {
      places.push_back({items, below(place.pointer, "items")});
    }
  }
  return places;
}

PositionId SchemaCompiler::write_array(PositionId from, const Flat& flat) {
  for (const Place& place : flat.places)
    if (const Json* contains = member(place, "contains");
        contains && count_member(place, "minContains", 1, kUnbounded) > 0)
      return write_array_containing(from, flat, {contains, below(place.pointer, "contains")});
  const ItemCounts counts = item_counts(flat.places, network_.limits());
  const PositionId open = network_.text(from, "["), close = network_.add_beside(from);
  const PositionId end = network_.text(close, "]");
  if (counts.max < counts.min) return end;  // `close` is never reached
  if (counts.min == 0) network_.skip(open, close);
  if (counts.max == 0) return end;

  const RuleId rest = rule_for(item_places(flat, counts.prefix));
  const std::uint32_t first = std::max(counts.prefix, 1u);  // elements that are written out
  PositionId at = open;
  for (std::uint32_t i = 0; i < first; ++i) {
    if (i > 0) at = json_.comma(at);
    at = network_.call(at, i < counts.prefix ? rule_for(item_places(flat, i)) : rest);
    if (i + 1 >= counts.min && i + 1 < first) network_.skip(at, close);
  }
  const std::uint32_t least = counts.min > first ? counts.min - first : 0;
  const std::uint32_t most = counts.max == kUnbounded ? kUnbounded : counts.max - first;
  if (least == 0) network_.skip(at, close);
  if (most == 0) return end;
  const RuleId more = network_.add_rule("more items");
  network_.accept(network_.call(json_.comma(network_.start(more)), rest));
  network_.add_call(at, more, close, std::max(least, 1u), most);
  return end;
}

// Each element is written as any, or as one that counts for `contains`; what counts may also be written as any, which
// costs nothing: enough of them must be known in the end.
PositionId SchemaCompiler::write_array_containing(PositionId from, const Flat& flat, const Place& contains) {
  const ItemCounts counts = item_counts(flat.places, network_.limits());
  std::uint32_t wanted = 1;
  std::size_t containing = 0;
  for (const Place& place : flat.places) {
    if (!member(place, "contains") || count_member(place, "minContains", 1, kUnbounded) == 0) continue;
    if (++containing > 1) refuse_keyword(place, "contains", "several hold at once here");
    wanted = count_member(place, "minContains", 1, kUnbounded);
  }
  const std::uint32_t bound = std::max({counts.prefix, counts.min, counts.max == kUnbounded ? 0 : counts.max, wanted});
  if (bound > kMaxWrittenItems)
    refuse_keyword(flat.places.front(), "contains",
                   "beside it, minItems, maxItems and minContains must be at most " + std::to_string(kMaxWrittenItems));
  const PositionId open = network_.text(from, "["), close = network_.add_beside(from);
  const PositionId end = network_.text(close, "]");
  // places[i][c]: i elements are written (`bound`: or more), c of them count.
  std::vector<std::vector<PositionId>> at(bound + 1);
  for (auto& row : at)
    for (std::uint32_t c = 0; c <= wanted; ++c) row.push_back(network_.add_beside(from));
  network_.skip(open, at[0][0]);
  for (std::uint32_t i = 0; i <= bound; ++i) {
    const std::uint32_t next = std::min(i + 1, bound);
    Places any = item_places(flat, i), counted = any;
    counted.push_back(contains);
    const RuleId any_rule = rule_for(any), counted_rule = rule_for(counted);
    for (std::uint32_t c = 0; c <= wanted; ++c) {
      if (i >= counts.min && c == wanted) network_.skip(at[i][c], close);
      if (counts.max != kUnbounded && i >= counts.max) continue;
      const PositionId element = i == 0 ? at[i][c] : json_.comma(at[i][c]);
      network_.add_call(element, any_rule, at[next][c]);
      if (c < wanted) network_.add_call(element, counted_rule, at[next][c + 1]);
    }
  }
  return end;
}

}  // namespace nacelle::constrain
