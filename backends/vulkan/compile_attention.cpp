// Attention: this step's keys and values are stored first, where there is a cache; then every head of every row reads
// what is stored, this step's rows like those of earlier steps, a split of the keys to a subgroup; then the splits are
// joined in order.
#include <algorithm>

#include "backends/vulkan/cache.hpp"
#include "backends/vulkan/compiler.hpp"

namespace nacelle::vulkan {
namespace {

constexpr std::uint32_t kMostSplit = 16384;  // tokens: llvmpipe ends the loops of an invocation after 65535 rounds
constexpr std::uint32_t kLeastSplit = 512;   // tokens; a multiple of every chunk of attention.comp

}  // namespace

// The keys of a row lie in the cache, or there together with the values, or are this step's own rows: MEMORY of
// shaders/attention.glsl.
void Compiler::attention(const nacelle_op& op) {
  enum : std::uint32_t { kPaged, kAlias, kOwn };
  const auto of = attributes<nacelle_attention_attributes>(op);
  const bool cached = of.cache_group != NACELLE_NO_CACHE, aliased = input(op, 2) == NACELLE_NO_VALUE;
  const std::uint32_t kind = !cached ? kOwn : aliased ? kAlias : kPaged;
  const Ref k = read(op.inputs[1]), v = aliased ? k : read(op.inputs[2]);
  KvShape shape{KvType::kF32,     KvType::kF32, aliased ? of.key_width : of.value_width,
                of.kv_head_count, of.key_width, of.value_width};
  Ref cache = k, table = v, block_bytes = absolute(k.place->stride | std::uint64_t{v.place->stride} << 32);
  if (cached) {
    shape = kv_shape(graph_, cache_, of.cache_group);
    if (shape.heads != of.kv_head_count || shape.key_width != of.key_width)
      throw sdk::Failure(NACELLE_UNIMPLEMENTED, "vulkan: two attentions of one cache group have different heads");
    cache = cache_of(of.cache_group, of.cache_layer);
    table = step(table_of(of.cache_group));
    block_bytes = absolute(shape.block_bytes());
    store_keys(shape, k, v, table, cache);
    cache.written = false;
  }

  // As many splits as the longest sequence of any plan of these weights has: plans of all sizes cut alike.
  const std::uint32_t longest = std::max(weights_.most_context(), cached ? 0 : weights_.most_rows());
  const std::uint32_t most = std::max(device_.profile().most_splits, longest / kMostSplit + 1);
  const std::uint32_t share = (longest + most - 1) / most;
  const std::uint32_t split_tokens = std::max(kLeastSplit, (share + kLeastSplit - 1) / kLeastSplit * kLeastSplit);
  const std::uint32_t splits = (longest + split_tokens - 1) / split_tokens;
  const std::uint32_t window = of.window << 1 | (of.causal ? 1 : 0);
  const std::uint32_t chunked = op.kind == NACELLE_OP_CHUNKED_ATTENTION ? 1 : 0;
  const std::uint32_t subgroup = device_.physical().subgroup;
  const KvType value_type = aliased ? shape.key_type : shape.value_type;
  const std::uint32_t elements = KvShape::elements_of_word(value_type) * subgroup;  // of a row of the subgroup's words
  const Ref sequences = step(step_.row_sequences), positions = step(step_.positions),
            lengths = step(cached ? step_.sequence_lengths : step_.sequence_starts);
  Place* parts = make_place(Space::kArena, Lead::kRows, of.head_count * splits * (of.value_width + 2));
  parts->stride = parts->width;
  const Ref q = read(op.inputs[0]);
  const auto [bias, bias_words] = weights_.attention_bias(&op);
  push(pipeline("attention",
                {subgroup, static_cast<std::uint32_t>(shape.key_type), static_cast<std::uint32_t>(value_type),
                 (of.value_width + elements - 1) / elements, kind, chunked},
                true),
       {of.head_count, Lead::kRows, 1, split_tokens},
       {q, sequences, positions, lengths, table, cache, block_bytes, to(parts), absolute(bias)},
       {of.head_count, of.head_count / of.kv_head_count, of.key_width, of.value_width, shape.block_tokens,
        step_.table_width, q.place->stride, window, split_tokens, splits, of.scale, of.soft_cap, bias_words});
  const Ref y = write(op.outputs[0]);
  push(pipeline("attention_merge", {subgroup, kind, chunked}), {of.head_count, Lead::kRows},
       {from(parts), sequences, positions, lengths, y, absolute(weights_.vector(input(op, 3)))},
       {splits, split_tokens, of.head_count, of.value_width, y.place->stride, window});
}

void Compiler::store_keys(const KvShape& shape, const Ref& k, const Ref& v, const Ref& table, const Ref& cache) {
  const std::uint64_t pieces =
      KvShape::pieces(shape.key_type, shape.key_width) + KvShape::pieces(shape.value_type, shape.value_width);
  push(pipeline("kv_store", {device_.profile().wide_threads, static_cast<std::uint32_t>(shape.key_type),
                             static_cast<std::uint32_t>(shape.value_type)}),
       columns_grid(static_cast<std::uint32_t>(shape.heads * pieces), Lead::kRows, 1),
       {k, v, step(step_.row_sequences), step(step_.positions), table, cache, absolute(shape.block_bytes())},
       {shape.heads, shape.key_width, shape.value_width, shape.block_tokens, step_.table_width, k.place->stride,
        v.place->stride});
}

}  // namespace nacelle::vulkan
