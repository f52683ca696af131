// From conversations and texts to the token ids of a prompt, and how the answer is to be read.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/chat/dialects.hpp"
#include "api/openai/names.hpp"
#include "api/openai/quoting.hpp"
#include "api/openai/request.hpp"
#include "core/engine/model.hpp"

namespace nacelle::openai {

// Throws Error(kInvalidArgument) for what the template refuses, kUnsupported for a model without one.
RenderedChat render_chat(const Model& model, const ChatPrompt& prompt);

// Whether the model's answers have reasoning apart from the rest.
bool reasons(const Model& model);

// The tokens of render_chat(). Special tokens come from the template alone: "<|im_end|>" inside a message is plain
// text, so nobody ends their own turn. BOS is added where the tokenizer asks for one and the template has none.
std::vector<TokenId> encode_chat(const Model& model, const ChatPrompt& prompt);

struct PreparedChat {
  std::vector<TokenId> tokens;
  chat::AnswerFormat format;
  std::vector<TokenId> shown_special;  // see GenerationRequest
  Constraint constraint;               // of the whole answer
};
// As encode_chat(), with all that reading the answer needs. `content`: what the request asks of the answer; a call that
// must come comes instead. Throws RequestError(400) for tools where the template
// writes calls in no form that is known.
PreparedChat prepare_chat(const Model& model, const ChatPrompt& prompt, const Constraint& content = {});

// The same, but where it does not fit the model's context without as few of its first turns as leave room for an answer
// of `max_tokens` (0: a quarter of the context; half of it at most), or with the last turn alone. A turn begins where
// the user speaks; system messages at the beginning stay.
PreparedChat prepare_newest(const Model& model, const ChatPrompt& prompt, const Constraint& content,
                            std::uint32_t max_tokens);

// Compiles what a request asks of its answer, or takes it from the model's cache. Throws Error that names the field;
// http::TakesLong and BusyError as the calling thread's http::Pace has it.
void compile_constraint(const Model& model, const Constraint& spec, GenerationRequest& request);

// A plain text with the special tokens that the tokenizer adds. The empty text is BOS alone.
std::vector<TokenId> encode_text(const Model& model, std::string_view text);

// Whether encode_infill() has what it needs.
bool knows_infill(const Model& model);

// The text between `prefix` and `suffix` is asked for. Throws RequestError(400) where the vocabulary has no tokens to
// say so.
std::vector<TokenId> encode_infill(const Model& model, std::string_view prefix, std::string_view suffix);

// Throws RequestError(400), naming `param`, where no token of an answer fits behind a prompt of so many, or the prompt
// itself does not where none is wanted.
void check_length(const Model& model, std::size_t tokens, const char* param, bool answered = true);
// Throws RequestError(400), naming the element of `name`, where the vocabulary has no such token.
void check_token_ids(const Model& model, const std::vector<TokenId>& tokens, const std::string& name);

}  // namespace nacelle::openai
