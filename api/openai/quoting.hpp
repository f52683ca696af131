// Special tokens come from a chat template alone: those that a conversation spells itself are plain text.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "api/openai/names.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace nacelle::openai {

// What the model's template makes of a conversation.
struct RenderedChat {
  std::string text;                 // ends where the assistant begins to speak, or with `prefill`
  std::vector<std::size_t> quoted;  // offsets at which a message or a tool, not the template, spells a special token
};

// Marks the special tokens that the messages and tools of a template's context spell, so that they can be told from the
// template's once both are one text. All of it takes time in proportion to the context.
class Quoting {
 public:
  Quoting(const Tokenizer& tokenizer, Json& context);
  // What was rendered with that context, without the marks.
  RenderedChat read(const std::string& text) const;

 private:
  std::string mark_;  // "": nothing to mark
};

}  // namespace nacelle::openai
