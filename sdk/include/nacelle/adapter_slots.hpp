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

// One pair: y += scale * (x A^T) B^T.
struct LowRankPair {
  std::uint32_t rank = 0;
  float scale = 0;
  std::vector<float> a, b;  // [rank, K], [N, rank]
};

// Written between steps; a pair that was found stays where it is until its slot and target are written again.
class AdapterSlots {
 public:
  AdapterSlots(std::uint32_t slots, std::uint32_t most_rank) : slots_(slots), most_rank_(most_rank) {}

  // The target is a matrix [rows, columns]. Throws Failure where slot or rank is beyond what prepare was told.
  void write(const nacelle_adapter_update& update, std::uint64_t rows, std::uint64_t columns) {
    if (update.slot >= slots_ || update.rank > most_rank_)
      throw Failure(NACELLE_INVALID_ARGUMENT, "adapter slot or rank is beyond what prepare was told");
    const auto key = std::pair(update.target, update.slot);
    if (update.rank == 0) {
      pairs_.erase(key);
      return;
    }
    pairs_.insert_or_assign(key, LowRankPair{update.rank,
                                             update.scale,
                                             {update.a, update.a + update.rank * columns},
                                             {update.b, update.b + rows * update.rank}});
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
