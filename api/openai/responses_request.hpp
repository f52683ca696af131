// The bodies of POST /v1/responses and /v1/responses/input_tokens.
#pragma once

#include <string>
#include <string_view>

#include "api/openai/request.hpp"
#include "api/openai/response_items.hpp"

namespace nacelle::openai {

struct ResponsesBody : GenerationBody {
  ChatPrompt prompt;               // messages: those of `input`
  Json items = Json::array();      // of `input`, as parse_items() lists them
  std::string instructions;        // "": none
  std::string previous;            // previous_response_id; "": none
  std::string conversation;        // id; "": none. Not beside `previous`
  bool store = true;               // keep the response for GET and for the next previous_response_id
  bool background = false;         // answer at once, then generate; `store` is true
  bool truncate = false;           // leave out the first turns of what does not fit
  Json repeated = Json::object();  // what the response repeats of the request
};

// Each throws RequestError(400) that names the field, as parse_chat() does. `find`: of items that `input` refers to.
ResponsesBody parse_responses(std::string_view body, const FindItem& find = nullptr);
// Only what counts for the prompt.
ResponsesBody parse_input_tokens(std::string_view body, const FindItem& find = nullptr);

// Of responses and conversations: at most 16 names, each with a text.
const Json& to_metadata(const std::string& name, const Json& value);
// What "include" may list: a text, or a list of them. Nothing of it adds to what there is anyway but, where a response
// is made, the log-probabilities: true where they are asked for.
bool to_include(const std::string& name, const Json& value);

}  // namespace nacelle::openai
