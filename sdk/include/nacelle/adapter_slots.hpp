// Low-rank adapters of a model in host memory, by slot and target: what Weights::write_adapter keeps, for backend
// authors.
#pragma once

#include <nacelle/backend.h>

#include <cstdint>
#include <map>
#include <nacelle/plugin.hpp>
#include <utility>
#include <vector>

namespace nacelle::sdk {

// What a pair changes: a matrix [rows, columns], or one of each expert.
struct AdapterShape {
  std::uint64_t matrices = 1, rows = 0, columns = 0;
};

// Of a weight of rank 2, or 3 for experts.
inline AdapterShape adapter_shape(const nacelle_value& target) noexcept {
  const auto extent = [&](std::uint32_t from_last) {
    return target.rank < from_last ? 1 : static_cast<std::uint64_t>(target.shape[target.rank - from_last]);
  };
  return {extent(3), extent(2), extent(1)};
}

// One pair: y += scale * (x A^T) B^T. Experts have one each, one after the other.
struct LowRankPair {
  std::uint32_t rank = 0;
  float scale = 0;
  std::vector<float> a, b;  // [rank, K], [N, rank]; of experts [E, rank, K], [E, N, rank]
};

// Written between steps; a pair that was found stays where it is until its slot and target are written again.
class AdapterSlots {
 public:
  AdapterSlots(std::uint32_t slots, std::uint32_t most_rank) : slots_(slots), most_rank_(most_rank) {}

  // The target is a matrix [rows, columns], or one of each expert. Throws Failure where slot or rank is beyond what
  // prepare was told.
  void write(const nacelle_adapter_update& update, std::uint64_t rows, std::uint64_t columns) {
    write(update, {1, rows, columns});
  }
  void write(const nacelle_adapter_update& update, const AdapterShape& of) {
    if (update.slot >= slots_ || update.rank > most_rank_)
      throw Failure(NACELLE_INVALID_ARGUMENT, "adapter slot or rank is beyond what prepare was told");
    const auto key = std::pair(update.target, update.slot);
    if (update.rank == 0) {
      pairs_.erase(key);
      return;
    }
    const std::uint64_t lines = of.matrices * update.rank;
    pairs_.insert_or_assign(key, LowRankPair{update.rank,
                                             update.scale,
                                             {update.a, update.a + lines * of.columns},
                                             {update.b, update.b + lines * of.rows}});
  }

  // `target` is a weight's value id. nullptr where the slot holds nothing for it.
  const LowRankPair* find(std::uint32_t target, std::uint32_t slot) const {
    const auto found = pairs_.find({target, slot});
    return found == pairs_.end() ? nullptr : &found->second;
  }

 private:
  std::uint32_t slots_, most_rank_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, LowRankPair> pairs_;  // by target and slot
};

}  // namespace nacelle::sdk
