// PCRE2 behind Regex.
#include "core/formats/regex.hpp"

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8  // for tools that read this file alone
#endif
#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/base/error.hpp"
#include "core/formats/file_error.hpp"

namespace nacelle {
namespace {

// Jumps a JIT-compiled pattern makes need stack only for groups that can backtrack; a mebibyte is far beyond what the
// pre-tokenizers use, and the interpreter (on the heap) takes over where it is not enough.
constexpr std::size_t kJitStackStart = 32 << 10, kJitStackMost = 1 << 20;
constexpr std::uint32_t kHeapMostKib = 256 << 10;

// Real tokenizers carry expressions that are quadratic when tried at every byte of a long run of spaces. The value
// matches the same text in linear time.
struct Rewrite {
  const char* from;
  const char* to;
};
constexpr Rewrite kRewrites[] = {
    // Only where a run of spaces starts can a match start: the run to its last line end, or all of it at the text's
    // end.
    {"\\s+$", "(?<!\\s)(?:\\s++\\z|\\s+(?=\\n))"},
};

std::string message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct RegexScratch::State {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackStart, kJitStackMost, nullptr);
  std::size_t limited_for = 0;  // text length that the match limit is set for
  ~State() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

RegexScratch::RegexScratch() : state_(std::make_unique<State>()) {
  if (!state_->data || !state_->context) throw std::bad_alloc();
  if (state_->stack) pcre2_jit_stack_assign(state_->context, nullptr, state_->stack);
  pcre2_set_heap_limit(state_->context, kHeapMostKib);
}
RegexScratch::~RegexScratch() = default;

Regex::Regex(const std::string& pattern) : Regex(pattern, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE) {}
Regex Regex::literal(const std::string& text) { return Regex(text, PCRE2_UTF | PCRE2_LITERAL); }

Regex::Regex(const std::string& pattern, unsigned options) : pattern_(pattern) {
  const auto* rewrite =
      std::find_if(std::begin(kRewrites), std::end(kRewrites), [&](auto& r) { return pattern == r.from; });
  const std::string source = rewrite == std::end(kRewrites) ? pattern : rewrite->to;
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  if (context) pcre2_set_parens_nest_limit(context.get(), 100);  // the compiler recurses on parentheses
  int code = 0;
  PCRE2_SIZE at = 0;
  pcre2_code* compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(), options, &code, &at, context.get());
  if (!compiled) {
    throw Error(ErrorKind::kUnsupported, "the regular expression " + in_quotes(pattern) +
                                             " is not usable: " + message(code) + " at byte " + std::to_string(at));
  }
  code_.reset(compiled, [](void* c) { pcre2_code_free(static_cast<pcre2_code*>(c)); });
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);  // without a JIT, pcre2_match interprets
}

bool Regex::search(std::string_view text, std::size_t from, RegexScratch& scratch, RegexMatch& match) const {
  auto& state = *scratch.state_;
  if (text.size() > state.limited_for || state.limited_for == 0) {
    // One pass over the text with a constant number of steps a byte; a pattern that backtracks in powers is stopped.
    const std::uint64_t limit = std::uint64_t{10'000'000} + 64 * std::uint64_t{text.size()};
    pcre2_set_match_limit(state.context, static_cast<std::uint32_t>(std::min<std::uint64_t>(limit, UINT32_MAX)));
    state.limited_for = std::max<std::size_t>(text.size(), 1);
  }
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data() ? text.data() : "");
  int rc = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, state.data, state.context);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
    rc = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, state.data, state.context);
  }
  if (rc == PCRE2_ERROR_NOMATCH) return false;
  if (rc < 0) {
    throw Error(ErrorKind::kResource,
                "the regular expression " + in_quotes(pattern_) + " gave up on this text: " + message(rc));
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(state.data);
  // \K inside a look-ahead can put the start behind the end or before `from`.
  match.begin = std::max<std::size_t>(bounds[0], from);
  match.end = std::max<std::size_t>(bounds[1], match.begin);
  return true;
}

}  // namespace nacelle
