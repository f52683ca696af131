// From conversations and texts to the token ids of a prompt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/openai/request.hpp"
#include "core/engine/model.hpp"

namespace nacelle::openai {

// The text that the model's template makes of the conversation, ending where the assistant begins to speak. Throws
// Error(kInvalidArgument) for what the template refuses, kUnsupported for a model without one.
std::string render_chat(const Model& model, const ChatPrompt& prompt);

// The tokens of render_chat(). Special tokens come from the template; BOS is added where the tokenizer asks for one and
// the template has none. A special token that a user spells out ("<|im_end|>") counts as one: the rendered text no
// longer says who wrote which part, so do not rely on roles to keep hostile users from each other's turns.
std::vector<TokenId> encode_chat(const Model& model, const ChatPrompt& prompt);

// A plain text with the special tokens that the tokenizer adds. The empty text is BOS alone.
std::vector<TokenId> encode_text(const Model& model, std::string_view text);

}  // namespace nacelle::openai
