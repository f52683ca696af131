// Filters over lists, dicts and strings as sequences.
#include <algorithm>
#include <charconv>

#include "core/chat/builtins.hpp"
#include "core/chat/operators.hpp"
#include "core/chat/renderer.hpp"
#include "core/chat/text.hpp"

namespace nacelle::jinja {

using Kind = Value::Kind;

namespace {

Value undefined(const char* what) { return Value::undefined(std::make_shared<const Text>(what)); }

Value fold_case(const Value& value, Heap& heap) {
  return value.is_string() ? heap.text(change_case(value.text(), Case::kLower)) : value;
}

// item.a.b.0 for the path "a.b.0"; a number or None also serves as a path.
Value follow(Call& call, Value value, const Value& path, const Value& fallback = {}) {
  if (path.is_none()) return value;
  if (!path.is_string()) return get_item(call.renderer, value, path);
  std::string_view rest = path.text();
  while (true) {
    const std::size_t dot = std::min(rest.find('.'), rest.size());
    const std::string_view part = rest.substr(0, dot);
    std::int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = error == std::errc() && end == part.data() + part.size() && index >= 0;
    value = get_item(call.renderer, value, number ? Value(index) : call.heap.text(std::string(part)));
    if (value.is_undefined() && !fallback.is_missing() && !fallback.is_none()) value = fallback;
    if (dot == rest.size()) return value;
    rest.remove_prefix(dot + 1);
  }
}

Value path_argument(const Call& call, std::size_t i) { return call.has(i) ? call[i] : Value(None{}); }

Value count(Call& call) { return length(call.self, call.heap); }
Value list(Call& call) { return call.heap.list(elements(call.self, call.heap)); }

Value first(Call& call) {
  if (call.self.is(Kind::kString) || call.self.is(Kind::kList)) {
    const Value found = item(call.self, Value(std::int64_t{0}), call.heap);
    return found.is_missing() ? undefined("the first item of an empty sequence") : found;
  }
  const std::vector<Value> items = elements(call.self, call.heap);
  return items.empty() ? undefined("the first item of an empty sequence") : items.front();
}

Value last(Call& call) {
  if (call.self.is(Kind::kString) || call.self.is(Kind::kList)) {
    const Value found = item(call.self, Value(std::int64_t{-1}), call.heap);
    return found.is_missing() ? undefined("the last item of an empty sequence") : found;
  }
  const std::vector<Value> items = elements(call.self, call.heap);
  return items.empty() ? undefined("the last item of an empty sequence") : items.back();
}

Value join(Call& call) {
  const std::string separator = call.has(0) ? to_text(call[0], call.heap) : "";
  std::string out;
  bool begun = false;
  for (const Value& item : elements(call.self, call.heap)) {
    if (begun) out += separator;
    begun = true;
    append_text(out, follow(call, item, path_argument(call, 1)), call.heap);
    call.heap.spend(1);
    call.heap.check_room(out.size());
  }
  return call.heap.text(std::move(out));
}

Value reverse(Call& call) {
  std::vector<Value> items = elements(call.self, call.heap);
  std::reverse(items.begin(), items.end());
  if (!call.self.is_string()) return call.heap.list(std::move(items));
  std::string out;
  for (const Value& point : items) out += point.text();
  return call.heap.text(std::move(out));
}

// Arguments of map, select and their like that follow the first `skipped`, for the filter or test that they name.
Arguments rest_of(const Call& call, std::size_t skipped) {
  Arguments rest;
  const auto& all = call.arguments.positional;
  rest.positional.assign(all.begin() + static_cast<std::ptrdiff_t>(skipped), all.end());
  rest.named = call.arguments.named;
  return rest;
}

const std::string& name_argument(const Call& call, std::size_t i) {
  const Value& name = call.arguments.positional[i];
  if (!name.is_string()) call.refuse("needs the name of a filter or test as a string");
  return name.text();
}

Value map_attribute(Call& call) {
  Value path(None{}), fallback;
  for (const auto& [name, value] : call.arguments.named) {
    if (name->bytes == "attribute")
      path = value;
    else if (name->bytes == "default")
      fallback = value;
    else
      call.refuse("takes no argument '" + name->bytes + "'");
  }
  if (path.is_none()) call.refuse("needs the name of a filter, or 'attribute'");
  std::vector<Value> out;
  for (const Value& item : elements(call.self, call.heap)) {
    call.heap.spend(1);
    out.push_back(follow(call, item, path, fallback));
  }
  return call.heap.list(std::move(out));
}

Value map(Call& call) {
  if (call.arguments.positional.empty()) return map_attribute(call);
  const std::string& name = name_argument(call, 0);
  const Builtin* filter = find_filter(name);
  if (!filter) call.refuse("names a filter '" + name + "' that does not exist");
  const Arguments rest = rest_of(call, 1);
  std::vector<Value> out;
  for (const Value& item : elements(call.self, call.heap)) {
    call.heap.spend(1);
    out.push_back(call_builtin(*filter, call.renderer, item, rest));
  }
  return call.heap.list(std::move(out));
}

Value choose(Call& call, bool by_attribute, bool wanted) {
  const auto& arguments = call.arguments.positional;
  const std::size_t skipped = by_attribute ? 1 : 0;
  if (arguments.size() < skipped) call.refuse("needs the name of an attribute");
  const Builtin* test = nullptr;
  if (arguments.size() > skipped) {
    const std::string& name = name_argument(call, skipped);
    test = find_test(name);
    if (!test) call.refuse("names a test '" + name + "' that does not exist");
  }
  const Arguments rest = test ? rest_of(call, skipped + 1) : Arguments();
  std::vector<Value> out;
  for (const Value& item : elements(call.self, call.heap)) {
    call.heap.spend(1);
    const Value tested = by_attribute ? follow(call, item, arguments[0]) : item;
    const Value verdict = test ? call_builtin(*test, call.renderer, tested, rest) : tested;
    if (truthy(verdict, call.heap) == wanted) out.push_back(item);
  }
  return call.heap.list(std::move(out));
}

Value select(Call& call) { return choose(call, false, true); }
Value reject(Call& call) { return choose(call, false, false); }
Value selectattr(Call& call) { return choose(call, true, true); }
Value rejectattr(Call& call) { return choose(call, true, false); }

// A value and what it is sorted or grouped by.
struct Keyed {
  Value key, value;
};

void sort_keyed(std::vector<Keyed>& items, bool descending, Heap& heap) {
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    heap.spend(1);
    return descending ? less(b.key, a.key, heap) : less(a.key, b.key, heap);
  });
}

std::vector<Value> values_of(std::vector<Keyed>& items) {
  std::vector<Value> out;
  out.reserve(items.size());
  for (Keyed& item : items) out.push_back(std::move(item.value));
  return out;
}

// The list of `paths`' values, which "a,b" separates by commas.
Value sort_key(Call& call, const Value& item, const Value& paths, bool case_sensitive) {
  std::vector<Value> keys;
  const auto add = [&](const Value& path) {
    const Value key = follow(call, item, path);
    keys.push_back(case_sensitive ? key : fold_case(key, call.heap));
  };
  if (!paths.is_string()) {
    add(paths);
    return keys[0];
  }
  std::string_view rest = paths.text();
  for (std::size_t comma; (comma = rest.find(',')) != std::string_view::npos; rest.remove_prefix(comma + 1)) {
    add(call.heap.text(std::string(rest.substr(0, comma))));
  }
  add(call.heap.text(std::string(rest)));
  return call.heap.list(std::move(keys));
}

Value sort(Call& call) {
  std::vector<Keyed> items;
  for (const Value& item : elements(call.self, call.heap)) {
    items.push_back({sort_key(call, item, path_argument(call, 2), call.flag(1, false)), item});
  }
  sort_keyed(items, call.flag(0, false), call.heap);
  return call.heap.list(values_of(items));
}

Value pairs(const Dict& dict, Heap& heap) {
  std::vector<Value> out;
  for (const auto& [key, value] : dict.entries) out.push_back(heap.tuple({key, value}));
  return heap.list(std::move(out));
}

Value dictsort(Call& call) {
  if (call.self.is_undefined()) refuse_undefined(call.self);
  if (!call.self.is(Kind::kDict)) call.refuse("needs a dict");
  const std::string by = call.has(1) ? call.text(1) : "key";
  if (by != "key" && by != "value") call.refuse("sorts by 'key' or 'value'");
  std::vector<Keyed> items;
  for (const Value& pair : pairs(*call.self.dict(), call.heap).list()->items) {
    const Value& key = pair.list()->items[by == "key" ? 0 : 1];
    items.push_back({call.flag(0, false) ? key : fold_case(key, call.heap), pair});
  }
  sort_keyed(items, call.flag(2, false), call.heap);
  return call.heap.list(values_of(items));
}

Value items(Call& call) {
  if (call.self.is_undefined()) return call.heap.list({});
  if (!call.self.is(Kind::kDict)) call.refuse("needs a dict");
  return pairs(*call.self.dict(), call.heap);
}

Value unique(Call& call) {
  Dict* seen = call.heap.dict();
  std::vector<Value> out;
  for (const Value& item : elements(call.self, call.heap)) {
    Value key = follow(call, item, path_argument(call, 1));
    if (!call.flag(0, false)) key = fold_case(key, call.heap);
    call.heap.spend(1);
    if (call.heap.find(*seen, key)) continue;
    call.heap.set(*seen, key, Value(true));
    out.push_back(item);
  }
  return call.heap.list(std::move(out));
}

Value extreme(Call& call, bool greatest) {
  Keyed best;
  bool found = false;
  for (const Value& item : elements(call.self, call.heap)) {
    Value key = follow(call, item, path_argument(call, 1));
    if (!call.flag(0, false)) key = fold_case(key, call.heap);
    call.heap.spend(1);
    if (!found || (greatest ? less(best.key, key, call.heap) : less(key, best.key, call.heap))) best = {key, item};
    found = true;
  }
  return found ? best.value : undefined("the extreme of an empty sequence");
}

Value min(Call& call) { return extreme(call, false); }
Value max(Call& call) { return extreme(call, true); }

Value sum(Call& call) {
  Value total = call.has(1) ? call[1] : Value(std::int64_t{0});
  if (total.is_string()) call.refuse("cannot add strings; use join");
  for (const Value& item : elements(call.self, call.heap)) {
    call.heap.spend(1);
    total = arithmetic(BinaryOp::kAdd, total, follow(call, item, path_argument(call, 0)), call.heap);
  }
  return total;
}

Value batch(Call& call) {
  const std::int64_t size = call.integer(0, 0);
  if (size < 1) call.refuse("needs a positive size");
  const std::vector<Value> all = elements(call.self, call.heap);
  const auto width = static_cast<std::size_t>(size);
  std::vector<Value> out;
  for (std::size_t i = 0; i < all.size();) {
    const std::size_t end = width < all.size() - i ? i + width : all.size();
    std::vector<Value> row(all.begin() + static_cast<std::ptrdiff_t>(i),
                           all.begin() + static_cast<std::ptrdiff_t>(end));
    if (call.has_value(1)) {
      call.heap.check_room(width, sizeof(Value));
      row.resize(width, call[1]);
    }
    out.push_back(call.heap.list(std::move(row)));
    i = end;
  }
  return call.heap.list(std::move(out));
}

Value slice_into(Call& call) {
  const std::int64_t slices = call.integer(0, 0);
  if (slices < 1) call.refuse("needs a positive number of slices");
  call.heap.check_room(static_cast<std::size_t>(slices), sizeof(Value) + sizeof(List));
  const std::vector<Value> all = elements(call.self, call.heap);
  const std::size_t each = all.size() / static_cast<std::size_t>(slices);
  const std::size_t longer = all.size() % static_cast<std::size_t>(slices);
  std::vector<Value> out;
  auto next = all.begin();
  for (std::size_t i = 0; i < static_cast<std::size_t>(slices); ++i) {
    call.heap.spend(1);
    const auto end = next + static_cast<std::ptrdiff_t>(each + (i < longer ? 1 : 0));
    std::vector<Value> row(next, end);
    if (call.has_value(1) && i >= longer) row.push_back(call[1]);
    out.push_back(call.heap.list(std::move(row)));
    next = end;
  }
  return call.heap.list(std::move(out));
}

Value groupby(Call& call) {
  const bool case_sensitive = call.flag(2, false);
  const Value fallback = call.has(1) ? call[1] : Value();
  std::vector<Keyed> items;
  for (const Value& item : elements(call.self, call.heap)) {
    const Value key = follow(call, item, call[0], fallback);
    items.push_back({case_sensitive ? key : fold_case(key, call.heap), item});
  }
  sort_keyed(items, false, call.heap);
  std::vector<Value> out;
  for (std::size_t i = 0; i < items.size();) {
    std::vector<Value> members;
    const std::size_t start = i;
    for (; i < items.size() && equal(items[i].key, items[start].key, call.heap); ++i) members.push_back(items[i].value);
    if (members.empty()) members.push_back(items[i++].value);  // NaN equals nothing, itself included
    const Value key = follow(call, members[0], call[0], fallback);
    out.push_back(call.heap.list({key, call.heap.list(std::move(members))}, List::Flavour::kGroup));
  }
  return call.heap.list(std::move(out));
}

// Unlike object.name, never an item.
Value attr(Call& call) {
  const bool has_members = call.self.is(Kind::kObject) || find_method(call.self, call.text(0));
  if (!has_members) return Value::undefined(call[0].text_ptr());
  return get_attribute(call.renderer, call.self, call[0].text_ptr());
}

constexpr Builtin kSequenceFilters[] = {
    {"length", count},
    {"count", count},
    {"first", first},
    {"last", last},
    {"list", list},
    {"join", join, 0, {"d", "attribute"}},
    {"map", map, Builtin::kVariadic},
    {"select", select, Builtin::kVariadic},
    {"reject", reject, Builtin::kVariadic},
    {"selectattr", selectattr, Builtin::kVariadic},
    {"rejectattr", rejectattr, Builtin::kVariadic},
    {"items", items},
    {"dictsort", dictsort, 0, {"case_sensitive", "by", "reverse"}},
    {"sort", sort, 0, {"reverse", "case_sensitive", "attribute"}},
    {"unique", unique, 0, {"case_sensitive", "attribute"}},
    {"reverse", reverse},
    {"min", min, 0, {"case_sensitive", "attribute"}},
    {"max", max, 0, {"case_sensitive", "attribute"}},
    {"sum", sum, 0, {"attribute", "start"}},
    {"batch", batch, 1, {"linecount", "fill_with"}},
    {"slice", slice_into, 1, {"slices", "fill_with"}},
    {"groupby", groupby, 1, {"attribute", "default", "case_sensitive"}},
    {"attr", attr, 1, {"name"}},
};

}  // namespace

std::span<const Builtin> sequence_filters() { return kSequenceFilters; }

}  // namespace nacelle::jinja
