#include "backends/gpu/host/cache.hpp"

#include <algorithm>
#include <nacelle/attention.hpp>
#include <nacelle/types.hpp>

#include "backends/gpu/host/supports.hpp"

namespace nacelle::gpu {
namespace {

std::string name_of(nacelle_type type) {
  const TypeInfo* info = type_info(type);
  return info ? info->name : "an unknown type";
}

// Bytes of a head's row, or a refusal that says what was asked for.
std::uint32_t row_bytes_of(const std::string& backend, nacelle_type type, std::uint32_t width, const char* what) {
  if (type != NACELLE_TYPE_F32 && type != NACELLE_TYPE_F16 && type != NACELLE_TYPE_BF16 && type != NACELLE_TYPE_Q8_0 &&
      type != NACELLE_TYPE_Q4_0)
    throw sdk::Failure(NACELLE_UNIMPLEMENTED, backend + ": the cache cannot hold " + what + " as " + name_of(type) +
                                                  "; use f32, f16, bf16, q8_0 or q4_0");
  if (width % type_info(type)->block_elements)
    throw sdk::Failure(NACELLE_UNIMPLEMENTED, backend + ": " + what + " of " + std::to_string(width) +
                                                  " columns a head do not fill blocks of " + name_of(type) +
                                                  "; use f32, f16 or bf16");
  return static_cast<std::uint32_t>(row_bytes(type, width));
}

constexpr std::uint64_t padded(std::uint64_t bytes) { return (bytes + 15) / 16 * 16; }

KvLayout state_layout(const std::string& backend, const nacelle_cache_group& group) {
  KvLayout layout;
  layout.layers = group.layer_count;
  layout.heads = layout.block_tokens = 1;
  layout.key_width = group.key_width;
  layout.key_type = NACELLE_TYPE_F32;
  layout.key_row_bytes = row_bytes_of(backend, NACELLE_TYPE_F32, group.key_width, "states");
  layout.aliased = true;
  return layout;
}

}  // namespace

std::uint64_t KvLayout::head_bytes(std::uint32_t row) const { return padded(std::uint64_t{block_tokens} * row); }
std::uint64_t KvLayout::layer_bytes() const {
  return heads * (head_bytes(key_row_bytes) + (aliased ? 0 : head_bytes(value_row_bytes)));
}

KvView KvLayout::view(std::uint32_t layer) const {
  KvView view{};
  view.block_bytes = block_bytes();
  view.key_offset = layer * layer_bytes();
  view.value_offset = aliased ? view.key_offset : view.key_offset + heads * head_bytes(key_row_bytes);
  view.key_head_bytes = static_cast<std::uint32_t>(head_bytes(key_row_bytes));
  view.value_head_bytes = aliased ? view.key_head_bytes : static_cast<std::uint32_t>(head_bytes(value_row_bytes));
  view.key_row_bytes = key_row_bytes;
  view.value_row_bytes = aliased ? key_row_bytes : value_row_bytes;
  view.key_type = key_type;
  view.value_type = aliased ? key_type : value_type;
  view.block_tokens = block_tokens;
  return view;
}

std::vector<KvLayout> kv_layouts(const std::string& backend, const nacelle_graph& graph,
                                 const nacelle_cache_options& options) {
  std::vector<KvLayout> layouts(graph.cache_group_count);
  for (std::uint32_t g = 0; g < graph.cache_group_count; ++g) {
    const nacelle_cache_group& group = *graph.cache_groups[g];
    if (group.kind == NACELLE_CACHE_STATE) layouts[g] = state_layout(backend, group);
    if (group.kind != NACELLE_CACHE_STATE && group.kind != NACELLE_CACHE_PAGED)
      throw sdk::Failure(NACELLE_UNIMPLEMENTED, backend + ": cache group " + std::to_string(g) + " is of kind " +
                                                    std::to_string(group.kind) +
                                                    " (1: paged, 2: state, 3: cross), which it does not have");
  }
  for (std::uint32_t i = 0; i < graph.op_count; ++i) {
    if (!is_attention(graph.ops[i]->kind)) continue;
    const auto of = sdk::load(static_cast<const nacelle_attention_attributes*>(graph.ops[i]->attributes));
    if (of.cache_group >= layouts.size()) continue;
    KvLayout& layout = layouts[of.cache_group];
    layout.layers = graph.cache_groups[of.cache_group]->layer_count;
    layout.aliased = graph.cache_groups[of.cache_group]->value_width == 0;
    layout.heads = of.kv_head_count;
    layout.key_width = of.key_width;
    layout.value_width = of.value_width;
    layout.block_tokens = options.block_tokens;
    layout.key_type = options.key_type;
    layout.value_type = options.value_type;
    if (of.key_width > kWidestHead || of.value_width > kWidestHead)
      throw sdk::Failure(NACELLE_UNIMPLEMENTED,
                         backend + ": attention heads are wider than " + std::to_string(kWidestHead));
    layout.key_row_bytes = row_bytes_of(backend, options.key_type, of.key_width, "keys");
    layout.value_row_bytes = row_bytes_of(backend, options.value_type, of.value_width, "values");
  }
  return layouts;
}

GpuCache::GpuCache(std::shared_ptr<OpenDevice> device, const nacelle_graph& graph, const nacelle_cache_options& options,
                   std::uint32_t most_outputs)
    : device_(std::move(device)), options_(options) {
  if (options.group_count != graph.cache_group_count)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, device_->backend + ": the cache options count " +
                                                     std::to_string(options.group_count) + " groups, the graph " +
                                                     std::to_string(graph.cache_group_count));
  const std::vector<KvLayout> layouts = kv_layouts(device_->backend, graph, options);
  for (std::uint32_t g = 0; g < graph.cache_group_count; ++g)
    groups_.push_back({layouts[g], options.block_counts[g],
                       Memory(*device_->context, layouts[g].block_bytes() * options.block_counts[g])});
  best_ = Memory(*device_->context, std::max(most_outputs, 1u) * sizeof(std::uint32_t));
}

nacelle_status GpuCache::copy_blocks(sdk::Stream& stream, std::uint32_t group,
                                     std::span<const nacelle_block_copy> pairs) noexcept {
  if (group >= groups_.size()) return NACELLE_INVALID_ARGUMENT;
  const Group& of = groups_[group];
  if (!sdk::are_within(pairs, of.block_count)) return NACELLE_INVALID_ARGUMENT;
  const std::uint64_t bytes = of.layout.block_bytes();
  const auto blocks = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(bytes / 4096, 1, 64));
  for (const nacelle_block_copy& pair : pairs) {
    if (pair.from == pair.to) continue;
    const BlockCopyArguments arguments{of.memory.data(), bytes, pair.from, pair.to};
    const nacelle_status status = device_->context->launch(
        static_cast<GpuStream&>(stream).queue(), Launch::of(Kernel::k_copy_block, {blocks, 1, 1}, 256, arguments));
    if (status != NACELLE_OK) return status;
  }
  return NACELLE_OK;
}

}  // namespace nacelle::gpu
