// The body of POST /v1/responses.
#pragma once

#include <string>
#include <string_view>

#include "api/openai/request.hpp"

namespace nacelle::openai {

struct ResponsesBody : GenerationBody {
  ChatPrompt prompt;         // messages: those of `input`
  std::string instructions;  // "": none
  std::string previous;      // previous_response_id; "": none
  bool store = true;         // keep the response for GET and for the next previous_response_id
  Json repeated;             // what the response repeats of the request
};

// Throws RequestError(400) that names the field, as parse_chat() does. Supported are text and function tools; the model
// gets input items in the form of chat messages: calls belong to the assistant's message before them.
ResponsesBody parse_responses(std::string_view body);

// Appends to a conversation in the form of ChatPrompt what an assistant did; parts of one turn become one message.
void append_assistant_text(Json& messages, std::string_view text);
void append_assistant_reasoning(Json& messages, std::string_view text);
void append_assistant_call(Json& messages, const std::string& id, const std::string& name, const Json& arguments);
// Puts `text` before the conversation, into its own system message where there is one.
void prepend_system(Json& messages, const std::string& text);

}  // namespace nacelle::openai
