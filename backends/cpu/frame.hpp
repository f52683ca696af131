// What one run of a plan works on, and the steps that it is made of.
#pragma once

#include <nacelle/backend.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nacelle/graph_view.hpp>

#include "backends/cpu/chunks.hpp"
#include "backends/cpu/kernels/kernels.hpp"

namespace nacelle::cpu {

class CpuCache;

using sdk::Lead;

// The arena is shared by all runs of a plan; what the host may read after a run lies in the slot's own memory.
enum class Space : std::uint32_t { kArena, kSlot };

// Where a value lies: rows of f32 padded to whole vectors, or encoded activations. Offsets are set after compilation.
struct Place {
  Space space = Space::kArena;
  Lead lead = Lead::kRows;
  std::uint32_t width = 0;           // columns
  std::uint64_t stride = 0;          // bytes from row to row, a multiple of 64
  std::uint64_t offset = 0;          // bytes
  std::uint64_t row_count = 0;       // the most rows
  std::uint32_t born = 0, dies = 0;  // steps between which it is in use
};

// Rows of one sequence that attend together. What they see is cut into splits of kSplitTokens; a partial is one row of
// one split. Both are counted over all tiles.
struct RowTile {
  std::uint32_t sequence, row, count;
  std::uint32_t splits, first_split, first_partial;

  std::uint32_t partial(std::uint32_t split, std::uint32_t row_in_tile) const {
    return first_partial + split * count + row_in_tile;
  }
};
struct RowTiles {
  const RowTile* data;
  std::uint32_t count, splits, partials;
};

// Blocks of kTileTokens that hold the rows of any step of the bucket, each sequence in blocks of its own.
constexpr std::uint64_t own_blocks(const nacelle_bucket& bucket) {
  return bucket.rows / kTileTokens + bucket.sequences + 1ull;
}

// Hot: filled at the start of a run, then only read.
struct Frame {
  std::uint32_t counts[sdk::kLeads];  // true rows of each lead
  std::byte* spaces[2];
  const std::uint32_t *tokens, *positions, *row_sequences, *sequence_starts, *sequence_lengths, *output_rows,
      *adapter_slots, *token_types, *block_tables, *masks, *adjustment_starts;
  const float* temperatures;
  const nacelle_adjustment* adjustments;
  std::uint32_t table_width, table_sequences;
  std::byte* output;  // the output block
  const CpuCache* cache;
  const RowTiles* tiles;          // one entry for each tile size that the program uses
  const std::uint32_t* identity;  // 0, 1, 2, ...: a block table for attention without a cache, own_blocks() long
  const std::uint8_t* changed;    // of each output row: its logits are masked, adjusted or divided

  template <class T = float>
  T* at(const Place& place, std::uint64_t row) const {
    return reinterpret_cast<T*>(spaces[static_cast<std::uint32_t>(place.space)] + place.offset + row * place.stride);
  }
  std::uint32_t count(Lead lead) const { return counts[static_cast<std::uint32_t>(lead)]; }
  const std::uint32_t* block_table(std::uint32_t group, std::uint32_t sequence) const {
    return block_tables + (std::uint64_t{group} * table_sequences + sequence) * table_width;
  }
};

// ---- Units of matmuls
// Rows that share one pass over a tile of weights: few enough that their encoded activations stay in L2.
inline constexpr std::uint32_t kRowBlock = 48;
// Groups of a unit: as the kernel's tile has.
inline constexpr std::uint32_t kFewGroups = 2, kMostGroups = 8;
// Few rows: what counts is that weights come as long streams. Units are small, and a kernel call takes all that lie
// side by side in a chunk, up to this many groups.
inline constexpr std::uint32_t kFewRows = 4, kStreamGroups = 96;
inline constexpr std::uint64_t kScratchFloats = kRowBlock * kMostGroups * kGroupRows;
static_assert(kFewRows * kStreamGroups * kGroupRows <= kScratchFloats);

// A step runs on all threads, with a barrier after it. Units are independent of each other; `scratch` is the thread's
// own.
struct Step {
  const char* name;
  std::function<Work(const Frame&, std::uint32_t threads)> work;
  std::function<void(const Frame&, std::uint64_t begin, std::uint64_t end, std::byte* scratch)> run;
};

}  // namespace nacelle::cpu
