// Execution of statements: one exec() a node.
#include "core/chat/ast.hpp"
#include "core/chat/objects.hpp"
#include "core/chat/renderer.hpp"

namespace nacelle::jinja {

namespace {

// What `body` prints in a scope of its own, sent through `filters`.
Value captured_block(Renderer& renderer, const Block& body, const std::vector<const Filter*>& filters, Flow& flow) {
  Value text;
  {
    Scope scope;
    const Renderer::ScopeGuard guard(renderer, scope, renderer.scope());
    text = renderer.heap().text(renderer.capture([&] { flow = renderer.exec(body); }));
  }
  for (const Filter* filter : filters) text = filter->apply(renderer, text);
  return text;
}

}  // namespace

Flow TextStmt::exec(Renderer& renderer) const {
  renderer.set_position(at);
  renderer.print(text);
  return Flow::kNext;
}

Flow PrintStmt::exec(Renderer& renderer) const {
  const Value printed = renderer.eval(*value);
  renderer.set_position(at);
  renderer.print(printed);
  return Flow::kNext;
}

Flow DoStmt::exec(Renderer& renderer) const {
  renderer.eval(*value);
  return Flow::kNext;
}

Flow ForStmt::exec(Renderer& renderer) const {
  const Value values = renderer.eval(*iterable);
  return renderer.run_loop(*this, values, 0);
}

Flow Renderer::run_loop(const ForStmt& statement, const Value& iterable, int depth) {
  set_position(statement.at);
  heap_.check_depth(depth);
  std::vector<Value> items = elements(iterable, heap_);
  Scope scope;
  const Scope* const outer = scope_;
  if (statement.filter) {
    const ScopeGuard guard(*this, scope, outer);
    std::vector<Value> kept;
    for (Value& item : items) {
      scope.names.clear();
      assign(statement.target, item);
      if (truthy(eval(*statement.filter), heap_)) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  if (items.empty()) return exec(statement.otherwise);

  heap_.grow(items.size() * sizeof(Value));
  Loop* loop = heap_.make<Loop>(&statement, std::move(items), depth);
  const ScopeGuard guard(*this, scope, outer);
  for (; loop->index < loop->items.size(); ++loop->index) {
    heap_.spend(1);
    scope.names.clear();
    scope.names.emplace_back(statement.loop, Value(static_cast<Object*>(loop)));
    assign(statement.target, loop->items[loop->index]);
    if (exec(statement.body) == Flow::kBreak) break;
  }
  return Flow::kNext;
}

Flow IfStmt::exec(Renderer& renderer) const {
  for (const auto& [test, body] : branches) {
    if (!test || truthy(renderer.eval(*test), renderer.heap())) return renderer.exec(body);
  }
  return Flow::kNext;
}

Flow SetStmt::exec(Renderer& renderer) const {
  const Value assigned = renderer.eval(*value);
  renderer.set_position(at);
  renderer.assign(target, assigned);
  return Flow::kNext;
}

Flow SetBlockStmt::exec(Renderer& renderer) const {
  Flow flow = Flow::kNext;
  const Value text = captured_block(renderer, body, filters, flow);
  renderer.set_position(at);
  if (flow == Flow::kNext) renderer.assign(target, text);
  return flow;
}

Flow WithStmt::exec(Renderer& renderer) const {
  std::vector<Value> values;
  for (const auto& binding : bindings) values.push_back(renderer.eval(*binding.second));
  Scope scope;
  const Renderer::ScopeGuard guard(renderer, scope, renderer.scope());
  for (std::size_t i = 0; i < bindings.size(); ++i) renderer.assign(bindings[i].first, values[i]);
  return renderer.exec(body);
}

Flow FilterBlockStmt::exec(Renderer& renderer) const {
  Flow flow = Flow::kNext;
  const Value text = captured_block(renderer, body, filters, flow);
  if (flow == Flow::kNext) renderer.print(text);
  return flow;
}

Flow MacroStmt::exec(Renderer& renderer) const {
  Scope* captured = renderer.capture_scopes();
  auto* made = renderer.heap().make<Macro>(&macro, captured);
  const Value value(static_cast<Object*>(made));
  renderer.assign(symbol, value);
  if (captured) captured->set(symbol, value);  // so that it can call itself
  return Flow::kNext;
}

Flow CallStmt::exec(Renderer& renderer) const {
  auto* caller = renderer.heap().make<Macro>(&macro, renderer.capture_scopes());
  const Value callee = renderer.eval(*call->callee);
  Arguments arguments = renderer.evaluate(call->arguments);
  static const TextPtr kCaller = std::make_shared<const Text>("caller");
  arguments.named.emplace_back(kCaller, Value(static_cast<Object*>(caller)));
  renderer.set_position(at);
  renderer.print(renderer.call(callee, arguments));
  return Flow::kNext;
}

Flow GenerationStmt::exec(Renderer& renderer) const { return renderer.exec(body); }

}  // namespace nacelle::jinja
