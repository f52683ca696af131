// What an adapter changes outside the layers, where no plan multiplies by its pairs: the embedding of tokens, whose
// rows the host hands to the step, and the head, whose logits it corrects in the rows that are read.
#pragma once

#include <span>

#include "core/engine/adapter.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace nacelle {

// Adds what the adapter has for `token` to a row of the embedding.
void add_embedding(const AdapterPart& part, TokenId token, std::span<float> row);

// Turns the model's logits into those of the model with the adapter; `hidden` is the row that the head multiplied.
void add_head(const AdapterPart& part, float soft_cap, std::span<const float> hidden, std::span<float> logits);

}  // namespace nacelle
