// Ids of answers and of what is in them.
#pragma once

#include <string>
#include <string_view>

namespace nacelle::openai {

// "chatcmpl-" and 24 random letters and digits.
std::string random_id(std::string_view prefix);

}  // namespace nacelle::openai
