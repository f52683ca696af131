// The paged KV cache on a device, and states: one piece of memory a layer, of all its blocks. shaders/kv.glsl describes
// a block of keys and values; one of a group of states is its f32 values.
#pragma once

#include <cstdint>
#include <nacelle/backend.hpp>
#include <vector>

#include "backends/vulkan/device.hpp"

namespace nacelle::vulkan {

// As shaders/kv.glsl numbers them.
enum class KvType : std::uint32_t { kF32, kF16, kBf16, kQ8_0, kQ4_0 };

// A block of one layer of a group.
struct KvShape {
  KvType key_type, value_type;
  std::uint32_t block_tokens, heads, key_width, value_width;  // widths: of a head; value_width 0: values are keys

  static bool has_blocks(KvType type) { return type >= KvType::kQ8_0; }
  static std::uint32_t elements_of_word(KvType type) {
    return type == KvType::kF32 ? 1 : type == KvType::kQ4_0 ? 8 : type == KvType::kQ8_0 ? 4 : 2;
  }
  // Of a head's row: a block of 32 has a word with its scale.
  static std::uint64_t words(KvType type, std::uint64_t width) {
    if (has_blocks(type)) return width / 32 * (1 + 32 / elements_of_word(type));
    return (width + elements_of_word(type) - 1) / elements_of_word(type);
  }
  // What a thread of kv_store.comp writes: a word, or a block.
  static std::uint64_t pieces(KvType type, std::uint64_t width) {
    return has_blocks(type) ? width / 32 : words(type, width);
  }
  std::uint64_t block_bytes() const {
    return 4 * block_tokens * heads * (words(key_type, key_width) + words(value_type, value_width));
  }
};

// A state is taken for the keys of one token, in f32. Throws sdk::Failure (UNIMPLEMENTED) for a type that cannot be
// stored, or not in heads of that width.
KvShape kv_shape(const nacelle_graph& graph, const nacelle_cache_options& options, std::uint32_t group);

class VulkanCache final : public sdk::Cache {
 public:
  // `most_outputs`: output rows of any step.
  VulkanCache(VulkanDevice& device, const nacelle_graph& graph, const nacelle_cache_options& options,
              std::uint32_t most_outputs);

  nacelle_status copy_blocks(sdk::Stream&, std::uint32_t group,
                             std::span<const nacelle_block_copy> pairs) noexcept override;

  bool fits(const nacelle_cache_options& options) const;
  std::uint64_t address(std::uint32_t group, std::uint32_t layer) const {
    return groups_[group].layers[layer].address();
  }
  std::uint32_t block_count(std::uint32_t group) const { return groups_[group].block_count; }
  std::uint32_t group_count() const { return static_cast<std::uint32_t>(groups_.size()); }
  // u32 [most_outputs]: the best candidate of each output row of the latest run.
  std::uint64_t best() const { return best_.address(); }

  std::uint32_t latest_outputs = 0;  // output rows of the latest run on this cache

 private:
  struct Group {
    std::uint64_t block_bytes;
    std::uint32_t block_count;
    std::vector<Piece> layers;
  };
  VulkanDevice& device_;
  nacelle_cache_options options_;
  std::vector<Group> groups_;
  Piece best_;
};

}  // namespace nacelle::vulkan
