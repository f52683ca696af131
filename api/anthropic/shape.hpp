// The JSON of POST /v1/messages: a message, or the stream of events that builds it; and failures.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/serving/generation.hpp"

namespace nacelle::anthropic {

// `request_id`: of failures. `omit_thinking`: its blocks come without their text.
std::unique_ptr<serving::Shape> make_shape(std::string id, std::string model, std::string request_id,
                                           bool omit_thinking = false);

// {"type": "error", "error": {type, message}, "request_id"}, with a status of that API.
http::Response error_response(const http::ApiError& error, std::string_view request_id);

}  // namespace nacelle::anthropic
