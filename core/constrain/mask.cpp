// Which tokens a state allows: the local form, its walk over the vocabulary, and what reaches past it.
#include <algorithm>
#include <cstring>

#include "core/constrain/machine.hpp"

namespace nacelle::constrain {
namespace {

// More tokens than this are kept as bits: a bit set of 128k tokens is 16 KB, about the time of a thousand single bits.
constexpr std::size_t kSparse = 1024;
// States that are reached without a byte through ever lower stacks; deeper, the state is walked as it stands.
constexpr unsigned kMaxJoined = 16;
constexpr unsigned kMaxLocalDepth = 64;
constexpr std::uint64_t kLocalised = 8;  // steps of work for a stack, beside its frames

}  // namespace

// ---- Local forms

// The stack as it looks from inside `rule`, which was called on it. False where there are more holes than marks.
bool Machine::localise(RuleId rule, StackId stack, unsigned depth, Localised& done, std::vector<StackId>& holes,
                       StackId& out) {
  if (stack == kBottom) return out = stack, true;
  const std::uint64_t key = std::uint64_t{rule} << 32 | stack;
  if (const auto known = done.find(key); known != done.end()) return out = known->second, true;
  if (program_->network->rules()[rule].barrier || depth > kMaxLocalDepth) {
    std::size_t hole = static_cast<std::size_t>(std::find(holes.begin(), holes.end(), stack) - holes.begin());
    if (hole == kHoles) return false;
    if (hole == holes.size()) holes.push_back(stack);
    out = static_cast<StackId>(hole + 1);
    return true;
  }
  const std::uint32_t longest = vocabulary_->trie().longest;
  const auto words = stacks_.at(stack);
  const std::vector<std::uint32_t> frames(words.begin(), words.end());
  if ((work_ += kLocalised + frames.size()) > limit_) return exhausted_ = true, false;
  std::vector<std::uint32_t> own;
  for (const FrameId id : frames) {
    if (id <= kHoles) {
      own.push_back(id);
      continue;
    }
    Frame f = frame_at(id);
    StackId parent = 0;
    if (!localise(program_->calls[f.call].by, f.parent, depth + 1, done, holes, parent)) return false;
    // A round reads at least a byte: a longer count cannot run out within a token.
    if (f.left > longest) f.left = kUnbounded;
    own.push_back(frame(f.call, std::min(f.need, longest), f.left, parent));
  }
  std::sort(own.begin(), own.end());
  own.erase(std::unique(own.begin(), own.end()), own.end());
  done[key] = out = stacks_.add(own);
  return true;
}

const Machine::Local* Machine::local(Config config) {
  const auto found = locals_.find(config);
  if (found != locals_.end()) return &found->second;
  const auto span = configs_.at(config);
  std::vector<std::uint32_t> words(span.begin(), span.end());
  Local result{config, {}};
  // Items that a state had merged may be told apart no more than before: one stack a position stays one.
  Localised done;
  for (std::size_t i = 1; i < words.size(); i += 2) {
    const RuleId rule = program_->network->positions()[words[i]].rule;
    if (localise(rule, words[i + 1], 0, done, result.holes, words[i + 1])) continue;
    return exhausted_ ? nullptr : &(locals_[config] = {config, {}});
  }
  words[0] = 0;  // whether the text may end is no matter of tokens
  result.config = configs_.add(words);
  if (result.config == flags_.size()) {
    flags_.push_back(words[0]);
    transitions_.resize(transitions_.size() + width_, kUnknown);
  }
  return &(locals_[config] = std::move(result));
}

// ---- Walks

// Visits the tokens of the nodes [begin, end), which follow `config` at `depth` bytes. States that reach holes are
// noted as escapes at their node.
template <class Visit>
void Machine::walk(const Trie& trie, std::uint32_t begin, std::uint32_t end, std::uint32_t depth, Config config,
                   std::vector<Escape>* escapes, Visit&& visit) {
  path_[depth] = config;
  const Trie::Node* nodes = trie.nodes.data();
  std::uint32_t visited = 0;
  for (std::uint32_t i = begin; i < end && !exhausted_; ++visited) {
    const Trie::Node node = nodes[i];
    const Config next = step(path_[node.depth - 1u], node.byte);
    if (next == kDead) {
      i = node.skip;
      continue;
    }
    const std::uint32_t flags = flags_[next];
    if (flags > kAccepts && escapes)
      for (std::uint8_t hole = 1; hole <= kHoles; ++hole)
        if (flags >> hole & 1) escapes->push_back({i, hole, &trie == &vocabulary_->trie().plain});
    path_[node.depth] = next;
    for (std::uint32_t t = node.first; t < node.first + node.count; ++t) visit(trie.tokens[t]);
    ++i;
  }
  work_ += visited / kNodesAStep;
}

// The state behind any one plain character, where it is the same behind all of them; kUnknown where it is not.
Config Machine::after_plain_character(Config config) {
  Config to = kUnknown;
  const auto same = [&](Config next) {
    if (to == kUnknown) to = next;
    return to == next;
  };
  for (const std::uint8_t byte : program_->classes.sample) {
    // A class is met by its first byte; `"`, `\` and controls may share one with plain bytes.
    unsigned plain = byte;
    while (plain < 0x80 && (plain < 0x20 || plain == '"' || plain == '\\') &&
           program_->classes.of[plain] == program_->classes.of[byte])
      ++plain;
    if (plain >= 0x80 || program_->classes.of[plain] != program_->classes.of[byte]) continue;
    if (!same(step(config, static_cast<std::uint8_t>(plain)))) return kUnknown;
  }
  struct Sequence {
    std::uint8_t first, last, second_low, second_high, more;
  };
  // Well-formed UTF-8, table 3-7 of the Unicode standard.
  static constexpr Sequence kSequences[] = {{0xC2, 0xDF, 0x80, 0xBF, 0}, {0xE0, 0xE0, 0xA0, 0xBF, 1},
                                            {0xE1, 0xEC, 0x80, 0xBF, 1}, {0xED, 0xED, 0x80, 0x9F, 1},
                                            {0xEE, 0xEF, 0x80, 0xBF, 1}, {0xF0, 0xF0, 0x90, 0xBF, 2},
                                            {0xF1, 0xF3, 0x80, 0xBF, 2}, {0xF4, 0xF4, 0x80, 0x8F, 2}};
  const auto& of = program_->classes.of;
  const auto each = [&](unsigned low, unsigned high, auto&& visit) {
    for (unsigned byte = low; byte <= high; ++byte)
      if ((byte == low || of[byte] != of[byte - 1]) && !visit(static_cast<std::uint8_t>(byte))) return false;
    return true;
  };
  for (const Sequence& s : kSequences) {
    const bool good = each(s.first, s.last, [&](std::uint8_t lead) {
      const Config one = step(config, lead);
      return each(s.second_low, s.second_high, [&](std::uint8_t second) {
        const Config two = step(one, second);
        if (s.more == 0) return same(two);
        return each(0x80, 0xBF, [&](std::uint8_t third) {
          const Config three = step(two, third);
          if (s.more == 1) return same(three);
          return each(0x80, 0xBF, [&](std::uint8_t fourth) { return same(step(three, fourth)); });
        });
      });
    });
    if (!good) return kUnknown;
  }
  return to;
}

// Whether plain tokens are judged by their length alone; `base` is then their bits. True inside JSON strings.
bool Machine::plain_run(Config config, const std::vector<std::uint32_t>*& base) {
  const auto& up_to = vocabulary_->trie().plain_up_to;
  for (std::size_t length = 0; length < up_to.size(); ++length) {
    const Config next = after_plain_character(config);
    if (next == kUnknown || flags_[next] > kAccepts) return false;
    if (next == kDead) return base = &up_to[length], true;
    if (next == config) break;
    config = next;
  }
  return base = &up_to.back(), true;  // no token is too long
}

// ---- Masks

const Machine::Shape* Machine::shape(Config config) {
  if (const auto known = shapes_.find(config); known != shapes_.end()) return &known->second;
  Shape shape;
  const TokenTrie& trie = vocabulary_->trie();
  shape.holes_at_once = flags_[config] & ~kAccepts;
  std::vector<TokenId> tokens;
  const auto take = [&](TokenId id) { tokens.push_back(id); };
  const auto size = [](const Trie& t) { return static_cast<std::uint32_t>(t.nodes.size()); };
  if (!plain_run(config, shape.base)) walk(trie.plain, 0, size(trie.plain), 0, config, &shape.escapes, take);
  walk(trie.other, 0, size(trie.other), 0, config, &shape.escapes, take);
  if (exhausted_) return nullptr;
  if (tokens.size() > kSparse) {
    shape.dense.resize(vocabulary_->words());
    if (shape.base) shape.dense = *shape.base;
    shape.base = nullptr;
    for (const TokenId id : tokens) shape.dense[static_cast<std::size_t>(id) / 32] |= 1u << (id % 32);
  } else {
    shape.sparse = std::move(tokens);
  }
  mask_bytes_ += shape.dense.capacity() * 4 + shape.sparse.capacity() * 4 + shape.escapes.capacity() * sizeof(Escape);
  return &(shapes_[config] = std::move(shape));
}

std::unique_ptr<Machine::Mask> Machine::make_mask(const Local& form) {
  auto mask = std::make_unique<Mask>();
  mask->shape = shape(form.config);
  if (!mask->shape) return nullptr;
  const auto below = [&](std::uint8_t hole) { return resume(form.holes[hole - 1u]); };
  for (std::uint8_t hole = 1; hole <= kHoles; ++hole)
    if (mask->shape->holes_at_once >> hole & 1) mask->also.push_back(below(hole));
  for (const Escape& escape : mask->shape->escapes) {
    const Trie& trie = escape.plain ? vocabulary_->trie().plain : vocabulary_->trie().other;
    const Trie::Node& node = trie.nodes[escape.node];
    if (node.skip == escape.node + 1) continue;
    walk(trie, escape.node + 1, node.skip, node.depth, below(escape.hole), nullptr,
         [&](TokenId id) { mask->beyond.push_back(id); });
  }
  if (exhausted_) return nullptr;
  mask_bytes_ += mask->beyond.capacity() * sizeof(TokenId) + sizeof(Mask);
  return mask;
}

const Machine::Mask* Machine::mask(Config config, bool whole) {
  const Local as_it_stands{config, {}};
  const Local* form = whole ? &as_it_stands : local(config);
  if (!form) return nullptr;
  std::vector<std::uint32_t> key{form->config};
  key.insert(key.end(), form->holes.begin(), form->holes.end());
  const std::uint32_t id = mask_keys_.add(key);
  if (id == masks_.size()) masks_.emplace_back();  // taken: make_mask() adds no keys
  if (!masks_[id]) masks_[id] = make_mask(*form);
  return masks_[id].get();
}

const Machine::Mask* Machine::find_mask(Config config, unsigned depth) {
  if (const auto known = mask_of_.find(config); known != mask_of_.end()) return known->second;
  const Mask* found = mask(config, depth > kMaxJoined);
  if (found && depth <= kMaxJoined) mask_of_[config] = found;
  return found;
}

void Machine::learn_mask(Config config, unsigned depth) {
  const Mask* found = config == kDead ? nullptr : find_mask(config, depth);
  if (!found) return;
  for (const Config below : found->also) learn_mask(below, depth + 1);
}

// The first set of bits is copied, not joined with zeros: a mask of a real vocabulary is 300 cache lines.
void Machine::write_mask(Config config, std::span<std::uint32_t> words) {
  const Mask* found = config == kDead ? nullptr : find_mask(config, 0);
  const std::vector<std::uint32_t>* bits = !found                         ? nullptr
                                           : !found->shape->dense.empty() ? &found->shape->dense
                                                                          : found->shape->base;
  if (bits)
    std::copy_n(bits->begin(), words.size(), words.begin());
  else
    std::fill(words.begin(), words.end(), 0u);
  if (found) add_mask(*found, words, bits, 0);
}

void Machine::add_mask(Config config, std::span<std::uint32_t> words, unsigned depth) {
  const Mask* found = config == kDead ? nullptr : find_mask(config, depth);
  if (found) add_mask(*found, words, nullptr, depth);
}

// All of it but the bits `but`, which are there.
void Machine::add_mask(const Mask& mask, std::span<std::uint32_t> words, const std::vector<std::uint32_t>* but,
                       unsigned depth) {
  const auto join = [&](const std::vector<std::uint32_t>& bits) {
    if (&bits == but) return;
    for (std::size_t i = 0; i < words.size(); ++i) words[i] |= bits[i];
  };
  const auto set = [&](const std::vector<TokenId>& tokens) {
    for (const TokenId id : tokens) words[static_cast<std::size_t>(id) / 32] |= 1u << (id % 32);
  };
  if (!mask.shape->dense.empty()) join(mask.shape->dense);
  if (mask.shape->base) join(*mask.shape->base);
  set(mask.shape->sparse);
  set(mask.beyond);
  for (const Config below : mask.also) add_mask(below, words, depth + 1);
}

bool Machine::has_longer_token(Config config, std::string_view text) {
  for (const Trie* trie : {&vocabulary_->trie().plain, &vocabulary_->trie().other}) {
    std::uint32_t node = 0, end = static_cast<std::uint32_t>(trie->nodes.size());
    std::size_t depth = 0;
    while (depth < text.size() && node < end) {
      const Trie::Node& here = trie->nodes[node];
      if (here.byte != static_cast<std::uint8_t>(text[depth])) {
        node = here.skip;
        continue;
      }
      ++depth, ++node;
      end = here.skip;
    }
    if (depth < text.size()) continue;
    bool found = false;
    walk(*trie, node, end, static_cast<std::uint32_t>(depth), run(config, text), nullptr,
         [&](TokenId) { found = true; });
    if (found) return true;
  }
  return false;
}

}  // namespace nacelle::constrain
