// /v1/conversations and what is below it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/http/router.hpp"
#include "api/openai/conversation_store.hpp"

namespace nacelle::openai {

std::vector<http::Route> conversation_routes(const std::shared_ptr<ConversationStore>& store);

// Throws RequestError of `status` where there is none.
Conversation find_conversation(ConversationStore& store, const std::string& id, const std::string& owner, int status);

}  // namespace nacelle::openai
