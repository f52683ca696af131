// What a request's head says, beyond what the parser looks at. No Boost.
#pragma once

#include <optional>
#include <string>

#include "api/http/message.hpp"

namespace nacelle::http {

// For a request whose client has named none.
std::string random_request_id();

// Why it is refused before its body is read: what the parser lets pass and a proxy may read otherwise, a compressed
// body, which would be taken for broken JSON, and an expectation that is not met.
std::optional<ApiError> head_fault(const Request& request);

// Of a request that no route is for. `malformed`: its target is no path; `allow`: the methods of its path; `near`: the
// path that was meant, where that is known.
Response no_route(const Request& request, bool malformed, const std::string& allow, const std::string& near,
                  ErrorShape error_shape);

}  // namespace nacelle::http
