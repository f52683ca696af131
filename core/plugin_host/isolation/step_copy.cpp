#include "core/plugin_host/isolation/step_copy.hpp"

#include <algorithm>
#include <cstring>

namespace nacelle::isolation {
namespace {

// Parts of one block, by offset, inside its size.
struct Copier {
  const std::byte* from;
  std::byte* to;
  std::uint64_t size;

  void operator()(std::uint64_t offset, std::uint64_t bytes) const {
    if (offset >= size) return;
    std::memcpy(to + offset, from + offset, std::min(bytes, size - offset));
  }
};

template <class T>
T read(const std::byte* block, std::uint64_t offset, std::uint64_t size) {
  T value{};
  if (offset <= size && sizeof value <= size - offset) std::memcpy(&value, block + offset, sizeof value);
  return value;
}

nacelle_step_header header_of(const BlockShape& shape, const std::byte* step) {
  auto header = read<nacelle_step_header>(step, shape.step.header, shape.step.size);
  header.rows = std::min(header.rows, shape.bucket.rows);
  header.sequences = std::min(header.sequences, shape.bucket.sequences);
  header.output_rows = std::min(header.output_rows, shape.bucket.output_rows);
  return header;
}

}  // namespace

void copy_step(const BlockShape& shape, const std::byte* from, std::byte* to) {
  const nacelle_step_layout& layout = shape.step;
  const Copier copy{from, to, layout.size};
  const nacelle_step_header header = header_of(shape, from);
  const std::uint64_t rows = header.rows, sequences = header.sequences, outputs = header.output_rows;
  copy(layout.header, sizeof(nacelle_step_header));
  for (const std::uint64_t array : {layout.tokens, layout.positions, layout.row_sequences, layout.adapter_slots})
    copy(array, 4 * rows);
  if (layout.token_types) copy(layout.token_types, 4 * rows);
  copy(layout.sequence_starts, 4 * (sequences + 1));
  copy(layout.sequence_lengths, 4 * sequences);
  const std::uint64_t table = std::uint64_t{4} * layout.table_width;
  for (std::uint64_t group = 0; group < shape.group_count; ++group)
    copy(layout.block_tables + group * shape.bucket.sequences * table, sequences * table);
  copy(layout.output_rows, 4 * outputs);
  if (header.flags & NACELLE_STEP_MASKS && shape.bucket.flags & NACELLE_BUCKET_MASKS)
    copy(layout.masks, 4 * outputs * ((shape.vocabulary + 31) / 32));
  if (shape.vocabulary == 0) return;
  copy(layout.temperatures, 4 * outputs);
  copy(layout.adjustment_starts, 4 * (outputs + 1));
  const auto end = read<std::uint32_t>(from, layout.adjustment_starts + 4 * outputs, layout.size);
  copy(layout.adjustments, sizeof(nacelle_adjustment) * std::min(end, shape.bucket.adjustments));
}

void copy_output(const BlockShape& shape, const std::byte* step, const std::byte* from, std::byte* to) {
  const nacelle_output_layout& layout = shape.output;
  const Copier copy{from, to, layout.size};
  const nacelle_step_header header = header_of(shape, step);
  const std::uint64_t rows = header.output_rows;
  if (shape.vocabulary) {
    for (const std::uint64_t array : {layout.ids, layout.adjusted, layout.raw})
      copy(array, 4 * rows * shape.bucket.candidates);
    copy(layout.logsumexp, 8 * rows);
  }
  if (shape.embedding_width)
    copy(layout.embedding, 4 * std::max<std::uint64_t>(rows, header.sequences) * shape.embedding_width);
}

}  // namespace nacelle::isolation
