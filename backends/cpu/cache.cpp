// Sizes and memory of the paged KV cache and of states.
#include "backends/cpu/cache.hpp"

#include <algorithm>
#include <cstring>
#include <nacelle/attention.hpp>
#include <nacelle/types.hpp>
#include <string>

#include "backends/cpu/isa.hpp"
#include "backends/cpu/registry.hpp"

namespace nacelle::cpu {
namespace {

std::string name_of(nacelle_type type) {
  const TypeInfo* info = type_info(type);
  return info ? info->name : "an unknown type";
}

// A type that the kernels hold, in a width that its blocks fit: a head of whole blocks, or blocks of whole heads.
void check_type(nacelle_type type, std::uint32_t heads, std::uint32_t width, const char* what) {
  if (!choose_keys(type, IsaSet()))
    throw sdk::Failure(NACELLE_UNIMPLEMENTED, std::string("cpu: the cache cannot hold ") + what + " as " +
                                                  name_of(type) + "; use f32, f16, bf16, q8_0 or q4_0");
  const bool fits = type_info(type)->block_elements == 1 || width % kQuantBlock == 0 ||
                    (kQuantBlock % width == 0 && heads * width % kQuantBlock == 0);
  if (!fits)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, std::string("cpu: ") + what + " of " + std::to_string(width) +
                                                     " columns a head do not fit blocks of " + name_of(type) +
                                                     "; use f32, f16 or bf16");
}

KvShape kv_shape(const nacelle_graph& graph, const nacelle_cache_options& options,
                 const nacelle_attention_attributes& of) {
  const bool aliased = graph.cache_groups[of.cache_group]->value_width == 0;
  const nacelle_type value_type = aliased ? options.key_type : options.value_type;
  check_type(options.key_type, of.kv_head_count, of.key_width, "keys");
  if (!aliased) check_type(value_type, of.kv_head_count, of.value_width, "values");
  return {options.block_tokens, of.kv_head_count, of.key_width, of.value_width, options.key_type, value_type, aliased};
}

// A layer's part of a state; each begins on a line of its own.
std::uint64_t state_bytes(const nacelle_cache_group& group) {
  return group.kind == NACELLE_CACHE_STATE ? padded(std::uint64_t{group.key_width} * sizeof(float), 64) : 0;
}

}  // namespace

std::uint64_t KvShape::key_head_bytes() const {
  return padded(padded(block_tokens) / kTileTokens * key_tile_bytes(key_type, key_width), 64);
}
std::uint64_t KvShape::value_head_bytes() const {
  return aliased ? 0 : padded(block_tokens * value_row_bytes(value_type, value_width), 64);
}

KvView KvShape::view(std::byte* base, const std::uint32_t* table, std::uint32_t layer, std::uint32_t layers,
                     std::uint32_t head) const {
  KvView view;
  view.base = reinterpret_cast<std::uint8_t*>(base);
  view.table = table;
  view.block_bytes = layers * layer_bytes();
  view.key_head_stride = key_head_bytes();
  view.value_head_stride = value_head_bytes();
  view.key_offset = layer * layer_bytes() + head * view.key_head_stride;
  view.value_offset = layer * layer_bytes() + heads * view.key_head_stride + head * view.value_head_stride;
  view.key_tile_bytes = key_tile_bytes(key_type, key_width);
  view.value_row_bytes = value_row_bytes(value_type, value_width);
  if (aliased) {  // where a value lies matters to what is fetched ahead alone
    view.value_offset = view.key_offset;
    view.value_row_bytes = view.key_tile_bytes / kTileTokens;
  }
  view.block_tokens = block_tokens;
  view.key_width = key_width;
  view.value_width = value_width;
  return view;
}

std::vector<KvShape> kv_shapes(const nacelle_graph& graph, const nacelle_cache_options& options) {
  std::vector<KvShape> shapes(graph.cache_group_count);
  for (std::uint32_t i = 0; i < graph.op_count; ++i) {
    if (!is_attention(graph.ops[i]->kind)) continue;
    const auto of = sdk::load(static_cast<const nacelle_attention_attributes*>(graph.ops[i]->attributes));
    if (of.cache_group < shapes.size()) shapes[of.cache_group] = kv_shape(graph, options, of);
  }
  return shapes;
}

std::uint64_t kv_block_bytes(const nacelle_graph& graph, const std::vector<KvShape>& shapes, std::uint32_t group) {
  if (group >= shapes.size()) throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "cpu: no such cache group");
  const nacelle_cache_group& of = *graph.cache_groups[group];
  return of.layer_count * (of.kind == NACELLE_CACHE_STATE ? state_bytes(of) : shapes[group].layer_bytes());
}

CpuCache::CpuCache(const sdk::Host& host, const nacelle_graph& graph, const nacelle_cache_options& options)
    : block_tokens_(options.block_tokens), key_type_(options.key_type), value_type_(options.value_type) {
  if (options.group_count != graph.cache_group_count)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "cpu: the cache options count " + std::to_string(options.group_count) +
                                                     " groups, the graph " + std::to_string(graph.cache_group_count));
  const std::vector<KvShape> shapes = kv_shapes(graph, options);
  for (std::uint32_t g = 0; g < graph.cache_group_count; ++g) {
    const std::uint64_t bytes = kv_block_bytes(graph, shapes, g);
    groups_.push_back({bytes, state_bytes(*graph.cache_groups[g]), options.block_counts[g],
                       sdk::Buffer(host, bytes * options.block_counts[g])});
  }
}

nacelle_status CpuCache::copy_blocks(sdk::Stream&, std::uint32_t group,
                                     std::span<const nacelle_block_copy> pairs) noexcept {
  if (group >= groups_.size()) return NACELLE_INVALID_ARGUMENT;
  const Group& of = groups_[group];
  if (!sdk::are_within(pairs, of.block_count)) return NACELLE_INVALID_ARGUMENT;
  for (const nacelle_block_copy& pair : pairs)
    if (pair.from != pair.to)
      std::memcpy(of.memory.data() + pair.to * of.block_bytes, of.memory.data() + pair.from * of.block_bytes,
                  of.block_bytes);
  return NACELLE_OK;
}

}  // namespace nacelle::cpu
