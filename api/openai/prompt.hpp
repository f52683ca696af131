// From conversations and texts to the token ids of a prompt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/openai/request.hpp"
#include "core/engine/model.hpp"

namespace nacelle::openai {

// What the model's template makes of a conversation.
struct RenderedChat {
  std::string text;                 // ends where the assistant begins to speak
  std::vector<std::size_t> quoted;  // offsets at which a message or a tool, not the template, spells a special token
};

// Throws Error(kInvalidArgument) for what the template refuses, kUnsupported for a model without one.
RenderedChat render_chat(const Model& model, const ChatPrompt& prompt);

// The tokens of render_chat(). Special tokens come from the template alone: "<|im_end|>" inside a message is plain
// text, so nobody ends their own turn. BOS is added where the tokenizer asks for one and the template has none.
std::vector<TokenId> encode_chat(const Model& model, const ChatPrompt& prompt);

// A plain text with the special tokens that the tokenizer adds. The empty text is BOS alone.
std::vector<TokenId> encode_text(const Model& model, std::string_view text);

}  // namespace nacelle::openai
