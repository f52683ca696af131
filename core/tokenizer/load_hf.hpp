// Builds a Tokenizer from the texts of a Hugging Face folder's files.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "core/tokenizer/tokenizer.hpp"

namespace nacelle {

// Contents of the files; "" for one that is absent. `folder` only names them in messages.
struct HfTokenizerFiles {
  std::filesystem::path folder = {};
  std::string tokenizer = {};           // tokenizer.json
  std::string tokenizer_config = {};    // tokenizer_config.json
  std::string special_tokens_map = {};  // special_tokens_map.json
  std::string generation_config = {};   // generation_config.json
  // These go before tokenizer_config.json's: chat_template.jinja and additional_chat_templates/tool_use.jinja.
  std::string chat_template = {}, tool_template = {};
};

// Throws Error: kUnsupported for a step or model that is not known here (by name), kCorrupt for contradictory files.
std::unique_ptr<Tokenizer> load_tokenizer(const HfTokenizerFiles& files);

}  // namespace nacelle
