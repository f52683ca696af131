// Subset construction, products and minimisation (Moore's refinement; small automata only, where it is quick).
#include "core/constrain/regular.hpp"

#include <algorithm>
#include <bitset>
#include <map>
#include <unordered_map>

#include "core/base/error.hpp"

namespace nacelle::constrain {
namespace {

constexpr std::size_t kMinimiseUpTo = 2'000;  // states; refinement is quadratic in a chain's length

[[noreturn]] void refuse_states(const GrammarLimits& limits) {
  throw Error(ErrorKind::kInvalidArgument, "the patterns, lengths and ranges of one value need more than " +
                                               std::to_string(limits.automaton_states) +
                                               " automaton states; use smaller counts or a simpler pattern");
}

// Drops states that cannot reach an accepting one. State 0 stays.
Automaton trimmed(Automaton a) {
  const std::size_t size = a.size(), width = a.class_count;
  std::vector<std::vector<std::uint32_t>> before(size);
  for (std::size_t s = 0; s < size; ++s)
    for (std::size_t c = 0; c < width; ++c)
      if (const std::int32_t to = a.next[s * width + c]; to >= 0)
        before[static_cast<std::size_t>(to)].push_back(static_cast<std::uint32_t>(s));
  std::vector<bool> live(size);
  std::vector<std::uint32_t> work;
  for (std::size_t s = 0; s < size; ++s)
    if (a.accepts[s]) live[s] = true, work.push_back(static_cast<std::uint32_t>(s));
  while (!work.empty()) {
    const std::uint32_t s = work.back();
    work.pop_back();
    for (const std::uint32_t b : before[s])
      if (!live[b]) live[b] = true, work.push_back(b);
  }
  std::vector<std::int32_t> renamed(size, Automaton::kDead);
  std::int32_t count = 0;
  for (std::size_t s = 0; s < size; ++s)
    if (live[s] || s == 0) renamed[s] = count++;
  Automaton out;
  out.class_of = a.class_of;
  out.class_count = a.class_count;
  for (std::size_t s = 0; s < size; ++s) {
    if (renamed[s] < 0) continue;
    out.accepts.push_back(a.accepts[s]);
    for (std::size_t c = 0; c < width; ++c) {
      const std::int32_t to = a.next[s * width + c];
      out.next.push_back(to >= 0 && live[static_cast<std::size_t>(to)] ? renamed[static_cast<std::size_t>(to)]
                                                                       : Automaton::kDead);
    }
  }
  return out;
}

Automaton minimised(const Automaton& a, const GrammarLimits& limits) {
  const std::size_t size = a.size(), width = a.class_count;
  if (size > kMinimiseUpTo) return a;
  std::vector<std::int32_t> block(size);
  for (std::size_t s = 0; s < size; ++s) block[s] = a.accepts[s];
  for (std::size_t blocks = 0;;) {
    check_time(limits);
    std::map<std::vector<std::int32_t>, std::int32_t> names;
    std::vector<std::int32_t> refined(size), key(width + 1);
    for (std::size_t s = 0; s < size; ++s) {
      key[0] = block[s];
      for (std::size_t c = 0; c < width; ++c) {
        const std::int32_t to = a.next[s * width + c];
        key[c + 1] = to < 0 ? Automaton::kDead : block[static_cast<std::size_t>(to)];
      }
      refined[s] = names.try_emplace(key, static_cast<std::int32_t>(names.size())).first->second;
    }
    block = std::move(refined);
    if (names.size() == blocks) break;
    blocks = names.size();
  }
  // Blocks are numbered by their first state, so state 0 is in block 0.
  Automaton out;
  out.class_of = a.class_of;
  out.class_count = a.class_count;
  for (std::size_t s = 0; s < size; ++s) {
    if (static_cast<std::size_t>(block[s]) != out.accepts.size()) continue;
    out.accepts.push_back(a.accepts[s]);
    for (std::size_t c = 0; c < width; ++c) {
      const std::int32_t to = a.next[s * width + c];
      out.next.push_back(to < 0 ? Automaton::kDead : block[static_cast<std::size_t>(to)]);
    }
  }
  return out;
}

void set_classes(Automaton& a, const std::bitset<257>& begins) {
  int current = -1;
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (begins[byte] || byte == 0) ++current;
    a.class_of[byte] = static_cast<std::uint8_t>(current);
  }
  a.class_count = static_cast<std::uint32_t>(current + 1);
}

std::vector<std::uint8_t> samples(const Automaton& a) {
  std::vector<std::uint8_t> sample(a.class_count);
  for (unsigned byte = 256; byte-- > 0;) sample[a.class_of[byte]] = static_cast<std::uint8_t>(byte);
  return sample;
}

// Pairs of states; `b` may be dead where `keep_without_b` is set.
Automaton product(const Automaton& a, const Automaton& b, bool without_b, const GrammarLimits& limits) {
  Automaton out;
  std::bitset<257> begins;
  for (unsigned byte = 1; byte < 256; ++byte)
    begins[byte] = a.class_of[byte] != a.class_of[byte - 1] || b.class_of[byte] != b.class_of[byte - 1];
  set_classes(out, begins);
  const auto sample = samples(out);
  std::unordered_map<std::uint64_t, std::int32_t> names;
  std::vector<std::pair<std::int32_t, std::int32_t>> pairs;
  const auto name = [&](std::int32_t x, std::int32_t y) {
    if (x < 0 || (y < 0 && !without_b)) return Automaton::kDead;
    const std::uint64_t key = static_cast<std::uint64_t>(x) << 32 | static_cast<std::uint32_t>(y);
    const auto [entry, added] = names.try_emplace(key, static_cast<std::int32_t>(pairs.size()));
    if (added) pairs.emplace_back(x, y);
    return entry->second;
  };
  name(0, 0);
  for (std::size_t s = 0; s < pairs.size(); ++s) {
    if (pairs.size() > limits.automaton_states) refuse_states(limits);
    if (s % 64 == 0) check_time(limits);
    const auto [x, y] = pairs[s];
    const bool in_b = y >= 0 && b.accepts[static_cast<std::size_t>(y)];
    out.accepts.push_back(a.accepts[static_cast<std::size_t>(x)] && in_b != without_b);
    for (const std::uint8_t byte : sample) out.next.push_back(name(a.step(x, byte), y < 0 ? y : b.step(y, byte)));
  }
  return minimised(trimmed(std::move(out)), limits);
}

}  // namespace

bool Automaton::empty() const { return std::find(accepts.begin(), accepts.end(), true) == accepts.end(); }

bool Automaton::matches(std::string_view text) const {
  std::int32_t state = 0;
  for (const char c : text) {
    state = step(state, static_cast<std::uint8_t>(c));
    if (state < 0) return false;
  }
  return accepts[static_cast<std::size_t>(state)];
}

Automaton determinise(const Network& network, PositionId start, PositionId end) {
  using Subset = std::vector<PositionId>;
  const auto& positions = network.positions();
  std::bitset<257> begins;
  for (const Position& position : positions)
    for (const ByteEdge& e : position.bytes) begins[e.low] = begins[static_cast<std::size_t>(e.high) + 1] = true;
  Automaton out;
  set_classes(out, begins);
  const auto sample = samples(out);

  std::vector<std::uint32_t> seen(positions.size());
  std::uint32_t round = 0;
  const auto close = [&](Subset subset) {
    ++round;
    for (const PositionId p : subset) seen[p] = round;
    for (std::size_t i = 0; i < subset.size(); ++i)
      for (const PositionId to : positions[subset[i]].empty)
        if (seen[to] != round) seen[to] = round, subset.push_back(to);
    std::sort(subset.begin(), subset.end());
    return subset;
  };
  std::map<Subset, std::int32_t> names;
  std::vector<const Subset*> subsets;
  const auto name = [&](Subset subset) {
    if (subset.empty()) return Automaton::kDead;
    const auto [entry, added] = names.try_emplace(close(std::move(subset)), static_cast<std::int32_t>(subsets.size()));
    if (added) subsets.push_back(&entry->first);
    return entry->second;
  };
  name({start});
  for (std::size_t s = 0; s < subsets.size(); ++s) {
    if (subsets.size() > network.limits().automaton_states) refuse_states(network.limits());
    network.check_time();  // a state may be a subset of all positions
    const Subset& subset = *subsets[s];
    out.accepts.push_back(std::binary_search(subset.begin(), subset.end(), end));
    for (const std::uint8_t byte : sample) {
      Subset to;
      for (const PositionId p : subset)
        for (const ByteEdge& e : positions[p].bytes)
          if (e.low <= byte && byte <= e.high) to.push_back(e.to);
      std::sort(to.begin(), to.end());
      to.erase(std::unique(to.begin(), to.end()), to.end());
      out.next.push_back(name(std::move(to)));
    }
  }
  return minimised(trimmed(std::move(out)), network.limits());
}

Automaton intersection(const Automaton& a, const Automaton& b, const GrammarLimits& limits) {
  return product(a, b, false, limits);
}

Automaton difference(const Automaton& a, const Automaton& b, const GrammarLimits& limits) {
  return product(a, b, true, limits);
}

namespace {

constexpr char kHex[] = "0123456789abcdef";

// `byte` as it stands in a JSON string, from `from` to `to`.
void read_escaped(Network& network, PositionId from, std::uint8_t byte, PositionId to) {
  const PositionId slash = network.add_beside(from);
  network.read(from, '\\', '\\', slash);
  const auto letter = [&](char c) {
    network.read(slash, static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c), to);
  };
  switch (byte) {
    case '"': return letter('"');
    case '\\': return letter('\\');
    case '\b': return letter('b');
    case '\f': return letter('f');
    case '\n': return letter('n');
    case '\r': return letter('r');
    case '\t': return letter('t');
    default: break;
  }
  const PositionId before_last = network.text(slash, byte < 16 ? "u000" : "u001");
  const auto last = static_cast<std::uint8_t>(kHex[byte & 15]);
  network.read(before_last, last, last, to);
}

template <class Read>
PositionId read_states(Network& network, PositionId from, const Automaton& automaton, Read&& read) {
  std::vector<PositionId> place(automaton.size());
  for (PositionId& p : place) p = network.add_beside(from);
  network.skip(from, place[0]);
  const PositionId end = network.add_beside(from);
  for (std::size_t s = 0; s < automaton.size(); ++s) {
    if (automaton.accepts[s]) network.skip(place[s], end);
    for (unsigned byte = 0; byte < 256;) {
      const std::int32_t to = automaton.step(static_cast<std::int32_t>(s), static_cast<std::uint8_t>(byte));
      unsigned last = byte;
      while (last < 255 && automaton.step(static_cast<std::int32_t>(s), static_cast<std::uint8_t>(last + 1)) == to)
        ++last;
      if (to >= 0)
        read(place[s], static_cast<std::uint8_t>(byte), static_cast<std::uint8_t>(last),
             place[static_cast<std::size_t>(to)]);
      byte = last + 1;
    }
  }
  return end;
}

}  // namespace

PositionId read_automaton(Network& network, PositionId from, const Automaton& automaton) {
  return read_states(network, from, automaton, [&](PositionId at, std::uint8_t low, std::uint8_t high, PositionId to) {
    network.read(at, low, high, to);
  });
}

PositionId read_automaton_escaped(Network& network, PositionId from, const Automaton& automaton) {
  return read_states(network, from, automaton, [&](PositionId at, std::uint8_t low, std::uint8_t high, PositionId to) {
    unsigned byte = low;
    while (byte <= high) {
      if (byte < 0x20 || byte == '"' || byte == '\\') {
        read_escaped(network, at, static_cast<std::uint8_t>(byte++), to);
        continue;
      }
      unsigned last = byte;
      while (last < high && last + 1 != '"' && last + 1 != '\\') ++last;
      network.read(at, static_cast<std::uint8_t>(byte), static_cast<std::uint8_t>(last), to);
      byte = last + 1;
    }
  });
}

}  // namespace nacelle::constrain
