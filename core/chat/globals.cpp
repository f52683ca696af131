// The functions that every template can call.
#include "core/chat/builtins.hpp"
#include "core/chat/format.hpp"
#include "core/chat/objects.hpp"
#include "core/chat/operators.hpp"
#include "core/chat/renderer.hpp"

namespace nacelle::jinja {

using Kind = Value::Kind;

namespace {

constexpr std::int64_t kMaxRange = 100'000;  // Jinja's own bound in its sandbox

Value range(Call& call) {
  const bool only_stop = !call.has(1);
  const std::int64_t start = only_stop ? 0 : call.integer(0, 0);
  const std::int64_t stop = only_stop ? call.integer(0, 0) : call.integer(1, 0);
  const std::int64_t step = call.integer(2, 1);
  if (step == 0) call.refuse("needs a step that is not zero");
  std::vector<Value> out;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<std::int64_t>(out.size()) == kMaxRange) {
      call.refuse("makes at most " + std::to_string(kMaxRange) + " numbers");
    }
    out.push_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return call.heap.list(std::move(out));
}

// The arguments of dict(), namespace() and their like: a mapping or pairs, then names.
Dict* collect(Call& call) {
  Dict* dict = call.heap.dict();
  if (call.arguments.positional.size() > 1) call.refuse("takes at most one positional argument");
  for (const Value& from : call.arguments.positional) {
    if (from.is(Kind::kDict)) {
      for (const auto& [key, value] : from.dict()->entries) call.heap.set(*dict, key, value);
      continue;
    }
    for (const Value& pair : elements(from, call.heap)) {
      const std::vector<Value> two = elements(pair, call.heap);
      if (two.size() != 2) call.refuse("needs a dict or a list of pairs");
      call.heap.set(*dict, two[0], two[1]);
    }
  }
  for (const auto& [name, value] : call.arguments.named) call.heap.set(*dict, Value(name), value);
  return dict;
}

Value dict(Call& call) { return Value(collect(call)); }
Value make_namespace(Call& call) { return Value(static_cast<Object*>(call.heap.make<Namespace>(collect(call)))); }

Value raise_exception(Call& call) { throw RaisedError(to_text(call[0], call.heap)); }

Value strftime_now(Call& call) { return call.heap.text(format_time(call.text(0), call.renderer.now())); }

Value joiner(Call& call) {
  return Value(static_cast<Object*>(call.heap.make<Joiner>(call.has(0) ? call[0] : call.heap.text(", "))));
}

Value cycler(Call& call) {
  if (call.arguments.positional.empty()) call.refuse("needs at least one value");
  return Value(static_cast<Object*>(call.heap.make<Cycler>(call.arguments.positional)));
}

constexpr Builtin kGlobals[] = {
    {"range", range, 1, {"start", "stop", "step"}},
    {"dict", dict, Builtin::kVariadic},
    {"namespace", make_namespace, Builtin::kVariadic},
    {"raise_exception", raise_exception, 1, {"message"}},
    {"strftime_now", strftime_now, 1, {"format"}},
    {"joiner", joiner, 0, {"sep"}},
    {"cycler", cycler, Builtin::kVariadic},
};

}  // namespace

std::span<const Builtin> globals() { return kGlobals; }

}  // namespace nacelle::jinja
