// Evaluation of expressions: one eval() a node.
#include "core/chat/ast.hpp"
#include "core/chat/objects.hpp"
#include "core/chat/renderer.hpp"

namespace nacelle::jinja {

using Kind = Value::Kind;

Value Literal::eval(Renderer&) const { return value; }

Value Name::eval(Renderer& renderer) const { return renderer.lookup(symbol); }

Value ListLiteral::eval(Renderer& renderer) const {
  std::vector<Value> values;
  values.reserve(items.size());
  for (const Expr* item : items) values.push_back(renderer.eval(*item));
  return renderer.heap().list(std::move(values), flavour);
}

Value DictLiteral::eval(Renderer& renderer) const {
  Dict* dict = renderer.heap().dict();
  for (const auto& [key, value] : entries) {
    const Value name = renderer.eval(*key);
    Value held = renderer.eval(*value);
    renderer.set_position(at);
    renderer.heap().set(*dict, name, std::move(held));
  }
  return Value(dict);
}

Value Conditional::eval(Renderer& renderer) const {
  if (truthy(renderer.eval(*test), renderer.heap())) return renderer.eval(*then);
  static const TextPtr kName = std::make_shared<const Text>("the inline if-expression without an else");
  return otherwise ? renderer.eval(*otherwise) : Value::undefined(kName);
}

Value Logical::eval(Renderer& renderer) const {
  Value value = renderer.eval(*left);
  return truthy(value, renderer.heap()) == is_and ? renderer.eval(*right) : value;
}

Value Not::eval(Renderer& renderer) const { return !truthy(renderer.eval(*operand), renderer.heap()); }

Value Sign::eval(Renderer& renderer) const {
  const Value value = renderer.eval(*operand);
  renderer.set_position(at);
  if (negative) return negate(value);
  if (!value.is_number()) negate(value);  // for its error
  return value.is(Kind::kBool) ? Value(value.integer()) : value;
}

Value Comparison::eval(Renderer& renderer) const {
  Value left = renderer.eval(*first);
  for (const auto& [op, operand] : rest) {
    Value right = renderer.eval(*operand);
    renderer.set_position(at);
    if (!compare(op, left, right, renderer.heap())) return false;
    left = std::move(right);
  }
  return true;
}

Value Binary::eval(Renderer& renderer) const {
  const Value a = renderer.eval(*left);
  const Value b = renderer.eval(*right);
  renderer.set_position(at);
  return arithmetic(op, a, b, renderer.heap());
}

Value Concat::eval(Renderer& renderer) const {
  std::string out;
  for (const Expr* part : parts) {
    const Value value = renderer.eval(*part);
    renderer.set_position(at);
    append_text(out, value, renderer.heap());
    renderer.heap().check_room(out.size());
  }
  return renderer.heap().text(std::move(out));
}

Value Attribute::eval(Renderer& renderer) const {
  const Value holder = renderer.eval(*object);
  renderer.set_position(at);
  return get_attribute(renderer, holder, name);
}

Value Subscript::eval(Renderer& renderer) const {
  const Value holder = renderer.eval(*object);
  const Value index = renderer.eval(*key);
  renderer.set_position(at);
  return get_item(renderer, holder, index);
}

Value Slice::eval(Renderer& renderer) const {
  const auto bound = [&](const Expr* expr) { return expr ? renderer.eval(*expr) : Value(None{}); };
  const Value holder = renderer.eval(*object);
  const Value from = bound(start), to = bound(stop), by = bound(step);
  renderer.set_position(at);
  return slice(holder, from, to, by, renderer.heap());
}

Value CallExpr::eval(Renderer& renderer) const {
  // A method is called straight from its table, without an object that binds it.
  if (const auto* member = dynamic_cast<const Attribute*>(callee)) {
    const Value holder = renderer.eval(*member->object);
    const Builtin* method = find_method(holder, member->name->bytes);
    if (!method) renderer.set_position(member->at);
    const Value function = method ? Value() : get_attribute(renderer, holder, member->name);
    Arguments values = renderer.evaluate(arguments);
    renderer.set_position(at);
    return method ? call_builtin(*method, renderer, holder, values) : renderer.call(function, values);
  }
  const Value function = renderer.eval(*callee);
  Arguments values = renderer.evaluate(arguments);
  renderer.set_position(at);
  return renderer.call(function, values);
}

Value Filter::eval(Renderer& renderer) const { return apply(renderer, renderer.eval(*operand)); }

Value Filter::apply(Renderer& renderer, const Value& input) const {
  const Arguments values = renderer.evaluate(arguments);
  renderer.set_position(at);
  if (!builtin) throw TemplateError("there is no filter named '" + name + "'");
  return call_builtin(*builtin, renderer, input, values);
}

Value Test::eval(Renderer& renderer) const {
  const Value input = renderer.eval(*operand);
  const Arguments values = renderer.evaluate(arguments);
  renderer.set_position(at);
  if (!builtin) throw TemplateError("there is no test named '" + name + "'");
  return truthy(call_builtin(*builtin, renderer, input, values), renderer.heap()) != negated;
}

}  // namespace nacelle::jinja
