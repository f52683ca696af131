// What a machine's ceilings allow a model: the speeds that `bench` prints its own beside.
#pragma once

#include <nacelle/backend.h>

#include <cstdint>
#include <span>

namespace nacelle::cli {

// Of the matrix products alone, for one token; a multiply-add counts as two. Of a mixture the experts that a token
// takes.
struct TokenWork {
  double layer_operations = 0;  // within the layers: what each token of a prompt needs
  double operations = 0;        // with the head, which makes the logits
  double bytes = 0;             // of weights; a step reads them once for all its tokens
  bool is_integer = false;      // most of the bytes are of quantised types
};

TokenWork work_of(std::span<const nacelle_graph* const> segments);

// Tokens a second; 0 where nobody knows. Attention and all else count as nothing, so that nothing can be faster.
struct Limits {
  double prompt = 0;      // arithmetic
  double generation = 0;  // reading the weights
  double batch = 0;       // arithmetic, for any number of sequences together
};
Limits limits_of(const TokenWork& work, const nacelle_ceilings& ceilings);

}  // namespace nacelle::cli
