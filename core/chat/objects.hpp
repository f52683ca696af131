// The objects that templates meet besides macros: namespaces, the loop variable, bound builtins, cycler and joiner.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/chat/builtins.hpp"
#include "core/chat/value.hpp"

namespace nacelle::jinja {

struct ForStmt;

struct Namespace : Object {
  Dict* attributes;
  explicit Namespace(Dict* a) : attributes(a) {}
  std::string_view type_name() const override { return "namespace"; }
  Value attribute(std::string_view name, Heap& heap) override;
};

// A global function, or a method together with the value it belongs to.
struct BoundBuiltin : Object {
  const Builtin& builtin;
  Value self;
  BoundBuiltin(const Builtin& b, Value s) : builtin(b), self(std::move(s)) {}
  std::string_view type_name() const override { return "function"; }
  bool callable() const override { return true; }
  Value call(Renderer& renderer, Arguments& arguments) override;
};

// `loop`. Lives on the heap since a template may keep it beyond the loop.
struct Loop : Object {
  const ForStmt* statement;
  std::vector<Value> items;
  std::size_t index = 0;
  int depth;
  Value last_changed;  // the tuple that changed() saw last
  Loop(const ForStmt* s, std::vector<Value> i, int d) : statement(s), items(std::move(i)), depth(d) {}
  std::string_view type_name() const override { return "loop"; }
  bool callable() const override { return true; }
  Value call(Renderer& renderer, Arguments& arguments) override;  // loop(children) of a recursive loop
  Value attribute(std::string_view name, Heap& heap) override;
};

struct Cycler : Object {
  std::vector<Value> items;
  std::size_t index = 0;
  explicit Cycler(std::vector<Value> i) : items(std::move(i)) {}
  std::string_view type_name() const override { return "cycler"; }
  Value attribute(std::string_view name, Heap& heap) override;
};

// Prints nothing at its first call and the separator at each later one.
struct Joiner : Object {
  Value separator;
  bool used = false;
  explicit Joiner(Value s) : separator(std::move(s)) {}
  std::string_view type_name() const override { return "joiner"; }
  bool callable() const override { return true; }
  Value call(Renderer& renderer, Arguments& arguments) override;
};

}  // namespace nacelle::jinja
