// The pre-tokenizers that a GGUF file only names (tokenizer.ggml.pre).
#pragma once

#include <string_view>
#include <vector>

namespace nacelle {

struct GgufPreTokenizer {
  std::string_view name;
  // Regular expressions, applied one after the other: each cuts the pieces so far into its matches and what lies
  // between.
  std::vector<std::string_view> patterns;
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
};

// Throws Error(kUnsupported), which lists the known names, for any other.
const GgufPreTokenizer& find_gguf_pre_tokenizer(std::string_view name);
const std::vector<GgufPreTokenizer>& gguf_pre_tokenizers();

}  // namespace nacelle
