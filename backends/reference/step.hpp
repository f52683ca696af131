// The step block of a slot, read through its layout and checked once before anything is computed.
#pragma once

#include <nacelle/backend.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace nacelle::reference {

// A view of the host's step block: pointers into it, with the true counts of this step.
struct Step {
  std::uint32_t row_count = 0, sequence_count = 0, output_row_count = 0;
  std::span<const std::uint32_t> tokens, positions, row_sequences;
  std::span<const std::uint32_t> sequence_starts;   // [sequences + 1]
  std::span<const std::uint32_t> sequence_lengths;  // KV tokens, this step's rows included
  std::span<const std::uint32_t> output_rows, adapter_slots, token_types;
  std::span<const float> temperatures;
  std::span<const std::uint32_t> adjustment_starts;  // [output_rows + 1]
  std::span<const nacelle_adjustment> adjustments;
  std::span<const std::uint32_t> masks;  // [output_rows][mask_words]; empty: no row is masked
  std::uint32_t mask_words = 0;
  const std::uint32_t* block_tables = nullptr;
  std::uint32_t table_sequences = 0, table_width = 0;  // strides of block_tables

  std::span<const std::uint32_t> block_table(std::uint32_t group, std::uint32_t sequence) const {
    return {block_tables + (std::uint64_t{group} * table_sequences + sequence) * table_width, table_width};
  }
};

// Throws sdk::Failure (INVALID_ARGUMENT) that names the array at fault when the block breaks a rule of backend.h.
// Tokens are not looked at here: the one who resolves them checks them.
Step read_step(const nacelle_graph& graph, const nacelle_bucket& bucket, const nacelle_step_layout& layout,
               const std::byte* block);

}  // namespace nacelle::reference
