// The splitting steps. Their behaviour is defined by Hugging Face's tokenizers library.
#include "core/tokenizer/pre_tokenizer.hpp"

#include "core/tokenizer/unicode.hpp"

namespace nacelle {
namespace {

// Turns the alternation of matches and gaps of one piece into pieces. add() is called left to right and covers the
// text.
class Cutter {
 public:
  Cutter(std::string_view text, SplitBehavior behavior, std::vector<std::string_view>& out)
      : text_(text), behavior_(behavior), out_(out) {}

  void add(std::size_t begin, std::size_t end, bool match) {
    if (begin == end) return;
    switch (behavior_) {
      case SplitBehavior::kIsolated: emit(begin, end); break;
      case SplitBehavior::kRemoved:
        if (!match) emit(begin, end);
        break;
      case SplitBehavior::kContiguous: join(begin, end, match == previous_match_); break;
      case SplitBehavior::kMergedWithPrevious: join(begin, end, match && !previous_match_); break;
      // A match takes in what follows, unless that is a match too.
      case SplitBehavior::kMergedWithNext: join(begin, end, !match && previous_match_); break;
    }
    previous_match_ = match;
  }
  void finish() {
    if (held_) emit(begin_, end_);
  }

 private:
  void emit(std::size_t begin, std::size_t end) { out_.push_back(text_.substr(begin, end - begin)); }
  void join(std::size_t begin, std::size_t end, bool with_held) {
    if (held_ && !with_held) emit(begin_, end_);
    if (!held_ || !with_held) begin_ = begin;
    end_ = end;
    held_ = true;
  }

  std::string_view text_;
  SplitBehavior behavior_;
  std::vector<std::string_view>& out_;
  bool previous_match_ = false;
  bool held_ = false;  // [begin_, end_) may still grow
  std::size_t begin_ = 0, end_ = 0;
};

class RegexSplit final : public SplitStep {
 public:
  RegexSplit(Regex pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void split(std::string_view piece, std::size_t, SplitContext& context,
             std::vector<std::string_view>& out) const override {
    Cutter cutter(piece, behavior_, out);
    std::size_t done = 0;
    RegexMatch match;
    for (std::size_t from = 0; from < piece.size() && pattern_.search(piece, from, context.regex, match);) {
      cutter.add(done, match.begin, invert_);
      cutter.add(match.begin, match.end, !invert_);
      done = from = match.end;
      if (match.begin == match.end && from < piece.size()) unicode::next_code_point(piece, from);
    }
    cutter.add(done, piece.size(), invert_);
    cutter.finish();
  }

 private:
  Regex pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class PropertySplit final : public SplitStep {
 public:
  PropertySplit(bool (*property)(char32_t), SplitBehavior behavior) : property_(property), behavior_(behavior) {}
  void split(std::string_view piece, std::size_t, SplitContext&, std::vector<std::string_view>& out) const override {
    Cutter cutter(piece, behavior_, out);
    std::size_t done = 0;
    for (std::size_t pos = 0; pos < piece.size();) {
      const std::size_t begin = pos;
      if (!property_(unicode::next_code_point(piece, pos))) continue;
      cutter.add(done, begin, false);
      cutter.add(begin, pos, true);
      done = pos;
    }
    cutter.add(done, piece.size(), false);
    cutter.finish();
  }

 private:
  bool (*property_)(char32_t);
  SplitBehavior behavior_;
};

class PrefixSpace final : public SplitStep {
 public:
  void split(std::string_view piece, std::size_t, SplitContext& context,
             std::vector<std::string_view>& out) const override {
    if (piece.starts_with(' ')) return out.push_back(piece);
    out.push_back(context.rewritten.emplace_back(" ").append(piece));
  }
};

class Metaspace final : public SplitStep {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)), scheme_(scheme), split_(split) {}
  void split(std::string_view piece, std::size_t index, SplitContext& context,
             std::vector<std::string_view>& out) const override {
    std::string& text = context.rewritten.emplace_back();
    const bool first = context.at_start && index == 0;
    const bool prepend = scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && first);
    if (prepend && !piece.starts_with(' ') && !piece.starts_with(replacement_)) text += replacement_;
    for (const char c : piece) c == ' ' ? void(text += replacement_) : text.push_back(c);
    if (!split_) return out.push_back(text);
    Cutter cutter(text, SplitBehavior::kMergedWithNext, out);
    std::size_t done = 0;
    for (std::size_t at; (at = text.find(replacement_, done)) != std::string::npos; done = at + replacement_.size()) {
      cutter.add(done, at, false);
      cutter.add(at, at + replacement_.size(), true);
    }
    cutter.add(done, text.size(), false);
    cutter.finish();
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
};

}  // namespace

void pre_tokenize(const PreTokenizer& steps, std::vector<std::string_view>& pieces,
                  std::vector<std::string_view>& spare, SplitContext& context) {
  for (const auto& step : steps) {
    spare.clear();
    for (std::size_t i = 0; i < pieces.size(); ++i) step->split(pieces[i], i, context, spare);
    pieces.swap(spare);
  }
}

std::unique_ptr<SplitStep> make_regex_split(Regex pattern, SplitBehavior behavior, bool invert) {
  return std::make_unique<RegexSplit>(std::move(pattern), behavior, invert);
}
std::unique_ptr<SplitStep> make_property_split(bool (*property)(char32_t), SplitBehavior behavior) {
  return std::make_unique<PropertySplit>(property, behavior);
}
std::unique_ptr<SplitStep> make_prefix_space() { return std::make_unique<PrefixSpace>(); }
std::unique_ptr<SplitStep> make_metaspace(std::string replacement, PrependScheme scheme, bool split) {
  return std::make_unique<Metaspace>(std::move(replacement), scheme, split);
}

}  // namespace nacelle
