// Fuzzes the compilers of constraints and the matcher. The first byte says what the rest is: 0 a schema, 1 a grammar, 2
// a regex, 3 choices a line; whatever is taken is walked for some tokens. Anything but masks that tell the truth or an
// Error of one line is a finding.
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/base/error.hpp"
#include "core/constrain/grammar.hpp"

namespace {

using namespace nacelle;
using namespace nacelle::constrain;

void check_truth(bool holds) {
  if (!holds) std::abort();
}

// All bytes, and some tokens that reach over borders.
std::shared_ptr<const Vocabulary> tokens() {
  static const auto vocabulary = [] {
    static std::vector<std::string> texts;
    for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
    for (const char* text : {"ab", "\", \"", "\":", "{\"", "}]", "12", "\xc3\xa9", "aaaa", "\\n"})
      texts.emplace_back(text);
    std::vector<Vocabulary::Token> list;
    for (std::size_t i = 0; i < texts.size(); ++i) list.push_back({static_cast<TokenId>(i), texts[i]});
    return Vocabulary::make(list, {static_cast<TokenId>(texts.size())}, texts.size() + 1);
  }();
  return vocabulary;
}

void follow(const std::shared_ptr<const Grammar>& grammar, std::string_view seed) {
  Matcher matcher(grammar);
  std::vector<std::uint32_t> words(tokens()->words());
  std::uint32_t state = 1;
  for (int step = 0; step < 24 && !matcher.finished(); ++step) {
    if (!matcher.mask(words)) return;
    std::vector<TokenId> allowed;
    for (std::size_t id = 0; id < tokens()->width(); ++id) {
      const bool bit = words[id / 32] >> (id % 32) & 1;
      const bool taken = matcher.accept(static_cast<TokenId>(id));
      check_truth(bit == taken || !matcher.error().empty());
      if (taken) check_truth(matcher.rollback(1));
      if (bit) allowed.push_back(static_cast<TokenId>(id));
    }
    if (!matcher.error().empty()) return;
    check_truth(!allowed.empty());
    std::size_t forced = 0;
    for (const TokenId id : matcher.forced()) {
      check_truth(matcher.accept(id));
      ++forced;
    }
    check_truth(matcher.rollback(forced));
    state = state * 1664525u + 1013904223u +
            (seed.empty() ? 0u : static_cast<unsigned char>(seed[static_cast<std::size_t>(step) % seed.size()]));
    check_truth(matcher.accept(allowed[(state >> 8) % allowed.size()]));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  ConstraintSpec spec;
  spec.param = "field";
  spec.text = std::string(text);
  switch (data[0] % 4) {
    case 0: spec.kind = ConstraintSpec::Kind::kJsonSchema; break;
    case 1: spec.kind = ConstraintSpec::Kind::kGbnf; break;
    case 2: spec.kind = ConstraintSpec::Kind::kRegex; break;
    default:
      spec.kind = ConstraintSpec::Kind::kChoice;
      for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        spec.choices.emplace_back(text.substr(begin, end - begin));
        begin = end + 1;
      }
  }
  try {
    follow(Grammar::compile(spec, tokens()), text);
  } catch (const Error& error) {
    check_truth(error.kind() == ErrorKind::kInvalidArgument || error.kind() == ErrorKind::kUnsupported);
    check_truth(std::string_view(error.what()).size() < 2000);
  }
  return 0;
}
