// Python's operators on values: truth, equality, order, arithmetic, indexing and slicing.
#include "core/chat/operators.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/chat/format.hpp"
#include "core/chat/text.hpp"

namespace nacelle::jinja {

using Kind = Value::Kind;

void refuse_undefined(const Value& value) {
  const TextPtr& name = value.undefined().name;
  throw TemplateError("'" + (name ? name->bytes : std::string("value")) + "' is undefined");
}

bool hashable(const Value& value) {
  return !value.is(Kind::kDict) && !(value.is(Kind::kList) && value.list()->flavour == List::Flavour::kList);
}

bool truthy(const Value& value, Heap& heap) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kObject: return true;
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat: return value.real() != 0;
    case Kind::kString: return !value.text().empty();
    default: return length(value, heap) != 0;
  }
}

bool equal(const Value& a, const Value& b, Heap& heap, int depth) {
  heap.check_depth(depth);
  if (a.is_number() && b.is_number()) {
    return a.is_integral() && b.is_integral() ? a.integer() == b.integer() : a.real() == b.real();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kString: heap.spend_bytes(a.text().size()); return a.text() == b.text();
    case Kind::kObject: return a.object() == b.object();
    case Kind::kList: {
      const auto &x = a.list()->items, &y = b.list()->items;
      const bool tuples[] = {a.list()->flavour == List::Flavour::kList, b.list()->flavour == List::Flavour::kList};
      if (x.size() != y.size() || tuples[0] != tuples[1]) return false;
      for (std::size_t i = 0; i < x.size(); ++i) {
        heap.spend(1);
        if (!equal(x[i], y[i], heap, depth + 1)) return false;
      }
      return true;
    }
    case Kind::kDict:
      if (a.dict()->entries.size() != b.dict()->entries.size()) return false;
      for (const auto& [key, value] : a.dict()->entries) {
        heap.spend(1);
        const Value* other = heap.find(*b.dict(), key);
        if (!other || !equal(value, *other, heap, depth + 1)) return false;
      }
      return true;
    default: return true;  // two undefined, or two None
  }
}

bool less(const Value& a, const Value& b, Heap& heap, int depth) {
  heap.check_depth(depth);
  if (a.is_number() && b.is_number()) {
    return a.is_integral() && b.is_integral() ? a.integer() < b.integer() : a.real() < b.real();
  }
  if (a.is_string() && b.is_string()) {
    heap.spend_bytes(a.text().size());
    return a.text() < b.text();
  }
  if (a.is(Kind::kList) && b.is(Kind::kList)) {
    const auto &x = a.list()->items, &y = b.list()->items;
    for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      heap.spend(1);
      if (!equal(x[i], y[i], heap, depth + 1)) return less(x[i], y[i], heap, depth + 1);
    }
    return x.size() < y.size();
  }
  if (a.is_undefined()) refuse_undefined(a);
  if (b.is_undefined()) refuse_undefined(b);
  throw TemplateError("'" + std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "' have no order");
}

bool contains(const Value& container, const Value& item, Heap& heap) {
  switch (container.kind()) {
    case Kind::kUndefined: return false;
    case Kind::kDict: return heap.find(*container.dict(), item) != nullptr;
    case Kind::kString:
      if (item.is_undefined()) refuse_undefined(item);
      if (!item.is_string()) {
        throw TemplateError("'in <string>' needs a string on its left, not '" + std::string(type_name(item)) + "'");
      }
      heap.spend_bytes(container.text().size());
      return find(container.text(), item.text()) != std::string::npos;
    case Kind::kList:
      for (const Value& element : container.list()->items) {
        heap.spend(1);
        if (equal(element, item, heap)) return true;
      }
      return false;
    default: throw TemplateError("'in' cannot search a value of type '" + std::string(type_name(container)) + "'");
  }
}

bool compare(CompareOp op, const Value& a, const Value& b, Heap& heap) {
  const auto unordered = [&] {
    return a.is_number() && b.is_number() && (std::isnan(a.real()) || std::isnan(b.real()));
  };
  switch (op) {
    case CompareOp::kEq: return equal(a, b, heap);
    case CompareOp::kNe: return !equal(a, b, heap);
    case CompareOp::kLt: return less(a, b, heap);
    case CompareOp::kGt: return less(b, a, heap);
    case CompareOp::kLe: return !less(b, a, heap) && !unordered();
    case CompareOp::kGe: return !less(a, b, heap) && !unordered();
    case CompareOp::kIn: return contains(b, a, heap);
    case CompareOp::kNotIn: return !contains(b, a, heap);
  }
  return false;
}

namespace {

[[noreturn]] void refuse_operands(BinaryOp op, const Value& a, const Value& b) {
  if (a.is_undefined()) refuse_undefined(a);
  if (b.is_undefined()) refuse_undefined(b);
  static constexpr const char* kSigns[] = {"+", "-", "*", "/", "//", "%", "**"};
  throw TemplateError(std::string("'") + kSigns[static_cast<int>(op)] + "' does not take '" +
                      std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

// By reference: the call that fills `result` is the argument beside it, and arguments are evaluated in any order.
std::int64_t checked(bool overflow, const std::int64_t& result) {
  if (overflow) throw TemplateError("integer overflow: the result does not fit 64 bits");
  return result;
}

std::int64_t power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  bool overflow = false;
  while (exponent > 0) {
    if (exponent & 1) overflow |= __builtin_mul_overflow(result, base, &result);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) overflow |= true;
    if (overflow) break;
  }
  return checked(overflow, result);
}

Value integer_arithmetic(BinaryOp op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  switch (op) {
    case BinaryOp::kAdd: return checked(__builtin_add_overflow(a, b, &result), result);
    case BinaryOp::kSub: return checked(__builtin_sub_overflow(a, b, &result), result);
    case BinaryOp::kMul: return checked(__builtin_mul_overflow(a, b, &result), result);
    case BinaryOp::kPow:
      if (b < 0) break;
      return power(a, b);
    default:
      if (b == 0) throw TemplateError("division by zero");
      if (op == BinaryOp::kDiv) break;
      if (b == -1) return op == BinaryOp::kMod ? Value(std::int64_t{0}) : negate(Value(a));
      // C++ rounds towards zero, Python down.
      const bool adjust = a % b != 0 && ((a < 0) != (b < 0));
      if (op == BinaryOp::kMod) return a % b + (adjust ? b : 0);
      return a / b - (adjust ? 1 : 0);
  }
  if (op == BinaryOp::kDiv) return static_cast<double>(a) / static_cast<double>(b);
  if (a == 0) throw TemplateError("division by zero");
  return std::pow(static_cast<double>(a), static_cast<double>(b));
}

Value real_arithmetic(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd: return a + b;
    case BinaryOp::kSub: return a - b;
    case BinaryOp::kMul: return a * b;
    case BinaryOp::kPow: return std::pow(a, b);
    default: break;
  }
  if (b == 0) throw TemplateError("division by zero");
  if (op == BinaryOp::kDiv) return a / b;
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return op == BinaryOp::kMod ? rest : std::floor((a - rest) / b + 0.5);
}

Value concatenate(const List& a, const List& b, Heap& heap) {
  std::vector<Value> items;
  heap.check_room(a.items.size() + b.items.size(), sizeof(Value));
  items.reserve(a.items.size() + b.items.size());
  items.insert(items.end(), a.items.begin(), a.items.end());
  items.insert(items.end(), b.items.begin(), b.items.end());
  return heap.list(std::move(items), a.flavour);
}

Value repeat(const Value& sequence, std::int64_t times, Heap& heap) {
  const std::size_t count = times > 0 ? static_cast<std::size_t>(times) : 0;
  if (sequence.is_string()) {
    const std::string& piece = sequence.text();
    std::string out;
    heap.check_room(count, std::max<std::size_t>(piece.size(), 1));
    for (std::size_t i = 0; i < count && !piece.empty(); ++i) out += piece;
    return heap.text(std::move(out));
  }
  const auto& piece = sequence.list()->items;
  heap.check_room(count, std::max<std::size_t>(piece.size(), 1) * sizeof(Value));
  std::vector<Value> items;
  for (std::size_t i = 0; i < count && !piece.empty(); ++i) items.insert(items.end(), piece.begin(), piece.end());
  return heap.list(std::move(items), sequence.list()->flavour);
}

bool is_sequence(const Value& v) { return v.is_string() || v.is(Kind::kList); }

}  // namespace

Value arithmetic(BinaryOp op, const Value& a, const Value& b, Heap& heap) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return integer_arithmetic(op, a.integer(), b.integer());
    return real_arithmetic(op, a.real(), b.real());
  }
  if (op == BinaryOp::kAdd && a.is_string() && b.is_string()) {
    heap.check_room(a.text().size() + b.text().size());
    return heap.text(a.text() + b.text());
  }
  if (op == BinaryOp::kAdd && a.is(Kind::kList) && b.is(Kind::kList)) {
    const bool same = (a.list()->flavour == List::Flavour::kList) == (b.list()->flavour == List::Flavour::kList);
    if (same) return concatenate(*a.list(), *b.list(), heap);
  }
  if (op == BinaryOp::kMul && is_sequence(a) && b.is_integral()) return repeat(a, b.integer(), heap);
  if (op == BinaryOp::kMul && a.is_integral() && is_sequence(b)) return repeat(b, a.integer(), heap);
  if (op == BinaryOp::kMod && a.is_string()) return heap.text(format_percent(a.text(), b, heap));
  refuse_operands(op, a, b);
}

Value negate(const Value& value) {
  if (value.is(Kind::kFloat)) return -value.real();
  if (!value.is_integral()) {
    if (value.is_undefined()) refuse_undefined(value);
    throw TemplateError("unary '-' does not take '" + std::string(type_name(value)) + "'");
  }
  std::int64_t result = 0;
  return checked(__builtin_sub_overflow(std::int64_t{0}, value.integer(), &result), result);
}

std::int64_t length(const Value& value, Heap& heap) {
  switch (value.kind()) {
    case Kind::kUndefined: return 0;
    case Kind::kString:
      heap.spend_bytes(value.text().size());
      return static_cast<std::int64_t>(code_point_count(value.text()));
    case Kind::kList: return static_cast<std::int64_t>(value.list()->items.size());
    case Kind::kDict: return static_cast<std::int64_t>(value.dict()->entries.size());
    default: throw TemplateError("a value of type '" + std::string(type_name(value)) + "' has no length");
  }
}

Value item(const Value& container, const Value& key, Heap& heap) {
  if (container.is(Kind::kDict)) {
    if (!hashable(key)) return {};
    const Value* found = heap.find(*container.dict(), key);
    return found ? *found : Value();
  }
  if (!is_sequence(container) || !key.is_integral()) return {};
  std::int64_t index = key.integer();
  if (index < 0) index += length(container, heap);
  if (index < 0) return {};
  if (container.is(Kind::kList)) {
    const auto& items = container.list()->items;
    return static_cast<std::uint64_t>(index) < items.size() ? items[static_cast<std::size_t>(index)] : Value();
  }
  const std::string& text = container.text();
  heap.spend_bytes(std::min<std::size_t>(text.size(), static_cast<std::size_t>(index)));
  const std::size_t pos = byte_offset(text, static_cast<std::size_t>(index));
  if (pos >= text.size()) return {};
  return heap.text(text.substr(pos, code_point_size(text, pos)));
}

namespace {

std::int64_t slice_bound(const Value& bound, std::int64_t missing, std::int64_t size, bool forward) {
  if (bound.is_none()) return missing;
  if (!bound.is_integral()) {
    if (bound.is_undefined()) refuse_undefined(bound);
    throw TemplateError("a slice's bounds must be integers, not '" + std::string(type_name(bound)) + "'");
  }
  std::int64_t index = bound.integer();
  if (index < 0) index += size;
  return std::clamp<std::int64_t>(index, forward ? 0 : -1, forward ? size : size - 1);
}

}  // namespace

Value slice(const Value& container, const Value& start, const Value& stop, const Value& step, Heap& heap) {
  if (container.is_undefined()) refuse_undefined(container);
  if (!is_sequence(container)) {
    throw TemplateError("a value of type '" + std::string(type_name(container)) + "' cannot be sliced");
  }
  const std::int64_t size = length(container, heap);
  slice_bound(step, 1, size, true);  // for its error where the step is no integer
  const std::int64_t by = step.is_none() ? 1 : step.integer();
  if (by == 0) throw TemplateError("a slice's step cannot be zero");
  const std::int64_t from = slice_bound(start, by > 0 ? 0 : size - 1, size, by > 0);
  const std::int64_t to = slice_bound(stop, by > 0 ? size : -1, size, by > 0);
  if (container.is_string() && by == 1) {
    const std::string& text = container.text();
    if (from >= to) return heap.text({});
    const std::size_t begin = byte_offset(text, static_cast<std::size_t>(from));
    const std::string_view rest = std::string_view(text).substr(begin);
    return heap.text(std::string(rest.substr(0, byte_offset(rest, static_cast<std::size_t>(to - from)))));
  }
  std::vector<Value> items;
  const std::vector<std::string_view> points =
      container.is_string() ? code_points(container.text()) : std::vector<std::string_view>();
  std::string out;
  for (std::int64_t i = from; by > 0 ? i < to : i > to;) {
    const auto at = static_cast<std::size_t>(i);
    if (container.is_string()) {
      out += points[at];
    } else {
      items.push_back(container.list()->items[at]);
    }
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  if (container.is_string()) return heap.text(std::move(out));
  return heap.list(std::move(items), container.list()->flavour);
}

std::vector<Value> elements(const Value& value, Heap& heap) {
  std::vector<Value> out;
  switch (value.kind()) {
    case Kind::kUndefined: break;
    case Kind::kList: out = value.list()->items; break;
    case Kind::kDict:
      for (const auto& entry : value.dict()->entries) out.push_back(entry.first);
      break;
    case Kind::kString:
      heap.check_room(value.text().size(), sizeof(Value) + sizeof(Text));
      for (std::string_view point : code_points(value.text())) out.push_back(heap.text(std::string(point)));
      break;
    default: throw TemplateError("a value of type '" + std::string(type_name(value)) + "' cannot be iterated");
  }
  heap.spend(out.size() / 8);
  return out;
}

}  // namespace nacelle::jinja
