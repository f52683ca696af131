// Operations that carry a state along each sequence. Where a sequence's rows, its state and its first position are is
// read from the step block by the shaders: push constants have room for the block's address and for offsets alone.
#include <algorithm>

#include "backends/vulkan/compiler.hpp"

namespace nacelle::vulkan {
namespace {

constexpr std::uint32_t kScanColumns = 32;  // of shaders/state_scan.comp
constexpr std::uint32_t kMostKeys = 32;     // of a column in one thread: with more, drivers compile the shader for long

constexpr std::uint32_t words(std::uint64_t bytes) { return static_cast<std::uint32_t>(bytes / 4); }

}  // namespace

void Compiler::state_scan(const nacelle_op& op) {
  const auto of = attributes<nacelle_scan_attributes>(op);
  const Ref q = read(op.inputs[0]), k = read(op.inputs[1]), v = read(op.inputs[2]), steps = read(op.inputs[3]);
  const Ref strength = input(op, 6) == NACELLE_NO_VALUE ? absolute(0) : read(op.inputs[6]);
  const Ref y = write(op.outputs[0]);
  const std::uint32_t tiles = (of.value_width + kScanColumns - 1) / kScanColumns;
  std::uint32_t threads = std::max(device_.profile().wide_threads, kScanColumns);
  while (threads / kScanColumns * kMostKeys < of.key_width) threads *= 2;
  push(pipeline("state_scan", {threads, of.rule, of.head_count, of.head_count / of.group_count, of.key_width,
                               of.value_width, steps.place->width / of.head_count,
                               static_cast<std::uint32_t>(graph_.values[op.inputs[4]]->shape[0]) / of.head_count}),
       {of.head_count * tiles, Lead::kSequences},
       {q, k, v, steps, strength, absolute(weights_.scan_vectors(&op)), y, cache_of(of.cache_group, of.cache_layer),
        step(0)},
       {q.place->stride, k.place->stride, v.place->stride, steps.place->stride,
        strength.place ? strength.place->stride : 0, y.place->stride, words(table_of(of.cache_group)),
        step_.table_width, words(step_.sequence_starts), words(step_.positions), of.scale});
}

void Compiler::convolution(const nacelle_op& op) {
  const auto of = attributes<nacelle_convolution_attributes>(op);
  const Ref x = read(op.inputs[0]), y = write(op.outputs[0]);
  push(pipeline("convolution", {device_.profile().wide_threads, of.activation}),
       columns_grid(x.place->width, Lead::kRows, 1),
       {x, absolute(weights_.vector(op.inputs[1])), absolute(weights_.vector(input(op, 2))), y,
        cache_of(of.cache_group, of.cache_layer), step(0)},
       {x.place->width, of.length, x.place->stride, y.place->stride, words(table_of(of.cache_group)), step_.table_width,
        words(step_.sequence_starts), words(step_.positions), words(step_.row_sequences)});
}

}  // namespace nacelle::vulkan
