// Binding of arguments to a builtin's parameters, and look-up of builtins, methods, attributes and items.
#include "core/chat/builtins.hpp"

#include "core/chat/objects.hpp"
#include "core/chat/operators.hpp"
#include "core/chat/renderer.hpp"

namespace nacelle::jinja {

using Kind = Value::Kind;

Call::Call(Renderer& r, Heap& h, const Value& s, const Builtin& b, const Arguments& a)
    : renderer(r), heap(h), self(s), arguments(a), builtin_(b) {
  if (b.required == Builtin::kVariadic) return;
  std::size_t count = 0;
  while (count < b.parameters.size() && !b.parameters[count].empty()) ++count;
  if (a.positional.size() > count) refuse("takes at most " + std::to_string(count) + " arguments");
  for (std::size_t i = 0; i < a.positional.size(); ++i) bound_[i] = &a.positional[i];
  for (const auto& [name, value] : a.named) {
    std::size_t i = 0;
    while (i < count && b.parameters[i] != name->bytes) ++i;
    if (i == count) refuse("takes no argument '" + name->bytes + "'");
    if (bound_[i]) refuse("was given '" + name->bytes + "' twice");
    bound_[i] = &value;
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(b.required); ++i) {
    if (!bound_[i]) refuse("needs its argument '" + std::string(b.parameters[i]) + "'");
  }
}

void Call::refuse(const std::string& why) const { throw TemplateError("'" + std::string(builtin_.name) + "' " + why); }

std::int64_t Call::integer(std::size_t i, std::int64_t missing) const {
  if (!has_value(i)) return missing;
  if (bound_[i]->is_undefined()) refuse_undefined(*bound_[i]);
  if (!bound_[i]->is_integral()) {
    refuse("needs an integer for '" + std::string(builtin_.parameters[i]) + "', not '" +
           std::string(type_name(*bound_[i])) + "'");
  }
  return bound_[i]->integer();
}

bool Call::flag(std::size_t i, bool missing) const { return has(i) ? truthy(*bound_[i], heap) : missing; }

const std::string& Call::text(std::size_t i) const {
  if (bound_[i]->is_undefined()) refuse_undefined(*bound_[i]);
  if (!bound_[i]->is_string()) {
    refuse("needs a string for '" + std::string(builtin_.parameters[i]) + "', not '" +
           std::string(type_name(*bound_[i])) + "'");
  }
  return bound_[i]->text();
}

std::string Call::self_text() const { return to_text(self, heap); }

namespace {

const Builtin* find_in(std::span<const Builtin> table, std::string_view name) {
  for (const Builtin& builtin : table) {
    if (builtin.name == name) return &builtin;
  }
  return nullptr;
}

}  // namespace

const Builtin* find_filter(std::string_view name) {
  const Builtin* found = find_in(scalar_filters(), name);
  return found ? found : find_in(sequence_filters(), name);
}

const Builtin* find_test(std::string_view name) { return find_in(tests(), name); }

const Builtin* find_method(const Value& object, std::string_view name) {
  switch (object.kind()) {
    case Kind::kString: return find_in(string_methods(), name);
    case Kind::kList: return find_in(list_methods(), name);
    case Kind::kDict: return find_in(dict_methods(), name);
    default: return nullptr;
  }
}

Value call_builtin(const Builtin& builtin, Renderer& renderer, const Value& self, const Arguments& arguments) {
  // Most builtins read their strings from end to end, some a few times.
  const auto charge = [&](const Value& value) {
    if (value.is_string()) renderer.heap().spend(value.text().size() / 128);
  };
  charge(self);
  for (const Value& argument : arguments.positional) charge(argument);
  Call call(renderer, renderer.heap(), self, builtin, arguments);
  return builtin.function(call);
}

namespace {

// A method or attribute, or a missing Value.
Value member(Renderer& renderer, const Value& object, std::string_view name) {
  Heap& heap = renderer.heap();
  if (object.is(Kind::kObject)) return object.object()->attribute(name, heap);
  if (object.is(Kind::kList) && object.list()->flavour == List::Flavour::kGroup) {
    if (name == "grouper") return object.list()->items[0];
    if (name == "list") return object.list()->items[1];
  }
  const Builtin* method = find_method(object, name);
  return method ? Value(static_cast<Object*>(heap.make<BoundBuiltin>(*method, object))) : Value();
}

}  // namespace

Value get_attribute(Renderer& renderer, const Value& object, const TextPtr& name) {
  if (object.is_undefined()) refuse_undefined(object);
  Value found = member(renderer, object, name->bytes);
  if (found.is_missing()) found = item(object, Value(name), renderer.heap());
  return found.is_missing() ? Value::undefined(name) : found;
}

Value get_item(Renderer& renderer, const Value& object, const Value& key) {
  if (object.is_undefined()) refuse_undefined(object);
  Value found = item(object, key, renderer.heap());
  if (found.is_missing() && key.is_string()) found = member(renderer, object, key.text());
  if (!found.is_missing()) return found;
  if (key.is_string()) return Value::undefined(key.text_ptr());
  return Value::undefined(std::make_shared<const Text>("item " + to_text(key, renderer.heap())));
}

}  // namespace nacelle::jinja
