// The normalizer steps. What each does to which character is defined by Hugging Face's tokenizers library.
#include "core/tokenizer/normalizer.hpp"

#include <functional>

namespace nacelle {
namespace {

// Rewrites a text character by character: `map` appends what stands for `c`.
class MapStep final : public NormalizerStep {
 public:
  using Map = std::function<void(std::string& out, char32_t c)>;
  explicit MapStep(Map map) : map_(std::move(map)) {}
  void apply(std::string& text, RegexScratch&) const override {
    std::string out;
    out.reserve(text.size());
    for (std::size_t pos = 0; pos < text.size();) map_(out, unicode::next_code_point(text, pos));
    text = std::move(out);
  }

 private:
  Map map_;
};

class FormStep final : public NormalizerStep {
 public:
  explicit FormStep(unicode::Form form) : form_(form) {}
  void apply(std::string& text, RegexScratch&) const override { text = unicode::normalize(text, form_); }

 private:
  unicode::Form form_;
};

class StripStep final : public NormalizerStep {
 public:
  StripStep(bool left, bool right) : left_(left), right_(right) {}
  void apply(std::string& text, RegexScratch&) const override {
    std::size_t begin = 0, end = text.size();
    for (std::size_t pos = begin; left_ && pos < end; begin = pos) {
      if (!unicode::is_whitespace(unicode::next_code_point(text, pos))) break;
    }
    for (std::size_t pos = end; right_ && pos > begin; end = pos) {
      if (!unicode::is_whitespace(unicode::previous_code_point(text, pos))) break;
    }
    text = text.substr(begin, end - begin);
  }

 private:
  bool left_, right_;
};

class PrependStep final : public NormalizerStep {
 public:
  explicit PrependStep(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(std::string& text, RegexScratch&) const override {
    if (!text.empty()) text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class LiteralStep final : public NormalizerStep {
 public:
  LiteralStep(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  void apply(std::string& text, RegexScratch&) const override {
    if (from_.empty() || text.find(from_) == std::string::npos) return;
    std::string out;
    out.reserve(text.size() + text.size() / 4);
    std::size_t done = 0;
    for (std::size_t at; (at = text.find(from_, done)) != std::string::npos; done = at + from_.size()) {
      out.append(text, done, at - done).append(to_);
    }
    text = out.append(text, done, std::string::npos);
  }

 private:
  std::string from_, to_;
};

class RegexStep final : public NormalizerStep {
 public:
  RegexStep(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::string& text, RegexScratch& scratch) const override {
    std::string out;
    std::size_t done = 0;
    RegexMatch match;
    for (std::size_t from = 0; from <= text.size() && pattern_.search(text, from, scratch, match);) {
      out.append(text, done, match.begin - done).append(content_);
      done = from = match.end;
      if (match.begin == match.end) {  // an empty match: go on behind the next character
        if (from == text.size()) break;
        unicode::next_code_point(text, from);
      }
    }
    text = out.append(text, done, std::string::npos);
  }

 private:
  Regex pattern_;
  std::string content_;
};

void append_nmt(std::string& out, char32_t c) {
  const bool dropped =
      (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
  if (dropped) return;
  const bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                     c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
  unicode::append(out, space ? U' ' : c);
}

// The stages of BERT's normalizer in their order, each over the whole text as accents need the text decomposed.
class BertStep final : public NormalizerStep {
 public:
  explicit BertStep(const BertOptions& options) : options_(options) {}
  void apply(std::string& text, RegexScratch&) const override {
    std::string out;
    out.reserve(text.size() + text.size() / 4);
    for (std::size_t pos = 0; pos < text.size();) append_clean(out, unicode::next_code_point(text, pos));
    if (options_.strip_accents) out = unicode::normalize(out, unicode::Form::kNfd);
    if (options_.strip_accents || options_.lowercase) {
      std::string lower;
      lower.reserve(out.size());
      for (std::size_t pos = 0; pos < out.size();) append_lower(lower, unicode::next_code_point(out, pos));
      out = std::move(lower);
    }
    text = std::move(out);
  }

 private:
  void append_clean(std::string& out, char32_t c) const {
    const bool space = unicode::is_whitespace(c);
    if (options_.clean_text) {
      if (c == 0 || c == 0xFFFD) return;
      if (c != '\t' && c != '\n' && c != '\r' && unicode::is_control_or_format(c)) return;
      if (space) c = U' ';
    }
    if (options_.handle_chinese_chars && unicode::is_cjk_ideograph(c)) {
      out += ' ';
      unicode::append(out, c);
      out += ' ';
    } else {
      unicode::append(out, c);
    }
  }
  void append_lower(std::string& out, char32_t c) const {
    if (options_.strip_accents && c >= 0x300 && unicode::is_nonspacing_mark(c)) return;
    if (options_.lowercase) {
      unicode::append_lower(out, c);
    } else {
      unicode::append(out, c);
    }
  }

  BertOptions options_;
};

}  // namespace

void normalize(const Normalizer& normalizer, std::string& text, RegexScratch& scratch) {
  for (const auto& step : normalizer) step->apply(text, scratch);
}

std::unique_ptr<NormalizerStep> make_unicode_form(unicode::Form form) { return std::make_unique<FormStep>(form); }
std::unique_ptr<NormalizerStep> make_lowercase() { return std::make_unique<MapStep>(unicode::append_lower); }
std::unique_ptr<NormalizerStep> make_strip(bool left, bool right) { return std::make_unique<StripStep>(left, right); }
std::unique_ptr<NormalizerStep> make_strip_accents() {
  return std::make_unique<MapStep>([](std::string& out, char32_t c) {
    if (!unicode::is_mark(c)) unicode::append(out, c);
  });
}
std::unique_ptr<NormalizerStep> make_nmt() { return std::make_unique<MapStep>(append_nmt); }
std::unique_ptr<NormalizerStep> make_prepend(std::string prefix) {
  return std::make_unique<PrependStep>(std::move(prefix));
}
std::unique_ptr<NormalizerStep> make_replace(Regex pattern, std::string content) {
  return std::make_unique<RegexStep>(std::move(pattern), std::move(content));
}
std::unique_ptr<NormalizerStep> make_replace_literal(std::string from, std::string to) {
  return std::make_unique<LiteralStep>(std::move(from), std::move(to));
}
std::unique_ptr<NormalizerStep> make_bert(const BertOptions& options) { return std::make_unique<BertStep>(options); }

}  // namespace nacelle
