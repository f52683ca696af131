// The filters, tests, methods and globals of Jinja: one row a builtin in tables that name its parameters, so that
// binding arguments and refusing wrong ones is written once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/chat/value.hpp"

namespace nacelle::jinja {

class Renderer;
struct Builtin;

// One call: `self` is the value filtered, tested or whose method is called; the arguments are bound by parameter.
class Call {
 public:
  static constexpr std::size_t kMaxParameters = 5;

  Call(Renderer& r, Heap& h, const Value& s, const Builtin& b, const Arguments& a);

  Renderer& renderer;
  Heap& heap;
  const Value& self;
  const Arguments& arguments;  // as passed: what a variadic builtin reads

  bool has(std::size_t i) const { return bound_[i] != nullptr; }
  bool has_value(std::size_t i) const { return has(i) && !bound_[i]->is_none(); }
  const Value& operator[](std::size_t i) const { return *bound_[i]; }
  // Each throws TemplateError when the argument is of another type.
  std::int64_t integer(std::size_t i, std::int64_t missing) const;
  bool flag(std::size_t i, bool missing) const;
  const std::string& text(std::size_t i) const;
  // `self` as text: what it prints as where it is no string.
  std::string self_text() const;
  [[noreturn]] void refuse(const std::string& why) const;

 private:
  const Builtin& builtin_;
  std::array<const Value*, kMaxParameters> bound_{};
};

struct Builtin {
  static constexpr int kVariadic = -1;

  std::string_view name;
  Value (*function)(Call& call);
  int required = 0;  // the first so many parameters must be given; kVariadic: takes anything
  std::array<std::string_view, Call::kMaxParameters> parameters{};
};

// Null where there is none of this name.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_method(const Value& object, std::string_view name);
std::span<const Builtin> globals();
Value call_builtin(const Builtin& builtin, Renderer& renderer, const Value& self, const Arguments& arguments);

// The tables, each in a file of its own.
std::span<const Builtin> scalar_filters();
std::span<const Builtin> sequence_filters();
std::span<const Builtin> tests();
std::span<const Builtin> string_methods();
std::span<const Builtin> list_methods();
std::span<const Builtin> dict_methods();

// object.name: a method or attribute first, then an item; object[key]: an item first. Missing things are undefined.
Value get_attribute(Renderer& renderer, const Value& object, const TextPtr& name);
Value get_item(Renderer& renderer, const Value& object, const Value& key);

}  // namespace nacelle::jinja
