// Items: what a response's input and output, and a conversation, are lists of.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "api/openai/names.hpp"

namespace nacelle::openai {

struct InputItems {
  Json messages = Json::array();  // what the model gets, in the form of ChatPrompt: calls belong to the assistant's
                                  // message before them
  Json items = Json::array();     // the same as the API lists them; "id" is "" where the client gave none
};

// The item that stands at `path` as a reference to its id. Throws RequestError where there is no such.
using FindItem = std::function<Json(const std::string& path, const std::string& id)>;

// A string, or a list of 1 to `most` items. Throws RequestError(400) that names the field. Supported are text,
// functions' calls, reasoning and, with `find`, references to such items.
InputItems parse_items(const std::string& name, const Json& value, std::size_t most = SIZE_MAX,
                       const FindItem& find = nullptr);

// Gives an id to those that have none, or one that is taken by an item before; `taken`: by others.
void name_items(Json& items, const std::vector<const Json*>& taken = {});

// Appends to a conversation in the form of ChatPrompt what an assistant did; parts of one turn become one message.
void append_assistant_text(Json& messages, std::string_view text);
void append_assistant_reasoning(Json& messages, std::string_view text);
void append_assistant_call(Json& messages, const std::string& id, const std::string& name, const Json& arguments);
// Puts `text` before the conversation, into its own system message where there is one.
void prepend_system(Json& messages, const std::string& text);

}  // namespace nacelle::openai
