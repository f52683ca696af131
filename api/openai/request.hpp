// Request bodies as structs: what the parsers of api/openai make of JSON. Needs neither a server nor a model, so that
// it can be fuzzed alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/chat/tool_choice.hpp"
#include "api/openai/names.hpp"
#include "core/constrain/constraint.hpp"
#include "core/engine/request.hpp"

namespace nacelle::openai {

// A conversation, checked, in the form that chat templates expect.
struct ChatPrompt {
  Json messages;                             // [{role, content, ...}]; content is a string
  Json tools;                                // an array; null where there are none, or tool_choice is "none"
  Json template_variables = Json::object();  // chat_template_kwargs
  std::string prefill;                       // how the answer begins; it is not repeated in the answer
  std::vector<TokenId> before;               // what was said before the messages, without the end of the last answer
  chat::ToolChoice tool_choice;              // never kNone: then there are no tools
  bool parallel_calls = true;                // false: one call at most
  std::string reasoning_effort;              // "": as the template likes
  bool effort_is_hint = false;               // no failure where the template knows none
};

using Prompt = std::variant<std::string, std::vector<TokenId>>;

// What POST /v1/chat/completions and /v1/completions have in common.
struct GenerationBody {
  std::string model;                                    // "": the first
  GenerationRequest request;                            // all but id, prompt and grammar
  std::optional<constrain::ConstraintSpec> constraint;  // to be compiled into request.grammar
  std::uint32_t n = 1;                                  // answers to each prompt
  bool stream = false;
  bool include_usage = false;  // of a stream
  // Alternatives beside each token of the prompt, told in vLLM's form. The engine may be asked for more (echo).
  std::optional<std::uint32_t> prompt_logprobs;
};

struct ChatBody : GenerationBody {
  ChatPrompt prompt;
  bool functions = false;  // `tools` came as the deprecated `functions`: the answer has "function_call"
};

struct CompletionBody : GenerationBody {
  std::vector<Prompt> prompts;        // at least one
  bool one_list = false;              // the only one, of token ids, not in a list of such
  std::optional<std::string> suffix;  // what follows the answer; every prompt is a text then
  bool echo = false;
  std::uint32_t best_of = 1;  // at least n
};

struct TokenizeBody {
  std::string model;
  std::variant<std::string, ChatPrompt> text;
  bool add_special = false;
  bool parse_special = true;
  bool with_pieces = false;
};

struct DetokenizeBody {
  std::string model;
  std::vector<TokenId> tokens;
};

// Each throws RequestError(400) that names the field: unknown, missing, of another type, out of range, or not supported
// yet. Nothing is ignored but what OpenAI defines as without effect on the answer. Not supported yet: images and audio.
ChatBody parse_chat(std::string_view body);
CompletionBody parse_completion(std::string_view body);
TokenizeBody parse_tokenize(std::string_view body);
DetokenizeBody parse_detokenize(std::string_view body);

// Checks `messages` and brings them into the form of ChatPrompt: text parts are joined, "developer" becomes "system",
// and the arguments of tool calls, which are JSON in a string, become objects.
Json normalise_messages(const Json& messages);
// Where the last of `messages` is the answer's beginning (Mistral's "prefix": true) it becomes the prompt's prefill.
void take_prefix(ChatPrompt& prompt, const Json& messages);
Json check_tools(const Json& tools);
// The deprecated form of `tools`: what stands behind "function" in each.
Json tools_of_functions(const Json& functions);

// The arguments of a call, JSON in a string, as the object that templates want; what is no object stays a string.
Json parsed_arguments(const Json& arguments);
// The arguments that a model wrote, for clients that read an object: {"invalid_json": ...} shows what is none.
Json arguments_object(const std::string& arguments);

// {"mode": ..., "tools": [...]}: a choice among some of the tools, each named in chat's form or the responses'.
void set_allowed_tools(chat::ToolChoice& choice, const std::string& name, const Json& value);

// What tools, tool_choice and parallel_tool_calls say together. Throws RequestError(400) for a choice that names no
// tool, or none that is there. Without a choice of "none" the tools stay in `prompt`.
void apply_tool_choice(ChatPrompt& prompt, const chat::ToolChoice& choice, const std::string& name);

}  // namespace nacelle::openai
