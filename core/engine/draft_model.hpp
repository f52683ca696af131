// A small model that guesses the tokens of a larger one. It keeps a sequence of its own for each of the larger model's.
// The engine's thread only.
#pragma once

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/engine/model.hpp"
#include "core/engine/step.hpp"

namespace nacelle {

class DraftModel {
 public:
  // Throws Error(kInvalidArgument) where the two models' tokens differ.
  DraftModel(std::shared_ptr<Model> model, const Model& target);

  // Writes at most `count` guesses into the `guess` of each. Reads at most one step's budget of their prompts a call: a
  // sequence whose prompt is not read to its end gets none.
  void guess(std::span<Sequence* const> sequences, std::uint32_t count);
  // The sequence has ended.
  void forget(RequestId id) { shadows_.erase(id); }

 private:
  // The draft model's own sequence, and how much of its text is known to be the target's.
  struct Shadow {
    std::unique_ptr<Sequence> sequence;
    std::uint32_t agreed = 0;
    bool guessing = false;
  };
  Shadow& follow(const Sequence& target);
  bool make_room(Shadow& shadow, std::uint32_t count);
  void run(std::span<const Chunk> chunks);

  std::shared_ptr<Model> model_;
  PlacedModel& device_;
  DeviceRow row_;
  std::vector<bool> host_adjusted_;
  std::vector<Chunk> chunks_;
  std::unordered_map<RequestId, Shadow> shadows_;
};

}  // namespace nacelle
