// Loading weights, and the small tables made once a model.
#include "backends/reference/weights.hpp"

#include <algorithm>
#include <nacelle/types.hpp>
#include <string>

#include "backends/reference/cache.hpp"
#include "backends/reference/formats.hpp"
#include "backends/reference/ops.hpp"
#include "backends/reference/plan.hpp"

namespace nacelle::reference {
namespace {

constexpr std::uint64_t kRowsAtATime = 256;  // few enough that the source's pages can be dropped behind us

// Weights of a model have fewer elements than this by far; the bound keeps every product below from overflowing.
constexpr std::uint64_t kMaxWeightElements = std::uint64_t{1} << 40;

// A weight as [product of all extents but the last, last extent], still without memory.
Matrix weight_shape(const nacelle_value& value, std::string_view name) {
  Matrix shape{nullptr, 1, 1};
  for (std::uint32_t i = 0; i < value.rank; ++i) {
    const std::int64_t extent = value.shape[i];
    if (extent <= 0 || static_cast<std::uint64_t>(extent) > kMaxWeightElements / (shape.rows * shape.width))
      throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "weight " + std::string(name) + " has no usable shape");
    (i + 1 == value.rank ? shape.width : shape.rows) *= static_cast<std::uint64_t>(extent);
  }
  return shape;
}

[[noreturn]] void refuse_type(std::string_view name, nacelle_type type) {
  throw sdk::Failure(NACELLE_UNIMPLEMENTED,
                     "weight " + std::string(name) + ": the reference backend does not read " + type_name(type));
}

// Refuses by name what this backend does not do, before anything is loaded.
void check_model(const nacelle_graph& graph) {
  for (std::uint32_t w = 0; w < graph.weight_count; ++w) {
    const nacelle_type type = graph.values[graph.weights[w]->value]->type;
    if (!is_readable(type)) refuse_type(sdk::view(graph.weights[w]->name), type);
  }
  for (std::uint32_t g = 0; g < graph.cache_group_count; ++g)
    if (graph.cache_groups[g]->kind != NACELLE_CACHE_PAGED && graph.cache_groups[g]->kind != NACELLE_CACHE_STATE)
      throw sdk::Failure(NACELLE_UNIMPLEMENTED, "reference: cache group " + std::to_string(g) + " is of kind " +
                                                    std::to_string(graph.cache_groups[g]->kind) +
                                                    "; only paged groups (1) and states (2) are supported");
  for (std::uint32_t i = 0; i < graph.op_count; ++i)
    if (!accepts(graph, *graph.ops[i]))
      throw sdk::Failure(NACELLE_UNIMPLEMENTED, "reference: operation " + std::to_string(i) + " (" +
                                                    op_name(graph.ops[i]->kind) +
                                                    ") has inputs or attributes that this backend does not take");
}

}  // namespace

ReferenceWeights::ReferenceWeights(const sdk::Host& host, const nacelle_graph& graph,
                                   std::span<const nacelle_bucket> buckets, const nacelle_weight_source& source,
                                   const nacelle_prepare_options& options, std::span<const Replacement> replacements)
    : host_(host),
      graph_(graph),
      replacements_(replacements),
      numerics_(options.numerics),
      adapters_(options.max_adapters, options.max_rank) {
  check_model(graph);
  std::uint64_t total = 0;
  for (std::uint32_t w = 0; w < graph.weight_count; ++w) {
    const nacelle_weight& weight = *graph.weights[w];
    matrices_.push_back(weight_shape(*graph.values[weight.value], sdk::view(weight.name)));
    total += matrices_[w].rows * matrices_[w].width * sizeof(float);
  }
  for (std::uint32_t w = 0; w < graph.weight_count; ++w) {
    load_weight(source, w);
    bytes_ += memory_[w].size();
    if (source.progress && source.progress(source.context, bytes_, total) == NACELLE_CANCELLED)
      throw sdk::Failure(NACELLE_CANCELLED, "loading was cancelled");
  }
  std::uint32_t context = 0;
  for (const nacelle_bucket& bucket : buckets) context = std::max(context, bucket.context);
  make_rope_tables(context);
}

void ReferenceWeights::load_weight(const nacelle_weight_source& source, std::uint32_t weight) {
  const std::string_view name = sdk::view(graph_.weights[weight]->name);
  Matrix& matrix = matrices_[weight];
  memory_.emplace_back(host_, matrix.rows * matrix.width * sizeof(float));
  matrix.data = memory_.back().as<float>();
  for (std::uint64_t begin = 0; begin < matrix.rows; begin += kRowsAtATime) {
    const std::uint64_t count = std::min(kRowsAtATime, matrix.rows - begin);
    nacelle_weight_rows rows{};
    nacelle_error* error = nullptr;
    const nacelle_status status = source.read(source.context, weight, begin, count, &rows, &error);
    if (status != NACELLE_OK) throw host_.failure(status, error, "reading weight " + std::string(name) + " failed");
    if (!is_readable(rows.type)) refuse_type(name, rows.type);
    if (matrix.width % type_info(rows.type)->block_elements || rows.row_bytes < row_bytes(rows.type, matrix.width))
      throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "weight " + std::string(name) + ": a row of " +
                                                       std::to_string(matrix.width) + " does not fit its " +
                                                       type_name(rows.type) + " blocks");
    for (std::uint64_t row = 0; row < count; ++row)
      decode(rows.type, static_cast<const std::byte*>(rows.data) + row * rows.row_bytes, matrix.row(begin + row));
    source.release(source.context, weight, begin, count);
  }
}

void ReferenceWeights::make_rope_tables(std::uint32_t context) {
  for (std::uint32_t i = 0; i < graph_.op_count; ++i) {
    const nacelle_op* op = graph_.ops[i];
    if (op->kind != NACELLE_OP_ROPE) continue;
    const auto rope = sdk::load(static_cast<const nacelle_rope_attributes*>(op->attributes));
    const auto factors = [&](std::uint32_t input) -> std::span<const float> {
      if (!has_input(*op, input)) return {};
      const Matrix& list = matrix(graph_.values[op->inputs[input]]->weight);
      if (list.rows * list.width != rope.rotary_width / 2)
        throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "rope factors: " + std::to_string(list.rows * list.width) +
                                                         " where rotary_width / 2 are needed");
      return {list.data, list.rows * list.width};
    };
    rope_tables_[op] = make_rope_table(rope, context, factors(2), factors(3));
  }
}

std::uint64_t ReferenceWeights::cache_block_bytes(const nacelle_cache_options& options, std::uint32_t group) const {
  if (group >= graph_.cache_group_count) throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "no such cache group");
  return GroupLayout(sdk::load(graph_.cache_groups[group]), options).block_bytes();
}

std::unique_ptr<sdk::Cache> ReferenceWeights::create_cache(const nacelle_cache_options& options) {
  return std::make_unique<ReferenceCache>(host_, graph_, options);
}

std::unique_ptr<sdk::Plan> ReferenceWeights::compile(const nacelle_cache_options& options, const nacelle_bucket& bucket,
                                                     nacelle_step_layout& step, nacelle_output_layout& output) {
  auto plan = std::make_unique<ReferencePlan>(host_, *this, options, bucket);
  step = plan->step_layout();
  output = plan->output_layout();
  return plan;
}

void ReferenceWeights::write_adapter(sdk::Stream&, const nacelle_adapter_update& update) {
  if (update.target >= graph_.value_count || graph_.values[update.target]->kind != NACELLE_VALUE_WEIGHT)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "an adapter's target is not a weight of the graph");
  adapters_.write(update, sdk::adapter_shape(*graph_.values[update.target]));
}

}  // namespace nacelle::reference
