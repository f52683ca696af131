// The renderer's state: variables, output, calls of macros, and the bounds on recursion.
#include "core/chat/renderer.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/chat/builtins.hpp"
#include "core/chat/objects.hpp"
#include "core/chat/operators.hpp"

namespace nacelle::jinja {

namespace {

// Nested evaluations, each a few hundred bytes of stack: far more than any template needs, far less than a stack holds.
constexpr int kMaxFrames = 1000;

Value from_json(const nlohmann::ordered_json& json, Heap& heap, int depth) {
  heap.check_depth(depth);
  switch (json.type()) {
    case nlohmann::json::value_t::boolean: return Value(json.get<bool>());
    case nlohmann::json::value_t::number_integer: return Value(json.get<std::int64_t>());
    case nlohmann::json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > INT64_MAX) return Value(static_cast<double>(number));
      return Value(static_cast<std::int64_t>(number));
    }
    case nlohmann::json::value_t::number_float: return Value(json.get<double>());
    case nlohmann::json::value_t::string:
      return Value(std::make_shared<const Text>(json.get_ref<const std::string&>()));
    case nlohmann::json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& element : json) items.push_back(from_json(element, heap, depth + 1));
      return heap.list(std::move(items));
    }
    case nlohmann::json::value_t::object: {
      Dict* dict = heap.dict();
      dict->entries.reserve(json.size());
      for (const auto& [key, element] : json.items()) {
        dict->entries.emplace_back(Value(std::make_shared<const Text>(key)), from_json(element, heap, depth + 1));
      }
      return Value(dict);
    }
    default: return Value(None{});
  }
}

}  // namespace

// Counts one evaluation: a step, and a frame of the C++ stack.
class Renderer::Frame {
 public:
  explicit Frame(Renderer& renderer) : frames_(renderer.frames_) {
    renderer.heap_.spend(1);
    if (frames_ >= kMaxFrames) throw TemplateError("the template's evaluation nests too deeply");
    ++frames_;
  }
  ~Frame() { --frames_; }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

 private:
  int& frames_;
};

void Scope::set(Symbol symbol, Value value) {
  for (auto& [name, held] : names) {
    if (name == symbol) {
      held = std::move(value);
      return;
    }
  }
  names.emplace_back(symbol, std::move(value));
}

Renderer::ScopeGuard::ScopeGuard(Renderer& renderer, Scope& scope, const Scope* parent)
    : renderer_(renderer), outer_(renderer.scope_) {
  scope.parent = parent;
  renderer.scope_ = &scope;
}

Renderer::Renderer(const Tree& tree, Heap& heap, std::size_t max_output_bytes, const Clock& clock)
    : tree_(tree), heap_(heap), max_output_bytes_(max_output_bytes), clock_(clock), root_(tree.names.size()) {}

std::string Renderer::run(const nlohmann::ordered_json& context) {
  for (std::size_t i = 0; i < root_.size(); ++i) {
    const auto found = context.find(tree_.names[i]->bytes);
    if (found != context.end()) root_[i] = from_json(*found, heap_, 0);
  }
  heap_.forgive();
  for (const Builtin& builtin : globals()) {
    const auto found = tree_.symbols.find(std::string(builtin.name));
    if (found == tree_.symbols.end()) continue;
    Value& slot = root_[static_cast<std::size_t>(found->second)];
    if (slot.is_missing()) slot = Value(static_cast<Object*>(heap_.make<BoundBuiltin>(builtin, Value())));
  }
  std::string out;
  out_ = &out;
  exec(tree_.body);
  return out;
}

Value Renderer::eval(const Expr& expr) {
  const Frame frame(*this);
  return expr.eval(*this);
}

Flow Renderer::exec(const Block& block) {
  for (const Stmt* stmt : block) {
    const Frame frame(*this);
    const Flow flow = stmt->exec(*this);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

void Renderer::print(std::string_view text) {
  if (out_->size() + text.size() > max_output_bytes_) {
    throw TemplateError("the template prints more than " + std::to_string(max_output_bytes_) + " bytes");
  }
  heap_.spend_bytes(text.size());
  *out_ += text;
}

void Renderer::print(const Value& value) {
  if (value.is_string()) {
    print(value.text());
  } else {
    print(to_text(value, heap_));
  }
}

std::string Renderer::capture(const std::function<void()>& body) {
  std::string out;
  std::string* const outer = std::exchange(out_, &out);
  body();
  out_ = outer;
  return out;
}

Value Renderer::lookup(Symbol symbol) const {
  for (const Scope* scope = scope_; scope; scope = scope->parent) {
    for (const auto& [name, value] : scope->names) {
      if (name == symbol) return value;
    }
  }
  const Value& value = root_[static_cast<std::size_t>(symbol)];
  return value.is_missing() ? Value::undefined(name_of(symbol)) : value;
}

void Renderer::assign(Symbol symbol, Value value) {
  if (scope_) {
    scope_->set(symbol, std::move(value));
  } else {
    root_[static_cast<std::size_t>(symbol)] = std::move(value);
  }
}

void Renderer::assign(const Target& target, const Value& value) {
  if (!target.parts.empty()) {
    const std::vector<Value> values = elements(value, heap_);
    if (values.size() != target.parts.size()) {
      throw TemplateError("cannot unpack " + std::to_string(values.size()) + " values into " +
                          std::to_string(target.parts.size()) + " names");
    }
    for (std::size_t i = 0; i < values.size(); ++i) assign(target.parts[i], values[i]);
  } else if (target.attribute) {
    const Value holder = lookup(target.symbol);
    auto* space = holder.is(Value::Kind::kObject) ? dynamic_cast<Namespace*>(holder.object()) : nullptr;
    if (!space)
      throw TemplateError("'" + name_of(target.symbol)->bytes + "' is no namespace(), so its attributes cannot be set");
    heap_.set(*space->attributes, Value(target.attribute), value);
  } else {
    assign(target.symbol, value);
  }
}

Scope* Renderer::capture_scopes() {
  if (!scope_) return nullptr;
  Scope* copy = heap_.make<Scope>();
  for (const Scope* scope = scope_; scope; scope = scope->parent) {
    for (const auto& [name, value] : scope->names) {
      bool known = false;  // an inner scope hides the outer ones
      for (const auto& held : copy->names) known |= held.first == name;
      if (!known) copy->names.emplace_back(name, value);
    }
  }
  heap_.grow(copy->names.size() * sizeof(copy->names[0]));
  heap_.spend(copy->names.size());
  return copy;
}

Arguments Renderer::evaluate(const CallArguments& arguments) {
  Arguments out;
  out.positional.reserve(arguments.positional.size());
  for (const Expr* argument : arguments.positional) out.positional.push_back(eval(*argument));
  if (arguments.more_positional) {
    for (Value& value : elements(eval(*arguments.more_positional), heap_)) out.positional.push_back(std::move(value));
  }
  for (const auto& [name, argument] : arguments.named) out.named.emplace_back(name, eval(*argument));
  if (arguments.more_named) {
    const Value more = eval(*arguments.more_named);
    if (!more.is(Value::Kind::kDict)) throw TemplateError("'**' needs a dict of arguments");
    for (const auto& [name, value] : more.dict()->entries) {
      if (!name.is_string()) throw TemplateError("the names of arguments must be strings");
      out.named.emplace_back(name.text_ptr(), value);
    }
  }
  return out;
}

Value Renderer::call(const Value& callee, Arguments& arguments) {
  if (callee.is_undefined()) refuse_undefined(callee);
  if (!callee.is(Value::Kind::kObject)) {
    throw TemplateError("a value of type '" + std::string(jinja::type_name(callee)) + "' cannot be called");
  }
  return callee.object()->call(*this, arguments);
}

namespace {

Value take_named(Arguments& arguments, const TextPtr& name) {
  for (auto it = arguments.named.begin(); it != arguments.named.end(); ++it) {
    if (it->first->bytes != name->bytes) continue;
    Value value = it->second;
    arguments.named.erase(it);
    return value;
  }
  return {};
}

}  // namespace

Value Renderer::call_macro(const Macro& macro, Arguments& arguments) {
  const MacroBody& body = *macro.body;
  const std::string label = "macro '" + body.name + "'";
  if (calls_ >= heap_.max_depth()) {
    throw TemplateError("macros call each other deeper than " + std::to_string(heap_.max_depth()) + " levels");
  }
  Scope scope;
  const ScopeGuard guard(*this, scope, macro.captured);
  const std::size_t given = std::min(arguments.positional.size(), body.parameters.size());
  for (std::size_t i = 0; i < body.parameters.size(); ++i) {
    const auto& [symbol, fallback] = body.parameters[i];
    Value value = i < given ? arguments.positional[i] : take_named(arguments, name_of(symbol));
    if (value.is_missing()) value = fallback ? eval(*fallback) : Value::undefined(name_of(symbol));
    scope.set(symbol, std::move(value));
  }
  if (body.uses_caller) {
    Value caller = take_named(arguments, name_of(body.caller));
    scope.set(body.caller, caller.is_missing() ? Value::undefined(name_of(body.caller)) : caller);
  }
  if (body.uses_varargs) {
    const auto rest = arguments.positional.begin() + static_cast<std::ptrdiff_t>(given);
    scope.set(body.varargs, heap_.tuple(std::vector<Value>(rest, arguments.positional.end())));
  } else if (given < arguments.positional.size()) {
    throw TemplateError(label + " takes at most " + std::to_string(body.parameters.size()) + " arguments");
  }
  if (body.uses_kwargs) {
    Dict* rest = heap_.dict();
    for (const auto& [name, value] : arguments.named) heap_.set(*rest, Value(name), value);
    scope.set(body.kwargs, Value(rest));
  } else if (!arguments.named.empty()) {
    throw TemplateError(label + " takes no argument '" + arguments.named.front().first->bytes + "'");
  }
  ++calls_;
  std::string out = capture([&] { exec(body.body); });
  --calls_;
  return heap_.text(std::move(out));
}

Value Macro::call(Renderer& renderer, Arguments& arguments) { return renderer.call_macro(*this, arguments); }

Value Macro::attribute(std::string_view name, Heap& heap) {
  if (name == "name") return heap.text(body->name);
  return {};
}

}  // namespace nacelle::jinja
