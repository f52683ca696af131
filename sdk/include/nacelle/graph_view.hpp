// What a compiler of plans asks of a graph: who reads a value, how many rows it may have and how wide it is, for
// backend authors. A compiler inherits from GraphView or holds one.
#pragma once

#include <nacelle/backend.h>

#include <cstdint>
#include <nacelle/plugin.hpp>
#include <nacelle/value_placement.hpp>
#include <string>
#include <utility>
#include <vector>

namespace nacelle::sdk {

// What a value has a row for, in the order in which nacelle_step_header counts them.
enum class Lead : std::uint32_t { kRows, kSequences, kOutputRows };
inline constexpr std::uint32_t kLeads = 3;

// Columns of the value that is marked NACELLE_OUTPUT_EMBEDDING; 0: none is.
inline std::uint32_t embedding_width(const nacelle_graph& graph) noexcept {
  for (std::uint32_t v = 0; v < graph.value_count; ++v) {
    const nacelle_value& value = *graph.values[v];
    if (value.output == NACELLE_OUTPUT_EMBEDDING) return static_cast<std::uint32_t>(value.shape[value.rank - 1]);
  }
  return 0;
}

// A checked graph and the bucket that a plan is made for. `backend` begins the text of every Failure.
class GraphView {
 public:
  // The graph is borrowed while the view lives.
  GraphView(std::string backend, const nacelle_graph& graph, const nacelle_bucket& bucket)
      : backend_(std::move(backend)),
        graph_(graph),
        bucket_(bucket),
        consumers_(graph.value_count),
        kept_(kept_values(graph)) {
    for (std::uint32_t i = 0; i < graph.op_count; ++i)
      for (std::uint32_t k = 0; k < graph.ops[i]->input_count; ++k)
        if (graph.ops[i]->inputs[k] != NACELLE_NO_VALUE) consumers_[graph.ops[i]->inputs[k]].push_back(i);
  }

  // Of the largest step that the bucket allows.
  std::uint32_t most_rows(Lead lead) const {
    return lead == Lead::kRows ? bucket_.rows : lead == Lead::kOutputRows ? bucket_.output_rows : bucket_.sequences;
  }

  // Throws Failure for a value whose outermost extent is a number.
  Lead lead_of(std::uint32_t value) const {
    switch (graph_.values[value]->shape[0]) {
      case NACELLE_DIM_ROWS: return Lead::kRows;
      case NACELLE_DIM_OUTPUT_ROWS: return Lead::kOutputRows;
      case NACELLE_DIM_SEQUENCES: return Lead::kSequences;
      default: throw failure(NACELLE_UNIMPLEMENTED, "an activation has a fixed number of rows");
    }
  }

  // Elements of a row of an activation. Throws Failure where the shape has none, or more than 2^31 - 1.
  std::uint32_t width_of(std::uint32_t value) const {
    const nacelle_value& of = *graph_.values[value];
    std::int64_t width = 1;
    for (std::uint32_t i = 1; i < of.rank; ++i) {
      if (of.shape[i] <= 0 || of.shape[i] > INT32_MAX / width)
        throw failure(NACELLE_INVALID_ARGUMENT, "an activation has no usable shape");
      width *= of.shape[i];
    }
    return static_cast<std::uint32_t>(width);
  }

  // Whether the host may read or write the value between runs; see kept_values.
  bool is_kept(std::uint32_t value) const { return kept_[value]; }
  bool is_weight(std::uint32_t value) const { return graph_.values[value]->kind == NACELLE_VALUE_WEIGHT; }
  bool is_boundary(std::uint32_t value) const { return graph_.values[value]->kind == NACELLE_VALUE_BOUNDARY; }

  // Indices of the operations that read a value, in the graph's order; one that reads it twice is there twice.
  const std::vector<std::uint32_t>& consumers(std::uint32_t value) const { return consumers_[value]; }
  // The only consumer of a value that nobody else sees, or nullptr.
  const nacelle_op* only_consumer(std::uint32_t value) const {
    return consumers_[value].size() == 1 && !kept_[value] ? graph_.ops[consumers_[value][0]] : nullptr;
  }

  // An operation's attributes, of whatever size the graph's maker knew.
  template <class T>
  static T attributes(const nacelle_op& op) {
    return load(static_cast<const T*>(op.attributes));
  }
  // NACELLE_NO_VALUE where the operation has no such input.
  static std::uint32_t input(const nacelle_op& op, std::uint32_t index) {
    return index < op.input_count ? op.inputs[index] : NACELLE_NO_VALUE;
  }

  Failure failure(nacelle_status status, const std::string& message) const {
    return {status, backend_ + ": " + message};
  }

 protected:
  const std::string backend_;
  const nacelle_graph& graph_;
  const nacelle_bucket bucket_;

 private:
  std::vector<std::vector<std::uint32_t>> consumers_;  // by value
  std::vector<bool> kept_;                             // by value
};

}  // namespace nacelle::sdk
