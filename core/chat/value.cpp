// Values and the heap that owns and bounds them.
#include "core/chat/value.hpp"

#include "core/chat/operators.hpp"

namespace nacelle::jinja {

Text::~Text() {
  if (heap) heap->shrink(bytes.size() + sizeof(Text));
}

Value* Dict::find(std::string_view key) {
  for (auto& [name, value] : entries) {
    if (name.is_string() && name.text() == key) return &value;
  }
  return nullptr;
}

Value Object::call(Renderer&, Arguments&) {
  throw TemplateError("'" + std::string(type_name()) + "' object is not callable");
}

Value Heap::text(std::string bytes) {
  grow(bytes.size() + sizeof(Text));
  spend_bytes(bytes.size());
  return Value(std::make_shared<const Text>(std::move(bytes), this));
}

Value Heap::list(std::vector<Value> items, List::Flavour flavour) {
  spend(items.size() / 8);
  grow(items.size() * sizeof(Value));
  List* made = make<List>();
  made->items = std::move(items);
  made->flavour = flavour;
  return Value(made);
}

Dict* Heap::dict() { return make<Dict>(); }

Value* Heap::find(Dict& dict, const Value& key) {
  spend(dict.entries.size() / 16);
  if (key.is_string()) return dict.find(key.text());
  if (!hashable(key)) {
    throw TemplateError("a '" + std::string(type_name(key)) + "' cannot be a dict's key; expected a string or number");
  }
  for (auto& [name, value] : dict.entries) {
    if (equal(name, key, *this)) return &value;
  }
  return nullptr;
}

void Heap::set(Dict& dict, const Value& key, Value value) {
  if (Value* found = find(dict, key)) {
    *found = std::move(value);
    return;
  }
  grow(sizeof(dict.entries[0]));
  dict.entries.emplace_back(key, std::move(value));
}

void Heap::append(List& list, Value value) {
  grow(sizeof(Value));
  list.items.push_back(std::move(value));
}

void Heap::check_room(std::size_t count, std::size_t size) const {
  if (count > limits_.max_bytes / size || bytes_ + count * size > limits_.max_bytes) {
    throw TemplateError("the template needs more than " + std::to_string(limits_.max_bytes) + " bytes of memory");
  }
}

void Heap::grow(std::size_t bytes) {
  check_room(bytes);
  bytes_ += bytes;
}

void Heap::check_depth(int depth) const {
  if (depth > limits_.max_depth) {
    throw TemplateError("values are nested deeper than " + std::to_string(limits_.max_depth) + " levels");
  }
}

void Heap::refuse_steps() const {
  throw TemplateError("the template takes more than " + std::to_string(limits_.max_steps) + " steps");
}

std::string_view type_name(const Value& value) {
  static constexpr std::string_view kNames[] = {"undefined", "none", "bool", "int",   "float",
                                                "string",    "list", "dict", "object"};
  if (value.is(Value::Kind::kObject)) return value.object()->type_name();
  if (value.is(Value::Kind::kList) && value.list()->flavour != List::Flavour::kList) return "tuple";
  return kNames[static_cast<int>(value.kind())];
}

}  // namespace nacelle::jinja
