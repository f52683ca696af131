// Memory of a plan's values: how large each is, how long it is needed, and where it lies in one arena, for backend
// authors. A backend whose plan runs the graph's operations one by one calls place_values; one that fuses or adds
// temporaries makes lifetimes of its own and calls place.
#pragma once

#include <nacelle/backend.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <nacelle/plugin.hpp>
#include <span>
#include <vector>

namespace nacelle::sdk {

// Bytes that are in use from step `born` to step `dies`, both included. A step is whatever runs between two barriers.
struct Lifetime {
  std::uint64_t bytes = 0;
  std::uint32_t born = 0, dies = 0;
  std::uint64_t offset = 0;  // set by place
};

namespace detail {

// Offsets handed out best fit first, so that values that are done make room for later ones. A stretch of more than
// twice the size is left for a value that needs it.
class Stretches {
 public:
  std::uint64_t take(std::uint64_t bytes) {
    const auto found = free_.lower_bound(bytes);
    if (found != free_.end() && found->first / 2 <= bytes) {
      const std::uint64_t offset = found->second;
      sizes_[offset] = found->first;
      free_.erase(found);
      return offset;
    }
    const std::uint64_t offset = size_;
    sizes_[offset] = bytes;
    size_ += bytes;
    return offset;
  }
  void give(std::uint64_t offset) { free_.emplace(sizes_.at(offset), offset); }
  std::uint64_t size() const { return size_; }

 private:
  std::multimap<std::uint64_t, std::uint64_t> free_;  // bytes, offset
  std::map<std::uint64_t, std::uint64_t> sizes_;      // of each offset
  std::uint64_t size_ = 0;
};

}  // namespace detail

// Gives each an offset, a multiple of `alignment` (a power of two), so that no two that are in use in the same step
// overlap. Returns the bytes of the arena.
inline std::uint64_t place(std::span<Lifetime> lifetimes, std::uint64_t alignment = 64) {
  std::uint32_t last = 0;
  for (const Lifetime& of : lifetimes) last = std::max({last, of.born, of.dies});
  std::vector<std::vector<Lifetime*>> born(last + std::size_t{1}), dead(last + std::size_t{1});
  for (Lifetime& of : lifetimes) {
    born[of.born].push_back(&of);
    dead[std::max(of.born, of.dies)].push_back(&of);
  }
  detail::Stretches arena;
  for (std::size_t step = 0; step < born.size(); ++step) {
    for (Lifetime* of : born[step])
      of->offset = arena.take(std::max((of->bytes + alignment - 1) / alignment * alignment, alignment));
    for (const Lifetime* of : dead[step]) arena.give(of->offset);
  }
  return arena.size();
}

// Of the largest step that the bucket allows. `extent` is an outermost extent of nacelle_value.shape.
inline std::uint64_t most_rows(std::int64_t extent, const nacelle_bucket& bucket) {
  switch (extent) {
    case NACELLE_DIM_ROWS: return bucket.rows;
    case NACELLE_DIM_OUTPUT_ROWS: return bucket.output_rows;
    case NACELLE_DIM_SEQUENCES: return bucket.sequences;
    default: return extent > 0 ? static_cast<std::uint64_t>(extent) : 0;
  }
}

// The most elements of an activation. Throws Failure for a shape that is none, or whose size no arena holds.
inline std::uint64_t most_elements(const nacelle_value& value, const nacelle_bucket& bucket) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 40;  // keeps products and sums of them from overflowing
  if (value.rank == 0 || value.rank > NACELLE_MAX_RANK) throw Failure(NACELLE_INVALID_ARGUMENT, "a value has no rank");
  std::uint64_t elements = 1;
  for (std::uint32_t i = 0; i < value.rank; ++i) {
    const std::uint64_t extent = most_rows(i == 0 ? value.shape[0] : std::max<std::int64_t>(value.shape[i], 0), bucket);
    if (extent == 0) throw Failure(NACELLE_INVALID_ARGUMENT, "a value has no usable shape");
    if (extent > kMost / elements) throw Failure(NACELLE_OUT_OF_MEMORY, "a value is too large");
    elements *= extent;
  }
  return elements;
}

// By value id: whether the host may read or write it between runs, so that it keeps memory of its own in every slot.
// Those are outputs, boundary values, and the logits that LOGITS_SELECT reads.
inline std::vector<bool> kept_values(const nacelle_graph& graph) {
  std::vector<bool> kept(graph.value_count);
  for (std::uint32_t v = 0; v < graph.value_count; ++v)
    kept[v] = graph.values[v]->output != NACELLE_OUTPUT_NONE || graph.values[v]->kind == NACELLE_VALUE_BOUNDARY;
  for (std::uint32_t i = 0; i < graph.op_count; ++i)
    if (graph.ops[i]->kind == NACELLE_OP_LOGITS_SELECT) kept[graph.ops[i]->inputs[0]] = true;
  return kept;
}

inline constexpr std::uint64_t kNowhere = ~std::uint64_t{0};

struct ValuePlacement {
  std::vector<std::uint64_t> offsets;       // by value id, in the arena; kNowhere where it lies elsewhere
  std::vector<std::uint64_t> slot_offsets;  // by value id, in a slot's memory: of values that are kept
  std::uint64_t arena_bytes = 0;            // shared by all slots
  std::uint64_t slot_bytes = 0;             // of each slot
};

// For a plan that runs operation i of the graph as step i. `element_bytes` is the size of an activation's element on
// the device. A kept value lies in the slot, another value that an operation makes in the arena, inputs and weights
// nowhere.
inline ValuePlacement place_values(const nacelle_graph& graph, const nacelle_bucket& bucket,
                                   std::uint64_t element_bytes = sizeof(float), std::uint64_t alignment = 64) {
  std::vector<Lifetime> lifetimes(graph.value_count);
  for (std::uint32_t i = 0; i < graph.op_count; ++i) {
    const nacelle_op& op = *graph.ops[i];
    for (std::uint32_t k = 0; k < op.output_count; ++k) lifetimes[op.outputs[k]].born = i;
    for (std::uint32_t k = 0; k < op.output_count; ++k) lifetimes[op.outputs[k]].dies = i;
    for (std::uint32_t k = 0; k < op.input_count; ++k)
      if (op.inputs[k] != NACELLE_NO_VALUE) lifetimes[op.inputs[k]].dies = i;
  }
  const std::vector<bool> kept = kept_values(graph);
  ValuePlacement placement;
  placement.offsets.assign(graph.value_count, kNowhere);
  placement.slot_offsets.assign(graph.value_count, kNowhere);
  std::vector<Lifetime> in_arena;
  std::vector<std::uint32_t> ids;
  for (std::uint32_t v = 0; v < graph.value_count; ++v) {
    const nacelle_value& value = *graph.values[v];
    if (value.kind != NACELLE_VALUE_INTERMEDIATE && !kept[v]) continue;
    const std::uint64_t bytes = most_elements(value, bucket) * element_bytes;
    if (kept[v]) {
      placement.slot_offsets[v] = placement.slot_bytes;
      placement.slot_bytes += (bytes + alignment - 1) / alignment * alignment;
    } else {
      lifetimes[v].bytes = bytes;
      in_arena.push_back(lifetimes[v]);
      ids.push_back(v);
    }
  }
  placement.arena_bytes = place(in_arena, alignment);
  for (std::size_t i = 0; i < ids.size(); ++i) placement.offsets[ids[i]] = in_arena[i].offset;
  return placement;
}

}  // namespace nacelle::sdk
