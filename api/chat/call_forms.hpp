// Each dialect's calls as grammars: parts of a composition (core/constrain/composition.hpp).
#pragma once

#include <string_view>

#include "api/fields/json.hpp"

namespace nacelle::chat {

using fields::Json;

// A whole answer with calls of `tools` in it, each call as far as its tool is strict: free text until one begins.
// `content`: the part that the answer must be where it calls nothing; null: any text. `think`: a tag that it does not
// begin with; "": none.
Json hermes_answer(const Json& tools, const Json& content, std::string_view think);
Json mistral_answer(const Json& tools, const Json& content, std::string_view think);
Json command_answer(const Json& tools, const Json& content, std::string_view think);
Json llama3_answer(const Json& tools, const Json& content, std::string_view think);
Json xml_answer(const Json& tools, const Json& content, std::string_view think);
Json deepseek_answer(const Json& tools, const Json& content, std::string_view think);
Json deepseek_v31_answer(const Json& tools, const Json& content, std::string_view think);
Json kimi_answer(const Json& tools, const Json& content, std::string_view think);
Json lfm2_answer(const Json& tools, const Json& content, std::string_view think);
Json olmo3_answer(const Json& tools, const Json& content, std::string_view think);
Json pythonic_answer(const Json& tools, const Json& content, std::string_view think);
Json hunyuan_answer(const Json& tools, const Json& content, std::string_view think);
Json minimax_answer(const Json& tools, const Json& content, std::string_view think);
Json nemotron_answer(const Json& tools, const Json& content, std::string_view think);
Json seed_answer(const Json& tools, const Json& content, std::string_view think);
Json glm_answer(const Json& tools, const Json& content, std::string_view think);
Json harmony_answer(const Json& tools, const Json& content,
                    std::string_view think);  // null where there is content: it has no form for that

// One call, the arguments of every tool as its schema asks: {NAME: ..., KEY: {...}}, and the others'
// from the name on.
Json object_call(const Json& tools, const char* key, std::string_view name);
Json harmony_call(const Json& tools);
Json deepseek_call(const Json& tools);
Json deepseek_v31_call(const Json& tools);
Json kimi_call(const Json& tools);
Json lfm2_call(const Json& tools);
Json python_call(const Json& tools);  // as LFM2's, with no object for a schema that Python's form cannot be held to

bool is_strict(const Json& tool) noexcept;
// An object where the tool says nothing.
Json parameters_of(const Json& tool);

// Parts.
Json mark(std::string_view text);
Json one_of(Json parts);
Json any_tokens_until(Json marks);

}  // namespace nacelle::chat
