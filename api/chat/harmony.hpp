// gpt-oss's format: messages with channels and recipients between special tokens.
#pragma once

#include "api/chat/answer.hpp"

namespace nacelle::chat {

// The text begins behind <|start|>assistant, where the prompt ends. The channel "analysis" is reasoning; a message to
// a recipient is a call; all else is content.
AnswerParserPtr make_harmony_parser();

}  // namespace nacelle::chat
