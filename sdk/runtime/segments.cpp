#include "sdk/runtime/segments.hpp"

#include <algorithm>
#include <map>
#include <nacelle/types.hpp>
#include <string>
#include <utility>

#include "sdk/runtime/adapters.hpp"
#include "sdk/runtime/cache_use.hpp"

namespace nacelle::sdk {
namespace {

class Cutter {
 public:
  Cutter(const GraphRecord& graph, std::span<const std::uint32_t> ends)
      : graph_(graph), ends_(ends), segments_(ends.size()), ids_(ends.size()), made_by_(graph.values.size(), 0) {
    for (std::size_t s = 0; s < ends.size(); ++s) {
      Segment& segment = segments_[s];
      segment.first_layer = s == 0 ? 0 : ends[s - 1];
      segment.end_layer = ends[s];
      segment.record.flags = graph.flags;
      segment.record.layer_count = graph.layer_count;
      ids_[s].assign(graph.values.size(), NACELLE_NO_VALUE);
    }
  }

  std::vector<Segment> cut() {
    for (const OpRecord& op : graph_.ops) add(op, segment_of(op.layer));
    for (Segment& segment : segments_)
      for (const nacelle_value& value : segment.record.values)
        if (value.output == NACELLE_OUTPUT_LOGITS)
          segment.record.vocabulary = static_cast<std::uint32_t>(value.shape[1]);
    return std::move(segments_);
  }

 private:
  std::uint32_t segment_of(std::int32_t layer) const {
    const auto at = layer < 0 ? 0u : static_cast<std::uint32_t>(layer);
    const auto found = std::upper_bound(ends_.begin(), ends_.end(), at);
    return static_cast<std::uint32_t>(std::min<std::ptrdiff_t>(found - ends_.begin(), std::ssize(ends_) - 1));
  }

  void add(const OpRecord& from, std::uint32_t s) {
    OpRecord op = from;
    for (std::uint32_t& id : op.inputs)
      if (id != NACELLE_NO_VALUE) id = value_in(s, id);
    for (std::uint32_t& id : op.outputs) {
      made_by_[id] = s;
      id = ids_[s][id] = append(s, graph_.values[id]);
    }
    if (const auto use = cache_use(op.kind, op.attributes)) place_cache(op, *use, s);
    if (is_adapter(op)) {
      auto attributes = op.attributes.as<nacelle_adapter_attributes>();
      attributes.target = value_in(s, attributes.target);
      op.attributes = Attributes(attributes);
    }
    segments_[s].record.ops.push_back(std::move(op));
  }

  std::uint32_t append(std::uint32_t s, const nacelle_value& value) {
    segments_[s].record.values.push_back(value);
    return static_cast<std::uint32_t>(segments_[s].record.values.size() - 1);
  }

  // The id that a value of the whole graph has in segment `s`, where it may have to be brought.
  std::uint32_t value_in(std::uint32_t s, std::uint32_t id) {
    std::uint32_t& own = ids_[s][id];
    if (own != NACELLE_NO_VALUE) return own;
    nacelle_value value = graph_.values[id];
    GraphRecord& record = segments_[s].record;
    if (value.kind == NACELLE_VALUE_WEIGHT) {
      WeightRecord weight = graph_.weights[value.weight];
      value.weight = static_cast<std::uint32_t>(record.weights.size());
      weight.value = own = append(s, value);
      record.weights.push_back(std::move(weight));
      return own;
    }
    if (value.kind != NACELLE_VALUE_INTERMEDIATE) return own = append(s, value);
    if (value.type != NACELLE_TYPE_F32 || value.rank != 2)
      throw Failure(NACELLE_INVALID_ARGUMENT, "value " + std::to_string(id) + " crosses layer " +
                                                  std::to_string(segments_[s].first_layer) +
                                                  " and is no f32 matrix: the model cannot be split there");
    const std::uint32_t maker = made_by_[id], there = ids_[maker][id];
    std::uint32_t& mark = segments_[maker].record.values[there].output;
    if (mark == NACELLE_OUTPUT_NONE) mark = NACELLE_OUTPUT_BOUNDARY;
    value.kind = NACELLE_VALUE_BOUNDARY;
    value.output = NACELLE_OUTPUT_NONE;
    own = append(s, value);
    segments_[s].inputs.push_back({maker, there, own});
    return own;
  }

  // What the operation keeps gets the next free layer of the group that the segment keeps for the whole graph's.
  void place_cache(OpRecord& op, CacheUse use, std::uint32_t s) {
    Segment& segment = segments_[s];
    const auto found = std::find(segment.cache_groups.begin(), segment.cache_groups.end(), use.group);
    const auto group = static_cast<std::uint32_t>(found - segment.cache_groups.begin());
    if (found == segment.cache_groups.end()) {
      segment.cache_groups.push_back(use.group);
      segment.record.cache_groups.push_back(graph_.cache_groups[use.group]);
      segment.record.cache_groups.back().layer_count = 0;
    }
    set_cache_use(op, {group, segment.record.cache_groups[group].layer_count++});
  }

  const GraphRecord& graph_;
  std::span<const std::uint32_t> ends_;
  std::vector<Segment> segments_;
  std::vector<std::vector<std::uint32_t>> ids_;  // by segment and value of the whole graph
  std::vector<std::uint32_t> made_by_;           // by value: the segment
};

}  // namespace

std::vector<Segment> cut_graph(const GraphRecord& graph, std::span<const std::uint32_t> ends) {
  for (std::size_t i = 0; i < ends.size(); ++i)
    if (ends[i] <= (i ? ends[i - 1] : 0) && graph.layer_count)
      throw Failure(NACELLE_INVALID_ARGUMENT, "a segment of the model has no layers");
  if (ends.empty() || ends.back() != graph.layer_count)
    throw Failure(NACELLE_INVALID_ARGUMENT,
                  "the segments do not end with the model's " + std::to_string(graph.layer_count) + " layers");
  return Cutter(graph, ends).cut();
}

std::uint64_t stored_weight_bytes(const GraphRecord& graph) {
  std::uint64_t bytes = 0;
  for (const WeightRecord& weight : graph.weights) {
    const nacelle_value& value = graph.values[weight.value];
    std::uint64_t elements = 1;
    for (std::uint32_t i = 0; i < value.rank; ++i) elements *= static_cast<std::uint64_t>(value.shape[i]);
    bytes += row_bytes(value.type, elements);
  }
  return bytes;
}

}  // namespace nacelle::sdk
