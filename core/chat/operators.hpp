// What Python's operators and str(), repr() and json.dumps() do to values. All throw TemplateError on a type or value
// that Python would refuse too; all are bounded by the heap's limits.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/chat/value.hpp"

namespace nacelle::jinja {

enum class BinaryOp { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
enum class CompareOp { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

// Whether the value can be a dict's key.
bool hashable(const Value& value);
bool truthy(const Value& value, Heap& heap);
bool equal(const Value& a, const Value& b, Heap& heap, int depth = 0);
// a < b. Numbers, strings and lists only compare with their like.
bool less(const Value& a, const Value& b, Heap& heap, int depth = 0);
bool contains(const Value& container, const Value& item, Heap& heap);
bool compare(CompareOp op, const Value& a, const Value& b, Heap& heap);
Value arithmetic(BinaryOp op, const Value& a, const Value& b, Heap& heap);
Value negate(const Value& value);

// container[key]: a list or string takes an integer, a dict any key. A missing Value where there is no such item.
Value item(const Value& container, const Value& key, Heap& heap);
// container[start:stop:step]; each bound may be None.
Value slice(const Value& container, const Value& start, const Value& stop, const Value& step, Heap& heap);
// The elements that a for loop visits: a list's items, a dict's keys, a string's characters.
std::vector<Value> elements(const Value& value, Heap& heap);
// len(); strings count code points.
std::int64_t length(const Value& value, Heap& heap);

// str(): what {{ value }} prints.
std::string to_text(const Value& value, Heap& heap);
void append_text(std::string& out, const Value& value, Heap& heap);
std::string repr(const Value& value, Heap& heap);
// Python's shortest form of a float: "1.0", "1e-05", "inf".
std::string float_text(double value);

struct JsonStyle {
  int indent = -1;  // below 0: all on one line
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
std::string to_json(const Value& value, const JsonStyle& style, Heap& heap);

// Throws the error that using an undefined value deserves.
[[noreturn]] void refuse_undefined(const Value& value);

}  // namespace nacelle::jinja
