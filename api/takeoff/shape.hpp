// Answers of /generate and /generate_stream.
#pragma once

#include <memory>

#include "api/serving/generation.hpp"

namespace nacelle::takeoff {

// {"text": answer}, or, with `list`, {"text": [answers]}. As a stream each piece is an event whose data is the text;
// with `list` its id is the number of the text that it answers.
std::unique_ptr<serving::Shape> make_shape(bool list);

}  // namespace nacelle::takeoff
