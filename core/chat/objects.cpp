// What templates see of the loop variable, namespaces and their like.
#include "core/chat/objects.hpp"

#include "core/chat/operators.hpp"
#include "core/chat/renderer.hpp"

namespace nacelle::jinja {

Value Namespace::attribute(std::string_view name, Heap&) {
  const Value* found = attributes->find(name);
  return found ? *found : Value();
}

Value BoundBuiltin::call(Renderer& renderer, Arguments& arguments) {
  return call_builtin(builtin, renderer, self, arguments);
}

namespace {

Value loop_cycle(Call& call) {
  const auto& choices = call.arguments.positional;
  if (choices.empty()) call.refuse("needs at least one value");
  return choices[static_cast<Loop*>(call.self.object())->index % choices.size()];
}

Value loop_changed(Call& call) {
  auto& loop = *static_cast<Loop*>(call.self.object());
  const Value seen = call.heap.tuple(call.arguments.positional);
  if (!loop.last_changed.is_missing() && equal(loop.last_changed, seen, call.heap)) return false;
  loop.last_changed = seen;
  return true;
}

Value cycler_next(Call& call) {
  auto& cycler = *static_cast<Cycler*>(call.self.object());
  Value current = cycler.items[cycler.index];
  cycler.index = (cycler.index + 1) % cycler.items.size();
  return current;
}

Value cycler_reset(Call& call) {
  static_cast<Cycler*>(call.self.object())->index = 0;
  return None{};
}

constexpr Builtin kLoopMethods[] = {{"cycle", loop_cycle, Builtin::kVariadic},
                                    {"changed", loop_changed, Builtin::kVariadic}};
constexpr Builtin kCyclerMethods[] = {{"next", cycler_next}, {"reset", cycler_reset}};

Value bound_method(std::span<const Builtin> methods, std::string_view name, Object* self, Heap& heap) {
  for (const Builtin& method : methods) {
    if (method.name == name) return Value(static_cast<Object*>(heap.make<BoundBuiltin>(method, Value(self))));
  }
  return {};
}

}  // namespace

Value Loop::call(Renderer& renderer, Arguments& arguments) {
  if (!statement->recursive) throw TemplateError("loop() needs a loop that is marked 'recursive'");
  if (arguments.positional.size() != 1) throw TemplateError("loop() takes one argument, what to iterate over");
  return renderer.heap().text(
      renderer.capture([&] { renderer.run_loop(*statement, arguments.positional[0], depth + 1); }));
}

Value Loop::attribute(std::string_view name, Heap& heap) {
  const auto number = [](std::size_t n) { return Value(static_cast<std::int64_t>(n)); };
  const auto neighbour = [&](bool exists, std::size_t at) {
    static const TextPtr kName = std::make_shared<const Text>("the loop's neighbouring item");
    return exists ? items[at] : Value::undefined(kName);
  };
  if (name == "index") return number(index + 1);
  if (name == "index0") return number(index);
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == items.size();
  if (name == "length") return number(items.size());
  if (name == "revindex") return number(items.size() - index);
  if (name == "revindex0") return number(items.size() - index - 1);
  if (name == "previtem") return neighbour(index > 0, index - 1);
  if (name == "nextitem") return neighbour(index + 1 < items.size(), index + 1);
  if (name == "depth") return Value(std::int64_t{depth} + 1);
  if (name == "depth0") return Value(std::int64_t{depth});
  return bound_method(kLoopMethods, name, this, heap);
}

Value Cycler::attribute(std::string_view name, Heap& heap) {
  if (name == "current") return items[index];
  return bound_method(kCyclerMethods, name, this, heap);
}

Value Joiner::call(Renderer& renderer, Arguments&) {
  if (used) return separator;
  used = true;
  return renderer.heap().text({});
}

}  // namespace nacelle::jinja
