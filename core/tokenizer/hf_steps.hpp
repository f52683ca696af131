// Reads the normalizer, pre_tokenizer and decoder of a tokenizer.json.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/tokenizer/hf_node.hpp"
#include "core/tokenizer/normalizer.hpp"
#include "core/tokenizer/pre_tokenizer.hpp"

namespace nacelle {

// All throw Error(kUnsupported) with the name of a type that is not known here, kCorrupt for a malformed one.
Normalizer read_normalizer(const HfNode& node);

struct HfPreTokenizer {
  PreTokenizer steps;
  bool byte_level = false;  // the model's alphabet is bytes
};
HfPreTokenizer read_pre_tokenizer(const HfNode& node);

// A decoder as what it makes of each token by itself, so that text can be streamed.
struct HfDecoder {
  std::vector<std::function<std::string(std::string)>> steps;
  bool byte_level = false;
  bool byte_fallback = false;
  bool strips_leading_space = false;
  // The bytes that a token adds. `added`: the text is not in the model's alphabet.
  std::string bytes(std::string_view text, bool added) const;
};
HfDecoder read_decoder(const HfNode& node);

}  // namespace nacelle
