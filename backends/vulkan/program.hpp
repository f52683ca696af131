// A compiled graph: dispatches whose addresses are still open, and the places that its values take.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>
#include <deque>
#include <nacelle/graph_view.hpp>
#include <vector>

#include "backends/vulkan/pipelines.hpp"

namespace nacelle::vulkan {

using sdk::Lead;
// The word of nacelle_step_header that counts them.
constexpr std::uint32_t header_word(Lead lead) { return 1 + static_cast<std::uint32_t>(lead); }

// Arena memory is shared by values that do not live at the same time; slot memory is kept until the slot runs again.
enum class Space : std::uint32_t { kArena, kSlot };

// An f32 [rows, width] value, or a scratch array, in one of the spaces.
struct Place {
  Space space;
  Lead lead;
  std::uint32_t width, stride;  // elements of a row
  std::uint64_t bytes;
  std::uint64_t offset = 0;
  std::uint32_t born = 0, dies = 0;  // between barriers; 0: not used yet
};

// An address in a push constant, found when the plan is bound.
struct Ref {
  enum class Kind { kAbsolute, kPlace, kStep, kOutput, kCache, kBest };
  Kind kind = Kind::kAbsolute;
  bool written = false;
  std::uint64_t offset = 0;  // in the place or block; the address itself where it is absolute
  Place* place = nullptr;
  std::uint32_t group = 0, layer = 0;  // of the cache
};

// Workgroups of a dispatch: x as given, y by the step's count of `lead`, z by its longest sequence where `split_tokens`
// is not 0. Dispatches of one shape share the arguments that the host writes for each step.
struct Grid {
  std::uint32_t x;
  Lead lead;
  std::uint32_t rows = 1;  // of a workgroup
  std::uint32_t split_tokens = 0;
  std::uint32_t times = 1, more = 0;  // y = count * times / rows, rounded up, and `more` where there is any row
  bool operator==(const Grid&) const = default;
};

struct Dispatch {
  VkPipeline pipeline;
  std::uint32_t grid;  // index into Program::grids
  std::uint32_t ref_count = 0, word_count = 0;
  Ref refs[9];
  std::uint32_t words[14];
  bool barrier_before = false;
};

struct Program {
  std::vector<Dispatch> dispatches;
  std::vector<Grid> grids;
  std::deque<Place> places;    // addresses are kept by the refs
  std::vector<Place*> values;  // by value id; nullptr where a value was fused away or is no activation
  std::uint64_t space_bytes[2] = {};
  Place* logits = nullptr;
  Place* adjusted = nullptr;  // logits after mask, adjustments and temperature
};

}  // namespace nacelle::vulkan
