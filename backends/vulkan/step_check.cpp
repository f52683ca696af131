// The rules of backend.h, one function a part of the block.
#include "backends/vulkan/step_check.hpp"

#include <algorithm>

namespace nacelle::vulkan {
namespace {

class Checker {
 public:
  Checker(const StepLimits& limits, const VulkanCache* cache, const std::byte* block)
      : limits_(limits),
        cache_(cache),
        at_(*limits.layout),
        block_(block),
        header_(*reinterpret_cast<const nacelle_step_header*>(block + at_.header)) {}

  const char* run(std::uint32_t& longest) const {
    if (const char* fault = header()) return fault;
    if (const char* fault = sequences(longest)) return fault;
    if (const char* fault = tokens()) return fault;
    if (const char* fault = blocks()) return fault;
    return outputs();
  }

 private:
  const std::uint32_t* words(std::uint64_t offset) const {
    return reinterpret_cast<const std::uint32_t*>(block_ + offset);
  }

  const char* header() const {
    const nacelle_bucket& bucket = limits_.bucket;
    if (header_.version != 1) return "version is not 1";
    if (header_.rows > bucket.rows) return "more rows than the bucket holds";
    if (header_.sequences > bucket.sequences) return "more sequences than the bucket holds";
    if (header_.output_rows > bucket.output_rows) return "more output rows than the bucket holds";
    if ((header_.flags & NACELLE_STEP_MASKS) && !(bucket.flags & NACELLE_BUCKET_MASKS))
      return "masks in a bucket without them";
    return nullptr;
  }

  const char* sequences(std::uint32_t& longest) const {
    const std::uint32_t *starts = words(at_.sequence_starts), *lengths = words(at_.sequence_lengths);
    const std::uint32_t *owners = words(at_.row_sequences), *positions = words(at_.positions);
    const bool cached = limits_.graph->cache_group_count != 0;
    longest = 0;
    if (starts[0] != 0 || starts[header_.sequences] != header_.rows)
      return "sequence_starts do not cut the rows into sequences";
    for (std::uint32_t s = 0; s < header_.sequences; ++s) {
      if (starts[s] > starts[s + 1] || starts[s + 1] > header_.rows)
        return "sequence_starts do not cut the rows into sequences";
      if (cached && lengths[s] > limits_.bucket.context) return "a sequence is longer than the bucket";
      longest = std::max(longest, cached ? lengths[s] : starts[s + 1] - starts[s]);
      if (limits_.own_attention) longest = std::max(longest, starts[s + 1] - starts[s]);
      for (std::uint32_t row = starts[s]; row < starts[s + 1]; ++row) {
        if (owners[row] != s) return "row_sequences and sequence_starts disagree";
        if (cached && positions[row] >= lengths[s]) return "a position lies past its sequence's length";
        if (positions[row] >= limits_.positions) return "a position lies past the longest context";
        if (limits_.own_attention && positions[row] - positions[starts[s]] != row - starts[s])
          return "positions do not follow one another where rows attend to their own step";
      }
    }
    return nullptr;
  }

  const char* tokens() const {
    if (!limits_.tokens) return nullptr;
    const std::uint32_t* ids = words(at_.tokens);
    for (std::uint32_t row = 0; row < header_.rows; ++row) {
      if (!(ids[row] & NACELLE_TOKEN_FROM_PREVIOUS)) {
        if (ids[row] >= limits_.tokens) return "a token is not in the vocabulary";
      } else if (!cache_ || (ids[row] & ~NACELLE_TOKEN_FROM_PREVIOUS) >= cache_->latest_outputs) {
        return "the previous step has no such output row";
      }
    }
    return nullptr;
  }

  // Every block that a row writes or sees. Of a group of states that is the first entry alone.
  const char* blocks() const {
    const nacelle_graph& graph = *limits_.graph;
    const std::uint32_t *starts = words(at_.sequence_starts), *positions = words(at_.positions);
    for (std::uint32_t group = 0; group < graph.cache_group_count; ++group)
      for (std::uint32_t s = 0; s < header_.sequences; ++s) {
        if (starts[s] == starts[s + 1]) continue;
        const std::uint32_t earliest = *std::min_element(positions + starts[s], positions + starts[s + 1]);
        const std::uint32_t window = graph.cache_groups[group]->window;
        const std::uint32_t first = window && earliest >= window ? earliest - window + 1 : 0;
        const std::uint32_t end = words(at_.sequence_lengths)[s];
        const std::uint32_t* table =
            words(at_.block_tables) + (std::uint64_t{group} * limits_.bucket.sequences + s) * at_.table_width;
        if (graph.cache_groups[group]->kind == NACELLE_CACHE_STATE) {
          if (table[0] >= cache_->block_count(group)) return "a block table has no valid state";
          continue;
        }
        for (std::uint32_t i = first / limits_.block_tokens; i * limits_.block_tokens < end; ++i)
          if (table[i] >= cache_->block_count(group)) return "a block table has no valid block for a position";
      }
    return nullptr;
  }

  const char* outputs() const {
    const std::uint32_t *rows = words(at_.output_rows), *starts = words(at_.adjustment_starts);
    for (std::uint32_t i = 0; i < header_.output_rows; ++i)
      if (rows[i] >= header_.rows) return "an output row is not a row of the step";
    if (!limits_.graph->vocabulary || !header_.output_rows) return nullptr;
    if (starts[0] != 0 || !std::is_sorted(starts, starts + header_.output_rows + 1) ||
        starts[header_.output_rows] > limits_.bucket.adjustments)
      return "adjustment_starts do not rise within the adjustments";
    const auto* changes = reinterpret_cast<const nacelle_adjustment*>(block_ + at_.adjustments);
    for (std::uint32_t i = 0; i < starts[header_.output_rows]; ++i)
      if (changes[i].token >= limits_.graph->vocabulary) return "an adjusted token is not in the vocabulary";
    return nullptr;
  }

  const StepLimits& limits_;
  const VulkanCache* cache_;
  const nacelle_step_layout& at_;
  const std::byte* block_;
  const nacelle_step_header& header_;
};

}  // namespace

const char* find_fault(const StepLimits& limits, const VulkanCache* cache, const std::byte* block,
                       std::uint32_t& longest) noexcept {
  return Checker(limits, cache, block).run(longest);
}

}  // namespace nacelle::vulkan
