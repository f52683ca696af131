// The JSON of POST /v1/messages: a message, or the stream of events that builds it; and failures.
#pragma once

#include <memory>
#include <string>

#include "api/serving/generation.hpp"

namespace nacelle::anthropic {

std::unique_ptr<serving::Shape> make_shape(std::string id, std::string model);

// {"type": "error", "error": {type, message}}, with a status of that API.
http::Response error_response(const http::ApiError& error);

}  // namespace nacelle::anthropic
