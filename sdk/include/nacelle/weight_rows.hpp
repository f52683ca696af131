// Reading a model's weights while a backend prepares: what each is used for, its shape, and its rows, which are given
// back to the source when they are packed; for backend authors.
#pragma once

#include <nacelle/backend.h>

#include <cstdint>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace nacelle::sdk {

enum class WeightUse : std::uint32_t {
  kVector,   // norms, biases, factors: read whole, F32, F16 or BF16
  kMatrix,   // of MATMUL and EMBEDDING, [rows, columns]
  kExperts,  // of MOE_MATMUL, [experts, rows, columns]
};

// By weight index.
inline std::vector<WeightUse> weight_uses(const nacelle_graph& graph) {
  std::vector<WeightUse> uses(graph.weight_count, WeightUse::kVector);
  for (std::uint32_t i = 0; i < graph.op_count; ++i) {
    const nacelle_op& op = *graph.ops[i];
    if (op.kind == NACELLE_OP_MATMUL || op.kind == NACELLE_OP_EMBEDDING)
      uses[graph.values[op.inputs[1]]->weight] = WeightUse::kMatrix;
    if (op.kind == NACELLE_OP_MOE_MATMUL) uses[graph.values[op.inputs[1]]->weight] = WeightUse::kExperts;
  }
  return uses;
}

inline std::string_view weight_name(const nacelle_graph& graph, std::uint32_t weight) {
  return view(graph.weights[weight]->name);
}

// A weight as [product of all extents but the last, last extent].
struct WeightExtent {
  std::uint64_t rows = 1, columns = 1;
};

// Throws Failure for a shape that is none, or of more than 2^40 elements.
inline WeightExtent weight_extent(const nacelle_graph& graph, std::uint32_t weight) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 40;  // keeps products of extents from overflowing
  const nacelle_value& value = *graph.values[graph.weights[weight]->value];
  WeightExtent extent;
  for (std::uint32_t i = 0; i < value.rank; ++i) {
    const std::int64_t n = value.shape[i];
    if (n <= 0 || static_cast<std::uint64_t>(n) > kMost / (extent.rows * extent.columns))
      throw Failure(NACELLE_INVALID_ARGUMENT,
                    "weight " + std::string(weight_name(graph, weight)) + " has no usable shape");
    (i + 1 == value.rank ? extent.columns : extent.rows) *= static_cast<std::uint64_t>(n);
  }
  return extent;
}

// Rows [begin, begin + count) of a weight, as the source stores them; released when this goes out of scope. What it was
// made with must outlive it.
class WeightRows {
 public:
  // Throws Failure with the source's own message, or where the rows are shorter than `weight_extent` says or of another
  // type than the graph's.
  WeightRows(const Host& host, const nacelle_graph& graph, const nacelle_weight_source& source, std::uint32_t weight,
             std::uint64_t begin, std::uint64_t count)
      : source_(source), weight_(weight), begin_(begin), count_(count) {
    nacelle_error* error = nullptr;
    const nacelle_status status = source.read(source.context, weight, begin, count, &rows_, &error);
    const std::string name(weight_name(graph, weight));
    if (status != NACELLE_OK) throw host.failure(status, error, "reading weight " + name + " failed");
    const nacelle_type type = graph.values[graph.weights[weight]->value]->type;
    if (rows_.type == type && rows_.row_bytes >= row_bytes(type, weight_extent(graph, weight).columns)) return;
    source.release(source.context, weight, begin, count);
    throw Failure(NACELLE_INVALID_ARGUMENT, "weight " + name + ": the rows are not of the type that the graph says");
  }
  ~WeightRows() { source_.release(source_.context, weight_, begin_, count_); }
  WeightRows(const WeightRows&) = delete;
  WeightRows& operator=(const WeightRows&) = delete;

  // Counted from `begin`.
  const std::uint8_t* row(std::uint64_t index) const {
    return static_cast<const std::uint8_t*>(rows_.data) + index * rows_.row_bytes;
  }
  // From a row to the next.
  std::uint64_t stride() const { return rows_.row_bytes; }

 private:
  const nacelle_weight_source& source_;
  std::uint32_t weight_;
  std::uint64_t begin_, count_;
  nacelle_weight_rows rows_{};
};

}  // namespace nacelle::sdk
