// Reading a step block: the rules of backend.h, each checked, because every index below is used without another look.
#include "backends/reference/step.hpp"

#include <algorithm>
#include <nacelle/plugin.hpp>
#include <string>

namespace nacelle::reference {
namespace {

void require(bool condition, const char* what) {
  if (!condition) throw sdk::Failure(NACELLE_INVALID_ARGUMENT, std::string("step block: ") + what);
}

bool rises(std::span<const std::uint32_t> starts, std::uint64_t end) {
  return starts.front() == 0 && std::is_sorted(starts.begin(), starts.end()) && starts.back() <= end;
}

void check_header(const nacelle_step_header& header, const nacelle_bucket& bucket) {
  require(header.version == 1, "version is not 1");
  require(header.rows <= bucket.rows, "more rows than the bucket holds");
  require(header.sequences <= bucket.sequences, "more sequences than the bucket holds");
  require(header.output_rows <= bucket.output_rows, "more output rows than the bucket holds");
  require(!(header.flags & NACELLE_STEP_MASKS) || (bucket.flags & NACELLE_BUCKET_MASKS),
          "masks in a bucket without them");
}

void check_sequences(const Step& step, const nacelle_graph& graph, const nacelle_bucket& bucket) {
  require(rises(step.sequence_starts, step.row_count) && step.sequence_starts.back() == step.row_count,
          "sequence_starts do not cut the rows into sequences");
  for (std::uint32_t s = 0; s < step.sequence_count; ++s) {
    if (graph.cache_group_count)
      require(step.sequence_lengths[s] <= bucket.context, "a sequence is longer than the bucket");
    for (std::uint32_t row = step.sequence_starts[s]; row < step.sequence_starts[s + 1]; ++row) {
      require(step.row_sequences[row] == s, "row_sequences and sequence_starts disagree");
      if (graph.cache_group_count)
        require(step.positions[row] < step.sequence_lengths[s], "a position lies past its sequence's length");
    }
  }
}

void check_outputs(const Step& step, const nacelle_graph& graph) {
  for (const std::uint32_t row : step.output_rows)
    require(row < step.row_count, "an output row is not a row of the step");
  if (!graph.vocabulary) return;
  require(rises(step.adjustment_starts, step.adjustments.size()),
          "adjustment_starts do not rise within the adjustments");
  for (std::uint32_t i = 0; i < step.adjustment_starts.back(); ++i)
    require(step.adjustments[i].token < graph.vocabulary, "an adjustment's token is outside the vocabulary");
}

}  // namespace

Step read_step(const nacelle_graph& graph, const nacelle_bucket& bucket, const nacelle_step_layout& layout,
               const std::byte* block) {
  const auto& header = *reinterpret_cast<const nacelle_step_header*>(block + layout.header);
  check_header(header, bucket);
  const auto words = [&](std::uint64_t offset, std::uint64_t count) {
    return std::span(reinterpret_cast<const std::uint32_t*>(block + offset), count);
  };
  Step step;
  step.row_count = header.rows;
  step.sequence_count = header.sequences;
  step.output_row_count = header.output_rows;
  step.tokens = words(layout.tokens, header.rows);
  step.positions = words(layout.positions, header.rows);
  step.row_sequences = words(layout.row_sequences, header.rows);
  step.sequence_starts = words(layout.sequence_starts, header.sequences + 1);
  step.sequence_lengths = words(layout.sequence_lengths, header.sequences);
  step.output_rows = words(layout.output_rows, header.output_rows);
  step.adapter_slots = words(layout.adapter_slots, header.rows);
  if (layout.token_types) step.token_types = words(layout.token_types, header.rows);
  step.temperatures = {reinterpret_cast<const float*>(block + layout.temperatures), header.output_rows};
  step.adjustment_starts = words(layout.adjustment_starts, header.output_rows + 1);
  step.adjustments = {reinterpret_cast<const nacelle_adjustment*>(block + layout.adjustments), bucket.adjustments};
  step.mask_words = (graph.vocabulary + 31) / 32;
  if (header.flags & NACELLE_STEP_MASKS)
    step.masks = words(layout.masks, std::uint64_t{header.output_rows} * step.mask_words);
  step.block_tables = words(layout.block_tables, 0).data();
  step.table_sequences = bucket.sequences;
  step.table_width = layout.table_width;
  check_sequences(step, graph, bucket);
  check_outputs(step, graph);
  return step;
}

}  // namespace nacelle::reference
