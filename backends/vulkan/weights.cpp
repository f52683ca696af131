// Loading weights: rows are read some megabytes at a time, packed on the host's threads straight into memory that the
// device reads, or through staging; then their pages are given back.
#include "backends/vulkan/weights.hpp"

#include <algorithm>
#include <nacelle/block_formats.hpp>
#include <nacelle/types.hpp>
#include <nacelle/weight_rows.hpp>

#include "backends/vulkan/cache.hpp"
#include "backends/vulkan/matmul_variant.hpp"
#include "backends/vulkan/plan.hpp"

namespace nacelle::vulkan {
namespace {

constexpr std::uint64_t kChunkBytes = 4 << 20;  // read at a time
constexpr std::uint64_t kSliceBlocks = 8;       // a slice of K has whole headers

}  // namespace

VulkanWeights::VulkanWeights(const sdk::Host& host, VulkanDevice& device, const nacelle_graph& graph,
                             std::span<const nacelle_bucket> buckets, const nacelle_weight_source& source,
                             const nacelle_prepare_options& options)
    : host_(host),
      device_(device),
      graph_(graph),
      fastest_(options.numerics == NACELLE_NUMERICS_FASTEST),
      matrices_(graph.weight_count),
      vectors_(graph.weight_count),
      vector_memory_(graph.weight_count) {
  for (const nacelle_bucket& bucket : buckets) {
    most_context_ = std::max(most_context_, bucket.context);
    most_rows_ = std::max(most_rows_, bucket.rows);
    most_outputs_ = std::max(most_outputs_, bucket.output_rows);
  }
  const std::vector<sdk::WeightUse> uses = sdk::weight_uses(graph);
  for (std::uint32_t w = 0; w < graph.weight_count; ++w) {
    if (uses[w] != sdk::WeightUse::kVector)
      load_matrix(source, w);
    else
      load_vector(source, w);
    if (source.progress && source.progress(source.context, w + 1, graph.weight_count) == NACELLE_CANCELLED)
      throw sdk::Failure(NACELLE_CANCELLED, "loading was cancelled");
  }
  make_rope_tables();
  make_attention_biases();
  make_scan_vectors();
  make_adapters(options);
}

void VulkanWeights::load_matrix(const nacelle_weight_source& source, std::uint32_t weight) {
  const std::string_view name = sdk::weight_name(graph_, weight);
  const nacelle_value& value = *graph_.values[graph_.weights[weight]->value];
  const sdk::WeightExtent extent = sdk::weight_extent(graph_, weight);
  if (extent.rows > UINT32_MAX || extent.columns > UINT32_MAX)
    throw sdk::Failure(NACELLE_UNIMPLEMENTED, "vulkan: weight " + std::string(name) + " is too large");
  PackedMatrix& matrix = matrices_[weight];
  matrix.shape = PackedShape(format_of(value.type), extent.rows, extent.columns);
  const PackedShape& shape = matrix.shape;
  matrix.any_bits = fastest_ && multiplies_matrices(device_, shape.format);
  const std::uint64_t eighths = (shape.blocks + kSliceBlocks - 1) / kSliceBlocks;
  const std::uint64_t slices = std::min<std::uint64_t>(device_.profile().most_slices, eighths);
  matrix.slice_blocks = static_cast<std::uint32_t>((eighths + slices - 1) / slices * kSliceBlocks);
  matrix.slices = static_cast<std::uint32_t>((shape.blocks + matrix.slice_blocks - 1) / matrix.slice_blocks);
  matrix.memory = device_.memory().allocate(MemoryKind::kDevice, shape.words() * sizeof(std::uint32_t),
                                            ("weight " + std::string(name)).c_str());
  bytes_ += matrix.memory.size();

  const std::uint64_t row_size = nacelle::row_bytes(value.type, shape.columns);
  const std::uint64_t at_once = std::max<std::uint64_t>(1, kChunkBytes / (row_size * kPanelColumns));
  const std::uint64_t planes[] = {shape.panel_codes, shape.panel_extra, shape.panel_headers};
  const std::uint64_t starts[] = {0, shape.codes(), shape.codes() + shape.extra()};
  const bool direct = matrix.memory.mapped() != nullptr;
  std::vector<std::uint32_t> packed[3];
  for (std::uint64_t panel = 0; panel < shape.panels; panel += at_once) {
    const std::uint64_t panels = std::min(at_once, shape.panels - panel), first_row = panel * kPanelColumns;
    const std::uint64_t rows = std::min(panels * kPanelColumns, shape.rows - first_row);
    const sdk::WeightRows stored(host_, graph_, source, weight, first_row, rows);
    std::uint32_t* to[3];
    for (std::uint32_t i = 0; i < 3; ++i) {
      if (!direct) packed[i].resize(panels * planes[i]);
      to[i] = direct ? matrix.memory.as<std::uint32_t>((starts[i] + panel * planes[i]) * 4) : packed[i].data();
    }
    host_.parallel_for(panels, 1, [&](std::uint64_t begin, std::uint64_t end) {
      for (std::uint64_t p = begin; p < end; ++p)
        pack_panel(shape, value.type, stored.row(p * kPanelColumns), stored.stride(),
                   static_cast<std::uint32_t>(std::min<std::uint64_t>(kPanelColumns, rows - p * kPanelColumns)),
                   {to[0] + p * planes[0], to[1] + p * planes[1], to[2] + p * planes[2]});
    });
    for (std::uint32_t i = 0; i < 3 && !direct; ++i)
      if (planes[i]) device_.upload(matrix.memory, (starts[i] + panel * planes[i]) * 4, to[i], panels * planes[i] * 4);
  }
}

void VulkanWeights::load_vector(const nacelle_weight_source& source, std::uint32_t weight) {
  const nacelle_value& value = *graph_.values[graph_.weights[weight]->value];
  const sdk::WeightExtent extent = sdk::weight_extent(graph_, weight);
  std::vector<float>& elements = vectors_[weight];
  elements.resize(extent.rows * extent.columns);
  const sdk::WeightRows stored(host_, graph_, source, weight, 0, extent.rows);
  for (std::uint64_t row = 0; row < extent.rows; ++row)
    decode_row(value.type, stored.row(row), extent.columns, elements.data() + row * extent.columns);
  Piece& memory = vector_memory_[weight];
  memory = device_.memory().allocate(MemoryKind::kDevice, elements.size() * sizeof(float), "a vector of weights");
  device_.upload(memory, 0, elements.data(), elements.size() * sizeof(float));
  bytes_ += memory.size();
}

std::uint64_t VulkanWeights::vector(std::uint32_t value) const {
  return value == NACELLE_NO_VALUE ? 0 : vector_memory_[graph_.values[value]->weight].address();
}

std::uint64_t VulkanWeights::cache_block_bytes(const nacelle_cache_options& options, std::uint32_t group) const {
  if (group >= graph_.cache_group_count) throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "vulkan: no such cache group");
  return kv_shape(graph_, options, group).block_bytes() * graph_.cache_groups[group]->layer_count;
}

std::unique_ptr<sdk::Cache> VulkanWeights::create_cache(const nacelle_cache_options& options) {
  auto cache = std::make_unique<VulkanCache>(device_, graph_, options, most_outputs_);
  device_.validation().check();
  return cache;
}

std::unique_ptr<sdk::Plan> VulkanWeights::compile(const nacelle_cache_options& options, const nacelle_bucket& bucket,
                                                  nacelle_step_layout& step, nacelle_output_layout& output) {
  auto plan = std::make_unique<VulkanPlan>(*this, options, bucket);
  step = plan->step_layout();
  output = plan->output_layout();
  device_.pipelines().save();
  device_.validation().check();
  return plan;
}

}  // namespace nacelle::vulkan
