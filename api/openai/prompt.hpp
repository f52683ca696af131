// From conversations and texts to the token ids of a prompt, and how the answer is to be read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/chat/dialects.hpp"
#include "api/openai/request.hpp"
#include "core/engine/model.hpp"

namespace nacelle::openai {

// The text that the model's template makes of the conversation, ending where the assistant begins to speak, or with
// `prefill`. Throws Error(kInvalidArgument) for what the template refuses, kUnsupported for a model without one.
std::string render_chat(const Model& model, const ChatPrompt& prompt);

// The tokens of render_chat(). Special tokens come from the template; BOS is added where the tokenizer asks for one and
// the template has none. A special token that a user spells out ("<|im_end|>") counts as one: the rendered text no
// longer says who wrote which part, so do not rely on roles to keep hostile users from each other's turns.
std::vector<TokenId> encode_chat(const Model& model, const ChatPrompt& prompt);

struct PreparedChat {
  std::vector<TokenId> tokens;
  chat::AnswerFormat format;
  std::vector<TokenId> shown_special;  // see GenerationRequest
};
// As encode_chat(), with all that reading the answer needs. Throws RequestError(400) for tools where the template
// writes calls in no form that is known, and for calls that must come.
PreparedChat prepare_chat(const Model& model, const ChatPrompt& prompt);

// A plain text with the special tokens that the tokenizer adds. The empty text is BOS alone.
std::vector<TokenId> encode_text(const Model& model, std::string_view text);

// The text between `prefix` and `suffix` is asked for. Throws RequestError(400) where the vocabulary has no tokens to
// say so.
std::vector<TokenId> encode_infill(const Model& model, std::string_view prefix, std::string_view suffix);

// Throws RequestError(400), naming `param`, where no token of an answer fits behind a prompt of so many.
void check_length(const Model& model, std::size_t tokens, const char* param);

}  // namespace nacelle::openai
