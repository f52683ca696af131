// Guesses a sequence's next tokens from its own text: what followed the last time that its last few tokens occurred.
// Needs no model and no memory of its own.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tokenizer/tokenizer.hpp"

namespace nacelle {

// At most `most` tokens into `guess`; none where the end of `tokens` is new. Text that goes round in a circle is
// guessed on round the circle.
void look_up(std::span<const TokenId> tokens, std::uint32_t most, std::vector<TokenId>& guess);

}  // namespace nacelle
