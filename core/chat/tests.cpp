// The tests of Jinja: what may stand behind `is`.
#include "core/chat/builtins.hpp"
#include "core/chat/operators.hpp"
#include "core/chat/text.hpp"

namespace nacelle::jinja {

using Kind = Value::Kind;

namespace {

template <CompareOp op>
Value compares(Call& call) {
  return compare(op, call.self, call[0], call.heap);
}

template <Kind kind>
Value is_kind(Call& call) {
  return call.self.is(kind);
}

template <bool wanted>
Value is_bool(Call& call) {
  return call.self.is(Kind::kBool) && call.self.boolean() == wanted;
}

Value is_defined(Call& call) { return !call.self.is_undefined(); }
Value is_number(Call& call) { return call.self.is_number(); }
Value is_callable(Call& call) {
  return call.self.is_undefined() || (call.self.is(Kind::kObject) && call.self.object()->callable());
}
Value is_iterable(Call& call) {
  return call.self.is_undefined() || call.self.is(Kind::kString) || call.self.is(Kind::kList) ||
         call.self.is(Kind::kDict);
}
Value is_filter(Call& call) { return call.self.is_string() && find_filter(call.self.text()) != nullptr; }
Value is_test(Call& call) { return call.self.is_string() && find_test(call.self.text()) != nullptr; }
Value is_escaped(Call&) { return false; }  // nothing is: templates run without autoescape

bool divides(const Value& value, std::int64_t by, Heap& heap) {
  return equal(arithmetic(BinaryOp::kMod, value, Value(by), heap), Value(std::int64_t{0}), heap);
}
Value is_even(Call& call) { return divides(call.self, 2, call.heap); }
Value is_odd(Call& call) {
  return equal(arithmetic(BinaryOp::kMod, call.self, Value(std::int64_t{2}), call.heap), Value(std::int64_t{1}),
               call.heap);
}
Value is_divisible(Call& call) { return divides(call.self, call.integer(0, 0), call.heap); }

Value is_same(Call& call) {
  const Value &a = call.self, &b = call[0];
  if (a.kind() != b.kind()) return false;
  if (a.is(Kind::kList)) return a.list() == b.list();
  if (a.is(Kind::kDict)) return a.dict() == b.dict();
  return equal(a, b, call.heap);
}

Value is_lower_case(Call& call) { return has_case(call.self_text(), false); }
Value is_upper_case(Call& call) { return has_case(call.self_text(), true); }

constexpr Builtin kTests[] = {
    {"defined", is_defined},
    {"undefined", is_kind<Kind::kUndefined>},
    {"none", is_kind<Kind::kNone>},
    {"string", is_kind<Kind::kString>},
    {"mapping", is_kind<Kind::kDict>},
    {"sequence", is_iterable},  // what has a length and items is, here, just what can be iterated
    {"iterable", is_iterable},
    {"boolean", is_kind<Kind::kBool>},
    {"true", is_bool<true>},
    {"false", is_bool<false>},
    {"number", is_number},
    {"integer", is_kind<Kind::kInt>},
    {"float", is_kind<Kind::kFloat>},
    {"callable", is_callable},
    {"even", is_even},
    {"odd", is_odd},
    {"divisibleby", is_divisible, 1, {"num"}},
    {"in", compares<CompareOp::kIn>, 1, {"seq"}},
    {"eq", compares<CompareOp::kEq>, 1, {"other"}},
    {"equalto", compares<CompareOp::kEq>, 1, {"other"}},
    {"==", compares<CompareOp::kEq>, 1, {"other"}},
    {"ne", compares<CompareOp::kNe>, 1, {"other"}},
    {"!=", compares<CompareOp::kNe>, 1, {"other"}},
    {"lt", compares<CompareOp::kLt>, 1, {"other"}},
    {"lessthan", compares<CompareOp::kLt>, 1, {"other"}},
    {"<", compares<CompareOp::kLt>, 1, {"other"}},
    {"le", compares<CompareOp::kLe>, 1, {"other"}},
    {"<=", compares<CompareOp::kLe>, 1, {"other"}},
    {"gt", compares<CompareOp::kGt>, 1, {"other"}},
    {"greaterthan", compares<CompareOp::kGt>, 1, {"other"}},
    {">", compares<CompareOp::kGt>, 1, {"other"}},
    {"ge", compares<CompareOp::kGe>, 1, {"other"}},
    {">=", compares<CompareOp::kGe>, 1, {"other"}},
    {"sameas", is_same, 1, {"other"}},
    {"lower", is_lower_case},
    {"upper", is_upper_case},
    {"filter", is_filter},
    {"test", is_test},
    {"escaped", is_escaped},
};

}  // namespace

std::span<const Builtin> tests() { return kTests; }

}  // namespace nacelle::jinja
