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

}  // namespace nacelle::openai
