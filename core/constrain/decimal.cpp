// Digit by digit comparison, and remainders.
#include "core/constrain/decimal.hpp"

#include <charconv>
#include <nlohmann/json.hpp>

#include "core/base/error.hpp"
#include "core/constrain/regex.hpp"

namespace nacelle::constrain {
namespace {

constexpr std::uint32_t kMaxModulus = 4096;

// Texts of numbers without a sign whose value is above (or below) a bound that has none either.
class MagnitudeWriter {
 public:
  MagnitudeWriter(Network& network, const Decimal& bound, bool greater, bool strict, bool integers)
      : n_(network), bound_(bound), greater_(greater), strict_(strict), integers_(integers) {}

  // All ends lead to `end`.
  void write(PositionId from, PositionId end) {
    end_ = end;
    const std::size_t length = bound_.whole.size();
    other_lengths(from, length);
    PositionId equal = from;
    for (std::size_t i = 0; i < length; ++i) {
      const int digit = bound_.whole[i] - '0', lowest = i == 0 && length > 1 ? 1 : 0;
      const PositionId differs = n_.add_beside(from);
      digits(equal, greater_ ? digit + 1 : lowest, greater_ ? 9 : digit - 1, differs);
      any_fraction(some_digits(differs, length - i - 1));
      const PositionId next = n_.add_beside(from);
      digits(equal, digit, digit, next);
      equal = next;
    }
    fraction(equal);
  }

 private:
  void digits(PositionId from, int low, int high, PositionId to) {
    if (low <= high) n_.read(from, static_cast<std::uint8_t>('0' + low), static_cast<std::uint8_t>('0' + high), to);
  }
  PositionId some_digits(PositionId from, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      const PositionId to = n_.add_beside(from);
      digits(from, 0, 9, to);
      from = to;
    }
    return from;
  }
  PositionId loop_of_digits(PositionId from) {
    const PositionId loop = n_.add_beside(from);
    n_.skip(from, loop);
    digits(loop, 0, 9, loop);
    return loop;
  }
  // The value is decided: digits behind a point change nothing.
  void any_fraction(PositionId from) {
    n_.skip(from, end_);
    if (integers_) return;
    const PositionId first = n_.text(from, "."), more = n_.add_beside(from);
    digits(first, 0, 9, more);
    digits(more, 0, 9, more);
    n_.skip(more, end_);
  }
  // Numbers with more digits than the bound are greater, with fewer less.
  void other_lengths(PositionId from, std::size_t length) {
    const PositionId first = n_.add_beside(from);
    if (greater_) {
      digits(from, 1, 9, first);
      any_fraction(loop_of_digits(some_digits(first, length)));
      return;
    }
    if (length == 1) return;
    digits(from, 1, 9, first);
    any_fraction(first);
    PositionId at = first;
    for (std::size_t i = 2; i < length; ++i) any_fraction(at = some_digits(at, 1));
    const PositionId zero = n_.text(from, "0");
    any_fraction(zero);
  }
  // The digits before the point are the bound's.
  void fraction(PositionId from) {
    const std::string& f = bound_.fraction;
    if (f.empty() ? !strict_ : !greater_) n_.skip(from, end_);
    if (integers_) return;
    PositionId equal = n_.text(from, ".");
    for (std::size_t i = 0; i < f.size(); ++i) {
      const int digit = f[i] - '0';
      if (i > 0 && !greater_) n_.skip(equal, end_);  // the rest of the bound is above zero
      const PositionId differs = n_.add_beside(from), next = n_.add_beside(from);
      digits(equal, greater_ ? digit + 1 : 0, greater_ ? 9 : digit - 1, differs);
      n_.skip(loop_of_digits(differs), end_);
      digits(equal, digit, digit, next);
      equal = next;
    }
    if (!f.empty() && !strict_) n_.skip(equal, end_);
    const PositionId zeros = n_.add_beside(from), above = n_.add_beside(from);
    digits(equal, 0, 0, zeros);
    digits(zeros, 0, 0, zeros);
    if (!strict_) n_.skip(zeros, end_);
    if (!greater_) return;
    digits(equal, 1, 9, above);
    digits(zeros, 1, 9, above);
    n_.skip(loop_of_digits(above), end_);
  }

  Network& n_;
  const Decimal& bound_;
  bool greater_, strict_, integers_;
  PositionId end_ = 0;
};

Decimal from_digits(bool negative, std::string digits, long point) {
  if (point <= 0) digits.insert(0, static_cast<std::size_t>(1 - point), '0'), point = 1;
  if (static_cast<std::size_t>(point) > digits.size())
    digits.append(static_cast<std::size_t>(point) - digits.size(), '0');
  Decimal d;
  d.whole = digits.substr(0, static_cast<std::size_t>(point));
  d.fraction = digits.substr(static_cast<std::size_t>(point));
  d.whole.erase(0, std::min(d.whole.find_first_not_of('0'), d.whole.size() - 1));
  while (!d.fraction.empty() && d.fraction.back() == '0') d.fraction.pop_back();
  d.negative = negative && !d.is_zero();
  return d;
}

}  // namespace

std::string Decimal::text() const {
  std::string out = negative ? "-" : "";
  out += whole;
  if (!fraction.empty()) out.append(1, '.').append(fraction);
  return out;
}

Decimal decimal_of(const nlohmann::ordered_json& number) {
  if (!number.is_number_float()) {
    std::string digits = number.dump();
    const bool negative = digits[0] == '-';
    if (negative) digits.erase(0, 1);
    const long point = static_cast<long>(digits.size());
    return from_digits(negative, std::move(digits), point);
  }
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number.get<double>(), std::chars_format::scientific);
  std::string text(buffer, end.ptr);
  const bool negative = text[0] == '-';
  if (negative) text.erase(0, 1);
  const std::size_t e = text.find('e');
  const long exponent = std::stol(text.substr(e + 1));
  text.resize(e);
  if (text.size() > 1) text.erase(1, 1);
  return from_digits(negative, std::move(text), exponent + 1);
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  int magnitude =
      a.whole.size() != b.whole.size() ? (a.whole.size() < b.whole.size() ? -1 : 1) : a.whole.compare(b.whole);
  if (magnitude == 0) magnitude = a.fraction.compare(b.fraction);
  magnitude = (magnitude > 0) - (magnitude < 0);
  return a.negative ? -magnitude : magnitude;
}

Automaton number_texts(bool integers) {
  static const Automaton whole = match_automaton("0|-?[1-9][0-9]{0,39}", {});
  static const Automaton decimal =
      match_automaton("(0|-?[1-9][0-9]{0,39})(\\.[0-9]{1,40})?|-0\\.0{0,39}[1-9][0-9]{0,39}", {});
  return integers ? whole : decimal;
}

Automaton bounded_numbers(const Decimal& bound, bool lower, bool strict, bool integers, const GrammarLimits& limits) {
  Network network(limits);
  const RuleId rule = network.add_rule("bound");
  const PositionId start = network.start(rule), end = network.add(rule);
  const PositionId plain = network.add(rule), minus = network.text(start, "-");
  network.skip(start, plain);
  const auto write = [&](PositionId from, bool greater) {
    MagnitudeWriter(network, bound, greater, strict, integers).write(from, end);
  };
  // On the side of zero that the bound is not on, all numbers or none are in.
  const Decimal zero;
  const auto all = [&](PositionId from) { MagnitudeWriter(network, zero, true, false, integers).write(from, end); };
  if (bound.negative) {
    write(minus, !lower);
    if (lower) all(plain);
  } else {
    write(plain, lower);
    if (!lower) all(minus);
  }
  return intersection(determinise(network, start, end), number_texts(integers), limits);
}

Automaton multiples(const Decimal& step, bool integers, const GrammarLimits& limits) {
  const std::string digits = step.whole + step.fraction;
  const std::size_t places = step.fraction.size();
  std::uint64_t modulus = 0;
  for (const char c : digits) {
    modulus = modulus * 10 + static_cast<std::uint64_t>(c - '0');
    if (modulus > kMaxModulus)
      throw Error(ErrorKind::kUnsupported, "multipleOf " + step.text() +
                                               " is too fine or too large: its digits make a "
                                               "number above " +
                                               std::to_string(kMaxModulus));
  }
  Network network(limits);
  const RuleId rule = network.add_rule("multiple");
  const PositionId start = network.start(rule), end = network.add(rule);
  // positions[place][remainder]: `place` digits behind the point are read.
  std::vector<std::vector<PositionId>> positions(1 + (integers ? 0 : places));
  for (auto& row : positions)
    for (std::uint64_t r = 0; r < modulus; ++r) row.push_back(network.add(rule));
  const PositionId first = network.add(rule);
  network.skip(start, first);
  network.read(start, '-', '-', first);
  const auto digit = [&](PositionId from, std::uint64_t remainder, std::size_t row) {
    for (std::uint64_t d = 0; d < 10; ++d) {
      const auto byte = static_cast<std::uint8_t>('0' + d);
      network.read(from, byte, byte, positions[row][(remainder * 10 + d) % modulus]);
    }
  };
  digit(first, 0, 0);
  for (std::size_t row = 0; row < positions.size(); ++row)
    for (std::uint64_t r = 0; r < modulus; ++r) {
      std::uint64_t scaled = r;
      for (std::size_t i = row; i < places; ++i) scaled = scaled * 10 % modulus;
      if (scaled % modulus == 0) network.skip(positions[row][r], end);
      if (row == 0) digit(positions[row][r], r, 0);
      if (row > 0 && row + 1 < positions.size()) digit(positions[row][r], r, row + 1);
    }
  if (positions.size() > 1)
    for (std::uint64_t r = 0; r < modulus; ++r) digit(network.text(positions[0][r], "."), r, 1);
  return intersection(determinise(network, start, end), number_texts(integers), limits);
}

}  // namespace nacelle::constrain
