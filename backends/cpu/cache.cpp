// Sizes and memory of the paged KV cache.
#include "backends/cpu/cache.hpp"

#include <algorithm>
#include <cstring>
#include <nacelle/types.hpp>
#include <string>

#include "backends/cpu/isa.hpp"
#include "backends/cpu/registry.hpp"

namespace nacelle::cpu {
namespace {

constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t to) { return (n + to - 1) / to * to; }

std::uint32_t element_bytes(nacelle_type type) { return static_cast<std::uint32_t>(row_bytes(type, 1)); }

const char* name_of(nacelle_type type) {
  const TypeInfo* info = type_info(type);
  return info ? info->name : "an unknown type";
}

}  // namespace

std::uint64_t KvShape::key_head_bytes() const {
  return round_up(round_up(block_tokens, kTileTokens) * key_width * key_bytes, 64);
}
std::uint64_t KvShape::value_head_bytes() const {
  return round_up(std::uint64_t{block_tokens} * round_up(value_width, kTileTokens) * value_bytes, 64);
}

KvView KvShape::view(std::byte* base, const std::uint32_t* table, std::uint32_t layer, std::uint32_t layers,
                     std::uint32_t head) const {
  const std::uint64_t in_layer = layer * layer_bytes();
  return {reinterpret_cast<std::uint8_t*>(base),
          table,
          layers * layer_bytes(),
          in_layer + head * key_head_bytes(),
          in_layer + heads * key_head_bytes() + head * value_head_bytes(),
          block_tokens,
          key_width,
          value_width};
}

std::vector<KvShape> kv_shapes(const nacelle_graph& graph, const nacelle_cache_options& options) {
  if (graph.cache_group_count && !choose_attention(options.key_type, options.value_type, Isa::kPortable))
    throw sdk::Failure(NACELLE_UNIMPLEMENTED, std::string("cpu: the cache cannot hold keys as ") +
                                                  name_of(options.key_type) + " with values as " +
                                                  name_of(options.value_type) + "; use f32, f16 or bf16 for both");
  std::vector<KvShape> shapes(graph.cache_group_count);
  for (std::uint32_t i = 0; i < graph.op_count; ++i) {
    if (graph.ops[i]->kind != NACELLE_OP_ATTENTION) continue;
    const auto of = sdk::load(static_cast<const nacelle_attention_attributes*>(graph.ops[i]->attributes));
    if (of.cache_group >= shapes.size()) continue;
    shapes[of.cache_group] = {options.block_tokens,
                              of.kv_head_count,
                              of.key_width,
                              of.value_width,
                              element_bytes(options.key_type),
                              element_bytes(options.value_type)};
  }
  return shapes;
}

std::uint64_t kv_block_bytes(const nacelle_graph& graph, const std::vector<KvShape>& shapes, std::uint32_t group) {
  if (group >= shapes.size()) throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "cpu: no such cache group");
  return graph.cache_groups[group]->layer_count * shapes[group].layer_bytes();
}

CpuCache::CpuCache(const sdk::Host& host, const nacelle_graph& graph, const nacelle_cache_options& options)
    : block_tokens_(options.block_tokens), key_type_(options.key_type), value_type_(options.value_type) {
  if (options.group_count != graph.cache_group_count)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "cpu: the cache options count " + std::to_string(options.group_count) +
                                                     " groups, the graph " + std::to_string(graph.cache_group_count));
  const std::vector<KvShape> shapes = kv_shapes(graph, options);
  for (std::uint32_t g = 0; g < graph.cache_group_count; ++g) {
    const std::uint64_t bytes = kv_block_bytes(graph, shapes, g);
    groups_.push_back({bytes, options.block_counts[g], sdk::Buffer(host, bytes * options.block_counts[g])});
  }
}

nacelle_status CpuCache::copy_blocks(sdk::Stream&, std::uint32_t group,
                                     std::span<const nacelle_block_copy> pairs) noexcept {
  if (group >= groups_.size()) return NACELLE_INVALID_ARGUMENT;
  const Group& of = groups_[group];
  const auto outside = [&](const nacelle_block_copy& pair) {
    return pair.from >= of.block_count || pair.to >= of.block_count;
  };
  if (std::any_of(pairs.begin(), pairs.end(), outside)) return NACELLE_INVALID_ARGUMENT;
  for (const nacelle_block_copy& pair : pairs)
    if (pair.from != pair.to)
      std::memcpy(of.memory.data() + pair.to * of.block_bytes, of.memory.data() + pair.from * of.block_bytes,
                  of.block_bytes);
  return NACELLE_OK;
}

}  // namespace nacelle::cpu
