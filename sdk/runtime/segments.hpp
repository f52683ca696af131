// Cuts a graph between layers, so that each segment can run on a device of its own.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "graph.hpp"

namespace nacelle::sdk {

// A value that an earlier segment makes and this one reads: f32, one row for each row of the step.
struct BoundaryLink {
  std::uint32_t segment;  // that makes it
  std::uint32_t from;     // its value id there, marked NACELLE_OUTPUT_BOUNDARY
  std::uint32_t to;       // its value id here, a NACELLE_VALUE_BOUNDARY
};

struct Segment {
  GraphRecord record;  // operations keep their layer's number; `layer_count` is the whole graph's
  std::uint32_t first_layer = 0, end_layer = 0;
  std::vector<BoundaryLink> inputs;
  std::vector<std::uint32_t> cache_groups;  // the whole graph's group behind each of the record's
};

// `ends` has the layer behind the last of each segment, rising, the last one the graph's layer count. What comes before
// the first layer goes to the first segment, what follows the last one to the last. Cache groups keep only the layers
// that a segment has, in order; a weight that two segments use is in both. Throws Failure(NACELLE_INVALID_ARGUMENT) for
// ends that are none, and where a value that is not f32 would have to cross. Any thread.
std::vector<Segment> cut_graph(const GraphRecord& graph, std::span<const std::uint32_t> ends);

// Bytes of the weights as their file stores them.
std::uint64_t stored_weight_bytes(const GraphRecord& graph);

}  // namespace nacelle::sdk
