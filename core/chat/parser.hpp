// Turns a template's text into a tree.
#pragma once

#include <string_view>

#include "core/chat/ast.hpp"

namespace nacelle::jinja {

// `source` must be normalized (lexer.hpp). Throws SyntaxError.
Tree parse(std::string_view source);

}  // namespace nacelle::jinja
