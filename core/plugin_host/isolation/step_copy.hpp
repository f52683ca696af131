// What of a step block a step needs, and what of an output block it has made: a plugin's own blocks lie in its own
// memory, and a token must not cost the copy of a block made for the largest step.
#pragma once

#include <nacelle/backend.h>

#include <cstddef>
#include <cstdint>

namespace nacelle::isolation {

struct BlockShape {
  nacelle_bucket bucket{};
  nacelle_step_layout step{};
  nacelle_output_layout output{};
  std::uint32_t group_count = 0;
  std::uint32_t vocabulary = 0;
  std::uint32_t embedding_width = 0;
};

// Copies the arrays up to the counts in the header, which are cut to the bucket's: a header that says more is copied as
// it is, for the plugin to refuse.
void copy_step(const BlockShape& shape, const std::byte* from, std::byte* to);
// Of the step whose header is at `step`.
void copy_output(const BlockShape& shape, const std::byte* step, const std::byte* from, std::byte* to);

}  // namespace nacelle::isolation
