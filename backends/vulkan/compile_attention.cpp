// Attention: this step's keys and values are stored first; then every head of every row reads what is stored, this
// step's rows like those of earlier steps, a split of the keys to a subgroup; then the splits are joined in order.
#include <algorithm>

#include "backends/vulkan/cache.hpp"
#include "backends/vulkan/compiler.hpp"

namespace nacelle::vulkan {
namespace {

constexpr std::uint32_t kMostSplit = 16384;  // tokens: llvmpipe ends the loops of an invocation after 65535 rounds
constexpr std::uint32_t kLeastSplit = 512;   // tokens; a multiple of every chunk of attention.comp

}  // namespace

void Compiler::attention(const nacelle_op& op) {
  const auto of = attributes<nacelle_attention_attributes>(op);
  const KvShape shape = kv_shape(graph_, cache_, of.cache_group);
  if (shape.heads != of.kv_head_count || shape.key_width != of.key_width || shape.value_width != of.value_width)
    throw sdk::Failure(NACELLE_UNIMPLEMENTED, "vulkan: two attentions of one cache group have different heads");
  const auto key_type = static_cast<std::uint32_t>(shape.key_type),
             value_type = static_cast<std::uint32_t>(shape.value_type);
  const auto words = [](KvType type, std::uint32_t width) {
    return static_cast<std::uint32_t>(KvShape::words(type, width));
  };
  const std::uint32_t key_words = words(shape.key_type, of.key_width),
                      value_words = words(shape.value_type, of.value_width);
  const Ref sequences = step(step_.row_sequences), positions = step(step_.positions),
            lengths = step(step_.sequence_lengths);
  const Ref table =
      step(step_.block_tables + 4 * std::uint64_t{of.cache_group} * bucket_.sequences * step_.table_width);
  Ref cache{Ref::Kind::kCache, true};
  cache.group = of.cache_group;
  cache.layer = of.cache_layer;
  const Ref block_bytes = absolute(shape.block_bytes());

  const Ref k = read(op.inputs[1]), v = read(op.inputs[2]);
  push(pipeline("kv_store", {device_.profile().wide_threads, key_type, value_type}),
       columns_grid(shape.heads * (key_words + value_words), Lead::kRows, 1),
       {k, v, sequences, positions, table, cache, block_bytes},
       {shape.heads, of.key_width, of.value_width, shape.block_tokens, step_.table_width, k.place->stride,
        v.place->stride});

  // As many splits as the longest sequence of any plan of these weights has: plans of all sizes cut alike.
  const std::uint32_t most = std::max(device_.profile().most_splits, weights_.most_context() / kMostSplit + 1);
  const std::uint32_t share = (weights_.most_context() + most - 1) / most;
  const std::uint32_t split_tokens = std::max(kLeastSplit, (share + kLeastSplit - 1) / kLeastSplit * kLeastSplit);
  const std::uint32_t splits = (weights_.most_context() + split_tokens - 1) / split_tokens;
  const std::uint32_t window = of.window << 1 | (of.causal ? 1 : 0);
  const std::uint32_t subgroup = device_.physical().subgroup;
  Place* parts = make_place(Space::kArena, Lead::kRows, of.head_count * splits * (of.value_width + 2));
  parts->stride = parts->width;
  cache.written = false;
  const Ref q = read(op.inputs[0]);
  push(pipeline("attention", {subgroup, key_type, value_type, (value_words + subgroup - 1) / subgroup}, true),
       {of.head_count, Lead::kRows, 1, split_tokens},
       {q, sequences, positions, lengths, table, cache, block_bytes, to(parts)},
       {of.head_count, of.head_count / of.kv_head_count, of.key_width, of.value_width, shape.block_tokens,
        step_.table_width, q.place->stride, window, split_tokens, splits, of.scale, of.soft_cap});
  const Ref y = write(op.outputs[0]);
  push(pipeline("attention_merge", {subgroup}), {of.head_count, Lead::kRows},
       {from(parts), sequences, positions, lengths, y},
       {splits, split_tokens, of.head_count, of.value_width, y.place->stride, window});
}

}  // namespace nacelle::vulkan
