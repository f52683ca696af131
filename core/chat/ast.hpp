// The tree that the parser makes of a template. A Tree owns all nodes in one flat list, so that a deep tree is freed
// without recursion; nodes point at each other freely. Immutable once parsed; any thread may evaluate it.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/chat/builtins.hpp"
#include "core/chat/operators.hpp"
#include "core/chat/value.hpp"

namespace nacelle::jinja {

class Renderer;
using Symbol = int;  // a variable's name: its index in Tree::names

struct Node {
  std::size_t at = 0;  // byte offset in the source, for error messages
  virtual ~Node() = default;
};

struct Expr : Node {
  virtual Value eval(Renderer& renderer) const = 0;
};

// How a statement ends.
enum class Flow { kNext, kBreak, kContinue };

struct Stmt : Node {
  virtual Flow exec(Renderer& renderer) const = 0;
};
using Block = std::vector<const Stmt*>;

// --- expressions ---

struct Literal : Expr {
  Value value;
  Value eval(Renderer&) const override;
};
struct Name : Expr {
  Symbol symbol;
  Value eval(Renderer&) const override;
};
struct ListLiteral : Expr {
  std::vector<const Expr*> items;
  List::Flavour flavour = List::Flavour::kList;
  Value eval(Renderer&) const override;
};
struct DictLiteral : Expr {
  std::vector<std::pair<const Expr*, const Expr*>> entries;
  Value eval(Renderer&) const override;
};
struct Conditional : Expr {
  const Expr *test, *then, *otherwise;  // otherwise may be null
  Value eval(Renderer&) const override;
};
struct Logical : Expr {
  bool is_and;
  const Expr *left, *right;
  Value eval(Renderer&) const override;
};
struct Not : Expr {
  const Expr* operand;
  Value eval(Renderer&) const override;
};
struct Sign : Expr {
  bool negative;
  const Expr* operand;
  Value eval(Renderer&) const override;
};
struct Comparison : Expr {  // a < b <= c
  const Expr* first;
  std::vector<std::pair<CompareOp, const Expr*>> rest;
  Value eval(Renderer&) const override;
};
struct Binary : Expr {
  BinaryOp op;
  const Expr *left, *right;
  Value eval(Renderer&) const override;
};
struct Concat : Expr {  // a ~ b ~ c
  std::vector<const Expr*> parts;
  Value eval(Renderer&) const override;
};
struct Attribute : Expr {  // object.name
  const Expr* object;
  TextPtr name;
  Value eval(Renderer&) const override;
};
struct Subscript : Expr {  // object[key]
  const Expr *object, *key;
  Value eval(Renderer&) const override;
};
struct Slice : Expr {  // object[start:stop:step], each may be null
  const Expr *object, *start, *stop, *step;
  Value eval(Renderer&) const override;
};
struct CallArguments {
  std::vector<const Expr*> positional;
  std::vector<std::pair<TextPtr, const Expr*>> named;
  const Expr* more_positional = nullptr;  // *args
  const Expr* more_named = nullptr;       // **kwargs
};
struct CallExpr : Expr {
  const Expr* callee;
  CallArguments arguments;
  Value eval(Renderer&) const override;
};
struct Filter : Expr {
  const Expr* operand;  // null in a filter block or block set: the block's text
  std::string name;
  const Builtin* builtin;  // null where no such filter exists, which is an error only when evaluated
  CallArguments arguments;
  Value eval(Renderer&) const override;
  Value apply(Renderer&, const Value& input) const;
};
struct Test : Expr {
  const Expr* operand;
  std::string name;
  const Builtin* builtin;  // as for Filter
  bool negated;
  CallArguments arguments;
  Value eval(Renderer&) const override;
};

// --- statements ---

// What an assignment writes to: a name, a namespace's attribute, or a tuple of targets.
struct Target {
  Symbol symbol = -1;
  TextPtr attribute;
  std::vector<Target> parts;
};
struct TextStmt : Stmt {
  std::string text;
  Flow exec(Renderer&) const override;
};
struct PrintStmt : Stmt {
  const Expr* value;
  Flow exec(Renderer&) const override;
};
struct DoStmt : Stmt {
  const Expr* value;
  Flow exec(Renderer&) const override;
};
struct ForStmt : Stmt {
  Target target;
  const Expr* iterable;
  const Expr* filter = nullptr;
  bool recursive = false;
  Symbol loop;
  Block body, otherwise;
  Flow exec(Renderer&) const override;
};
struct IfStmt : Stmt {
  std::vector<std::pair<const Expr*, Block>> branches;  // a null test is `else`
  Flow exec(Renderer&) const override;
};
struct SetStmt : Stmt {
  Target target;
  const Expr* value;
  Flow exec(Renderer&) const override;
};
struct SetBlockStmt : Stmt {
  Target target;
  std::vector<const Filter*> filters;
  Block body;
  Flow exec(Renderer&) const override;
};
struct WithStmt : Stmt {
  std::vector<std::pair<Target, const Expr*>> bindings;
  Block body;
  Flow exec(Renderer&) const override;
};
struct FilterBlockStmt : Stmt {
  std::vector<const Filter*> filters;
  Block body;
  Flow exec(Renderer&) const override;
};
struct MacroBody {
  std::string name;
  std::vector<std::pair<Symbol, const Expr*>> parameters;  // the default is null where there is none
  Symbol caller, varargs, kwargs;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
  Block body;
};
struct MacroStmt : Stmt {
  Symbol symbol;
  MacroBody macro;
  Flow exec(Renderer&) const override;
};
struct CallStmt : Stmt {  // {% call(x) macro(...) %}body{% endcall %}
  const CallExpr* call;
  MacroBody macro;
  Flow exec(Renderer&) const override;
};
struct GenerationStmt : Stmt {  // marks what the assistant wrote; renders its body as it is
  Block body;
  Flow exec(Renderer&) const override;
};
struct JumpStmt : Stmt {
  Flow flow;
  Flow exec(Renderer&) const override { return flow; }
};

struct Tree {
  Block body;
  std::vector<TextPtr> names;
  std::unordered_map<std::string, Symbol> symbols;
  std::vector<std::unique_ptr<Node>> nodes;

  template <class T>
  T* make(std::size_t at) {
    auto node = std::make_unique<T>();
    node->at = at;
    T* raw = node.get();
    nodes.push_back(std::move(node));
    return raw;
  }
  Symbol symbol(const std::string& name);
};

}  // namespace nacelle::jinja
