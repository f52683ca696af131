// Splits a normalized text into the pieces that the model encodes one by one. Names follow tokenizer.json.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/formats/regex.hpp"

namespace nacelle {

// What becomes of a delimiter ("match"): a piece of its own, nothing, or a part of a neighbour. kContiguous joins
// delimiters that touch.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

// What a step may use while it splits; texts that it has to rewrite live in `rewritten` until the encoding ends.
struct SplitContext {
  RegexScratch& regex;
  std::deque<std::string>& rewritten;
  bool at_start;  // the text is the beginning of the whole input
};

// One step. Immutable; any thread may use it. `index` is the piece's place in its text. Never gives an empty piece.
class SplitStep {
 public:
  virtual ~SplitStep() = default;
  virtual void split(std::string_view piece, std::size_t index, SplitContext& context,
                     std::vector<std::string_view>& out) const = 0;
};
using PreTokenizer = std::vector<std::unique_ptr<SplitStep>>;

// Replaces `pieces` by what the steps make of it; `spare` is working memory.
void pre_tokenize(const PreTokenizer& steps, std::vector<std::string_view>& pieces,
                  std::vector<std::string_view>& spare, SplitContext& context);

enum class PrependScheme { kAlways, kFirst, kNever };

// `invert`: the pattern describes the pieces, not the delimiters.
std::unique_ptr<SplitStep> make_regex_split(Regex pattern, SplitBehavior behavior, bool invert = false);
// Splits where a property of single characters holds (unicode.hpp).
std::unique_ptr<SplitStep> make_property_split(bool (*property)(char32_t), SplitBehavior behavior);
// Puts a space before a piece that has none.
std::unique_ptr<SplitStep> make_prefix_space();
// Spaces become `replacement`, which the scheme may also put in front; then splits before each, where `split` asks.
std::unique_ptr<SplitStep> make_metaspace(std::string replacement, PrependScheme scheme, bool split);

}  // namespace nacelle
