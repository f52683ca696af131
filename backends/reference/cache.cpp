// Paged KV cache: addresses, and rows in and out.
#include "backends/reference/cache.hpp"

#include <cstring>
#include <nacelle/types.hpp>
#include <string>

namespace nacelle::reference {
namespace {

// How a row of `width` columns is stored, or a refusal that says what was asked for.
CacheFormat cache_format(nacelle_type type, std::uint64_t width, const char* what) {
  const Encode encode = find_encoder(type);
  if (!encode)
    throw sdk::Failure(NACELLE_UNIMPLEMENTED, std::string("reference: the cache cannot hold ") + what + " as " +
                                                  type_name(type) + "; use f32, f16, bf16, q8_0 or q4_0");
  const std::uint32_t block = type_info(type)->block_elements;
  if (width % block)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, std::string("reference: ") + what + " of " + std::to_string(width) +
                                                     " columns do not fill blocks of " + type_name(type) +
                                                     "; use f32, f16 or bf16");
  return {type, encode};
}

}  // namespace

GroupLayout::GroupLayout(const nacelle_cache_group& group, const nacelle_cache_options& options) {
  const bool is_state = group.kind == NACELLE_CACHE_STATE;
  layer_count = group.layer_count;
  block_tokens = is_state ? 1 : options.block_tokens;
  key_width = group.key_width;
  value_width = group.value_width;
  const nacelle_type state_type = NACELLE_TYPE_F32;
  key_format = cache_format(is_state ? state_type : options.key_type, key_width, "keys");
  value_format = cache_format(is_state ? state_type : options.value_type, value_width, "values");
  key_bytes = row_bytes(key_format.type, key_width);
  value_bytes = row_bytes(value_format.type, value_width);
}

ReferenceCache::ReferenceCache(const sdk::Host& host, const nacelle_graph& graph, const nacelle_cache_options& options)
    : block_tokens_(options.block_tokens) {
  if (options.group_count != graph.cache_group_count)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "reference: the cache options count " +
                                                     std::to_string(options.group_count) + " groups, the graph " +
                                                     std::to_string(graph.cache_group_count));
  for (std::uint32_t g = 0; g < graph.cache_group_count; ++g) {
    const GroupLayout layout(sdk::load(graph.cache_groups[g]), options);
    const std::uint32_t blocks = options.block_counts[g];
    groups_.push_back({layout, blocks, sdk::Buffer(host, blocks * layout.block_bytes(), true)});
  }
}

nacelle_status ReferenceCache::copy_blocks(sdk::Stream&, std::uint32_t group,
                                           std::span<const nacelle_block_copy> pairs) noexcept {
  if (group >= groups_.size()) return NACELLE_INVALID_ARGUMENT;
  const Group& of = groups_[group];
  if (!sdk::are_within(pairs, of.block_count)) return NACELLE_INVALID_ARGUMENT;
  const std::uint64_t bytes = of.layout.block_bytes();
  for (const nacelle_block_copy& pair : pairs)
    if (pair.from != pair.to)
      std::memcpy(of.memory.data() + pair.to * bytes, of.memory.data() + pair.from * bytes, bytes);
  return NACELLE_OK;
}

std::byte* ReferenceCache::key_row(std::uint32_t group, std::uint32_t layer, std::span<const std::uint32_t> table,
                                   std::uint32_t position) const {
  const Group& of = groups_[group];
  const std::uint64_t entry = position / block_tokens_;
  if (entry >= table.size() || table[entry] >= of.block_count)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "step block: cache group " + std::to_string(group) +
                                                     " has no valid block for position " + std::to_string(position));
  return of.memory.data() + table[entry] * of.layout.block_bytes() + layer * of.layout.layer_bytes() +
         position % block_tokens_ * of.layout.key_bytes;
}

std::byte* ReferenceCache::value_row(std::uint32_t group, std::uint32_t layer, std::span<const std::uint32_t> table,
                                     std::uint32_t position) const {
  const GroupLayout& of = groups_[group].layout;
  const std::uint64_t token = position % block_tokens_;
  std::byte* keys = key_row(group, layer, table, position) - token * of.key_bytes;
  return keys + block_tokens_ * of.key_bytes + token * of.value_bytes;
}

std::span<float> ReferenceCache::state(std::uint32_t group, std::uint32_t layer,
                                       std::span<const std::uint32_t> table) const {
  return {reinterpret_cast<float*>(key_row(group, layer, table, 0)), groups_[group].layout.key_width};
}

void ReferenceCache::write(std::uint32_t group, std::uint32_t layer, std::span<const std::uint32_t> table,
                           std::uint32_t position, std::span<const float> key, std::span<const float> value) {
  const GroupLayout& of = groups_[group].layout;
  of.key_format.encode(key.data(), key_row(group, layer, table, position), of.key_width);
  if (of.value_width) of.value_format.encode(value.data(), value_row(group, layer, table, position), of.value_width);
}

void ReferenceCache::read_key(std::uint32_t group, std::uint32_t layer, std::span<const std::uint32_t> table,
                              std::uint32_t position, std::span<float> key) const {
  decode(groups_[group].layout.key_format.type, key_row(group, layer, table, position), key);
}

void ReferenceCache::read_value(std::uint32_t group, std::uint32_t layer, std::span<const std::uint32_t> table,
                                std::uint32_t position, std::span<float> value) const {
  decode(groups_[group].layout.value_format.type, value_row(group, layer, table, position), value);
}

}  // namespace nacelle::reference
