// Memory of the cache, and copies of its blocks.
#include "backends/vulkan/cache.hpp"

#include <algorithm>
#include <nacelle/attention.hpp>
#include <nacelle/types.hpp>

namespace nacelle::vulkan {
namespace {

KvType kv_type(nacelle_type type) {
  if (type == NACELLE_TYPE_F32) return KvType::kF32;
  if (type == NACELLE_TYPE_F16) return KvType::kF16;
  if (type == NACELLE_TYPE_BF16) return KvType::kBf16;
  if (type == NACELLE_TYPE_Q8_0) return KvType::kQ8_0;
  if (type == NACELLE_TYPE_Q4_0) return KvType::kQ4_0;
  const TypeInfo* info = type_info(type);
  throw sdk::Failure(NACELLE_UNIMPLEMENTED, std::string("vulkan: the cache cannot hold ") +
                                                (info ? info->name : "an unknown type") +
                                                "; use f32, f16, bf16, q8_0 or q4_0");
}

void check_width(KvType type, std::uint32_t width, const char* what) {
  if (KvShape::has_blocks(type) && width % 32)
    throw sdk::Failure(NACELLE_UNIMPLEMENTED, "vulkan: " + std::string(what) + " of " + std::to_string(width) +
                                                  " columns a head do not fill the blocks of a q8_0 or q4_0 cache; " +
                                                  "use f32, f16 or bf16");
}

}  // namespace

KvShape kv_shape(const nacelle_graph& graph, const nacelle_cache_options& options, std::uint32_t group) {
  if (graph.cache_groups[group]->kind == NACELLE_CACHE_STATE)
    return {KvType::kF32, KvType::kF32, 1, 1, graph.cache_groups[group]->key_width, 0};
  KvShape shape{kv_type(options.key_type),
                kv_type(options.value_type),
                options.block_tokens,
                1,
                graph.cache_groups[group]->key_width,
                graph.cache_groups[group]->value_width};
  for (std::uint32_t i = 0; i < graph.op_count; ++i) {
    if (!is_attention(graph.ops[i]->kind)) continue;
    const auto of = sdk::load(static_cast<const nacelle_attention_attributes*>(graph.ops[i]->attributes));
    if (of.cache_group != group) continue;
    shape.heads = of.kv_head_count;
    shape.key_width = of.key_width;
    shape.value_width = graph.cache_groups[group]->value_width ? of.value_width : 0;
  }
  check_width(shape.key_type, shape.key_width, "keys");
  if (shape.value_width) check_width(shape.value_type, shape.value_width, "values");
  return shape;
}

VulkanCache::VulkanCache(VulkanDevice& device, const nacelle_graph& graph, const nacelle_cache_options& options,
                         std::uint32_t most_outputs)
    : device_(device), options_(options) {
  if (options.group_count != graph.cache_group_count)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "vulkan: the cache options count " +
                                                     std::to_string(options.group_count) + " groups, the graph " +
                                                     std::to_string(graph.cache_group_count));
  for (std::uint32_t g = 0; g < graph.cache_group_count; ++g) {
    Group group{kv_shape(graph, options, g).block_bytes(), options.block_counts[g], {}};
    for (std::uint32_t layer = 0; layer < graph.cache_groups[g]->layer_count; ++layer)
      group.layers.push_back(
          device.memory().allocate(MemoryKind::kDevice, group.block_bytes * group.block_count, "the KV cache"));
    groups_.push_back(std::move(group));
  }
  best_ = device.memory().allocate(MemoryKind::kDevice, 4 * std::uint64_t{most_outputs}, "the best tokens");
}

bool VulkanCache::fits(const nacelle_cache_options& options) const {
  return options.block_tokens == options_.block_tokens && options.key_type == options_.key_type &&
         options.value_type == options_.value_type && options.group_count == options_.group_count;
}

nacelle_status VulkanCache::copy_blocks(sdk::Stream&, std::uint32_t group,
                                        std::span<const nacelle_block_copy> pairs) noexcept {
  if (group >= groups_.size()) return NACELLE_INVALID_ARGUMENT;
  const Group& of = groups_[group];
  if (!sdk::are_within(pairs, of.block_count)) return NACELLE_INVALID_ARGUMENT;
  try {
    device_.run_now([&](VkCommandBuffer commands) {
      for (const nacelle_block_copy& pair : pairs) {
        if (pair.from == pair.to) continue;
        for (const Piece& layer : of.layers) {
          const VkBufferCopy region{layer.offset() + pair.from * of.block_bytes,
                                    layer.offset() + pair.to * of.block_bytes, of.block_bytes};
          device_.api().vkCmdCopyBuffer(commands, layer.buffer(), layer.buffer(), 1, &region);
        }
        device_.barrier(commands);  // pairs are copied in order: a block may be both source and target
      }
    });
    return NACELLE_OK;
  } catch (const sdk::Failure& failure) {
    return failure.status();
  } catch (...) {
    return NACELLE_INTERNAL;
  }
}

}  // namespace nacelle::vulkan
