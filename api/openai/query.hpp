// A request's query parameters, read by the same tables as the fields of bodies; and pages of lists.
#pragma once

#include <memory>
#include <vector>

#include "api/http/message.hpp"
#include "api/openai/names.hpp"

namespace nacelle::openai {

// "limit=2&after=x&stream=true" as {"limit": 2, "after": "x", "stream": true}. A name that comes twice, or ends with
// "[]", is a list.
Json query_object(const http::Request& request);

// A page of `items`, which have ids, as the query asks: limit (1 to 100; 20), order (asc, desc; desc), after (an id),
// include. Throws RequestError(400) that names the parameter.
Json item_page(std::vector<const Json*> items, const http::Request& request);

// A page of models as Anthropic's API has it: limit (1 to 1000), after_id or before_id. Without a limit all of them, as
// OpenAI's has it, or 20 where the request says anthropic-version. Throws RequestError(400) that names the parameter.
Json model_page(const std::vector<const Json*>& models, const http::Request& request);

}  // namespace nacelle::openai
