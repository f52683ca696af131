// The methods of lists and dicts. Those that change them work on this render's copy of the caller's context.
#include <algorithm>

#include "core/chat/builtins.hpp"
#include "core/chat/operators.hpp"

namespace nacelle::jinja {

using Kind = Value::Kind;

namespace {

std::vector<Value>& mutable_items(Call& call) {
  if (call.self.list()->flavour != List::Flavour::kList) call.refuse("would change a tuple");
  return call.self.list()->items;
}

Value append(Call& call) {
  mutable_items(call);
  call.heap.append(*call.self.list(), call[0]);
  return None{};
}

Value extend(Call& call) {
  mutable_items(call);
  for (const Value& item : elements(call[0], call.heap)) call.heap.append(*call.self.list(), item);
  return None{};
}

Value insert(Call& call) {
  auto& items = mutable_items(call);
  const auto size = static_cast<std::int64_t>(items.size());
  std::int64_t at = call.integer(0, 0);
  at = std::clamp<std::int64_t>(at < 0 ? at + size : at, 0, size);
  call.heap.append(*call.self.list(), call[1]);
  call.heap.spend(items.size() / 64);
  std::rotate(items.begin() + static_cast<std::ptrdiff_t>(at), items.end() - 1, items.end());
  return None{};
}

Value pop_item(Call& call) {
  auto& items = mutable_items(call);
  const auto size = static_cast<std::int64_t>(items.size());
  std::int64_t at = call.integer(0, -1);
  if (at < 0) at += size;
  if (at < 0 || at >= size) call.refuse("has no item at that index");
  call.heap.spend(items.size() / 64);
  Value taken = items[static_cast<std::size_t>(at)];
  items.erase(items.begin() + static_cast<std::ptrdiff_t>(at));
  return taken;
}

Value remove_item(Call& call) {
  auto& items = mutable_items(call);
  for (auto it = items.begin(); it != items.end(); ++it) {
    call.heap.spend(1);
    if (!equal(*it, call[0], call.heap)) continue;
    items.erase(it);
    return None{};
  }
  call.refuse("did not find its value");
}

Value index(Call& call) {
  const auto& items = call.self.list()->items;
  for (std::size_t i = 0; i < items.size(); ++i) {
    call.heap.spend(1);
    if (equal(items[i], call[0], call.heap)) return static_cast<std::int64_t>(i);
  }
  call.refuse("did not find its value");
}

Value count(Call& call) {
  std::int64_t hits = 0;
  for (const Value& item : call.self.list()->items) {
    call.heap.spend(1);
    hits += equal(item, call[0], call.heap);
  }
  return hits;
}

Value reverse(Call& call) {
  auto& items = mutable_items(call);
  call.heap.spend(items.size() / 8);
  std::reverse(items.begin(), items.end());
  return None{};
}

Value clear_list(Call& call) {
  mutable_items(call).clear();
  return None{};
}

Value copy_list(Call& call) { return call.heap.list(call.self.list()->items, call.self.list()->flavour); }

Value get(Call& call) {
  const Value* found = call.heap.find(*call.self.dict(), call[0]);
  if (found) return *found;
  return call.has(1) ? call[1] : Value(None{});
}

Value keys(Call& call) { return call.heap.list(elements(call.self, call.heap)); }

Value values(Call& call) {
  std::vector<Value> out;
  for (const auto& entry : call.self.dict()->entries) out.push_back(entry.second);
  return call.heap.list(std::move(out));
}

Value items(Call& call) {
  std::vector<Value> out;
  for (const auto& [key, value] : call.self.dict()->entries) out.push_back(call.heap.tuple({key, value}));
  return call.heap.list(std::move(out));
}

void merge(Call& call, Dict& into, const Value& from) {
  if (from.is(Kind::kDict)) {
    const auto entries = from.dict()->entries;  // a copy: `into` may be the same dict
    for (const auto& [key, value] : entries) call.heap.set(into, key, value);
    return;
  }
  for (const Value& pair : elements(from, call.heap)) {
    const std::vector<Value> two = elements(pair, call.heap);
    if (two.size() != 2) call.refuse("needs a dict or a list of pairs");
    call.heap.set(into, two[0], two[1]);
  }
}

Value update(Call& call) {
  for (const Value& from : call.arguments.positional) merge(call, *call.self.dict(), from);
  for (const auto& [name, value] : call.arguments.named) call.heap.set(*call.self.dict(), Value(name), value);
  return None{};
}

Value pop_key(Call& call) {
  Dict& dict = *call.self.dict();
  const Value* found = call.heap.find(dict, call[0]);
  if (!found) {
    if (call.has(1)) return call[1];
    call.refuse("has no such key");
  }
  Value taken = *found;
  const auto at =
      std::find_if(dict.entries.begin(), dict.entries.end(), [&](auto& entry) { return &entry.second == found; });
  dict.entries.erase(at);
  return taken;
}

Value setdefault(Call& call) {
  if (const Value* found = call.heap.find(*call.self.dict(), call[0])) return *found;
  Value fallback = call.has(1) ? call[1] : Value(None{});
  call.heap.set(*call.self.dict(), call[0], fallback);
  return fallback;
}

Value clear_dict(Call& call) {
  call.self.dict()->entries.clear();
  return None{};
}

Value copy_dict(Call& call) {
  Dict* copy = call.heap.dict();
  merge(call, *copy, call.self);
  return Value(copy);
}

constexpr Builtin kListMethods[] = {
    {"append", append, 1, {"object"}},
    {"extend", extend, 1, {"iterable"}},
    {"insert", insert, 2, {"index", "object"}},
    {"pop", pop_item, 0, {"index"}},
    {"remove", remove_item, 1, {"value"}},
    {"index", index, 1, {"value"}},
    {"count", count, 1, {"value"}},
    {"reverse", reverse},
    {"clear", clear_list},
    {"copy", copy_list},
};

constexpr Builtin kDictMethods[] = {
    {"get", get, 1, {"key", "default"}},
    {"items", items},
    {"keys", keys},
    {"values", values},
    {"update", update, Builtin::kVariadic},
    {"pop", pop_key, 1, {"key", "default"}},
    {"setdefault", setdefault, 1, {"key", "default"}},
    {"clear", clear_dict},
    {"copy", copy_dict},
};

}  // namespace

std::span<const Builtin> list_methods() { return kListMethods; }
std::span<const Builtin> dict_methods() { return kDictMethods; }

}  // namespace nacelle::jinja
