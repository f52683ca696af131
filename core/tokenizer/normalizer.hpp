// Text to text, before anything is split: Unicode forms, case, replacements. Names follow tokenizer.json.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/formats/regex.hpp"
#include "core/tokenizer/unicode.hpp"

namespace nacelle {

// One step. Immutable; any thread may apply it. Input and output are valid UTF-8.
class NormalizerStep {
 public:
  virtual ~NormalizerStep() = default;
  virtual void apply(std::string& text, RegexScratch& scratch) const = 0;
};
using Normalizer = std::vector<std::unique_ptr<NormalizerStep>>;

void normalize(const Normalizer& normalizer, std::string& text, RegexScratch& scratch);

struct BertOptions {
  bool clean_text = true;            // drops control characters, U+0000 and U+FFFD; every white space becomes ' '
  bool handle_chinese_chars = true;  // puts spaces around CJK ideographs
  bool strip_accents = true;
  bool lowercase = true;
};

std::unique_ptr<NormalizerStep> make_unicode_form(unicode::Form form);
std::unique_ptr<NormalizerStep> make_lowercase();
std::unique_ptr<NormalizerStep> make_strip(bool left, bool right);
std::unique_ptr<NormalizerStep> make_strip_accents();
std::unique_ptr<NormalizerStep> make_nmt();
std::unique_ptr<NormalizerStep> make_prepend(std::string prefix);  // an empty text stays empty
std::unique_ptr<NormalizerStep> make_replace(Regex pattern, std::string content);
std::unique_ptr<NormalizerStep> make_replace_literal(std::string from, std::string to);
std::unique_ptr<NormalizerStep> make_bert(const BertOptions& options);

}  // namespace nacelle
