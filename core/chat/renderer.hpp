// Evaluates a tree: keeps the variables, the output and the position that an error quotes. One render, one thread.
#pragma once

#include <ctime>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/chat/ast.hpp"
#include "core/chat/value.hpp"

namespace nacelle::jinja {

// The variables that a loop's pass, a macro's call or a with block adds to those around it.
struct Scope : Cell {
  const Scope* parent = nullptr;
  std::vector<std::pair<Symbol, Value>> names;
  void set(Symbol symbol, Value value);
};

// {% macro %} and the body of {% call %}.
struct Macro : Object {
  const MacroBody* body;
  const Scope* captured;  // the variables around its definition that are not global
  Macro(const MacroBody* b, const Scope* c) : body(b), captured(c) {}
  std::string_view type_name() const override { return "macro"; }
  bool callable() const override { return true; }
  Value call(Renderer& renderer, Arguments& arguments) override;
  Value attribute(std::string_view name, Heap& heap) override;
};

class Renderer {
 public:
  using Clock = std::function<std::tm()>;
  Renderer(const Tree& tree, Heap& heap, std::size_t max_output_bytes, const Clock& clock);

  // Renders the whole template; `context` is an object. Throws TemplateError; position() then tells where.
  std::string run(const nlohmann::ordered_json& context);
  std::size_t position() const { return position_; }

  Heap& heap() { return heap_; }
  std::tm now() const { return clock_(); }
  const TextPtr& name_of(Symbol symbol) const { return tree_.names[static_cast<std::size_t>(symbol)]; }

  // An operation at byte `at` is about to run: what throws now is its fault.
  void set_position(std::size_t at) { position_ = at; }
  Value eval(const Expr& expr);
  Flow exec(const Block& block);
  void print(std::string_view text);
  void print(const Value& value);
  // What `body` prints.
  std::string capture(const std::function<void()>& body);

  Value lookup(Symbol symbol) const;
  void assign(Symbol symbol, Value value);
  void assign(const Target& target, const Value& value);
  // A macro may outlive the scopes around it (a namespace can hold it), so it gets a copy of their variables.
  Scope* capture_scopes();
  Arguments evaluate(const CallArguments& arguments);
  Value call(const Value& callee, Arguments& arguments);
  Value call_macro(const Macro& macro, Arguments& arguments);
  Flow run_loop(const ForStmt& loop, const Value& iterable, int depth);

  // Makes `scope` the innermost one while it lives.
  class ScopeGuard {
   public:
    ScopeGuard(Renderer& renderer, Scope& scope, const Scope* parent);
    ~ScopeGuard() { renderer_.scope_ = outer_; }
    ScopeGuard(const ScopeGuard&) = delete;
    ScopeGuard& operator=(const ScopeGuard&) = delete;

   private:
    Renderer& renderer_;
    Scope* outer_;
  };
  const Scope* scope() const { return scope_; }

 private:
  class Frame;
  friend class ScopeGuard;

  const Tree& tree_;
  Heap& heap_;
  std::size_t max_output_bytes_;
  const Clock& clock_;
  std::vector<Value> root_;  // the template's own variables, by symbol
  Scope* scope_ = nullptr;
  std::string* out_ = nullptr;
  std::size_t position_ = 0;
  int frames_ = 0;
  int calls_ = 0;
};

}  // namespace nacelle::jinja
