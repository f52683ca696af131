// Loading weights: rows are read a few megabytes at a time, packed on all threads, and their pages given back.
#include "backends/cpu/weights.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nacelle/build_id.hpp>
#include <nacelle/half.hpp>
#include <nacelle/types.hpp>
#include <nacelle/weight_rows.hpp>
#include <utility>

#include "backends/cpu/cache.hpp"
#include "backends/cpu/plan.hpp"

namespace nacelle::cpu {
namespace {

// Read at a time: large enough that each thread fills huge pages of its own. Two that fill one both pay for clearing
// it.
constexpr std::uint64_t kChunkBytes = 8 << 20;  // a thread

float float_element(nacelle_type type, const std::uint8_t* p) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, p, type == NACELLE_TYPE_F32 ? 4 : 2);
  if (type == NACELLE_TYPE_F16) return half_to_float(static_cast<std::uint16_t>(bits));
  if (type == NACELLE_TYPE_BF16) return bfloat16_to_float(static_cast<std::uint16_t>(bits));
  return std::bit_cast<float>(bits);
}

// The matrices in the order in which a step reads them, which is that of their last matmul; a table that is no head as
// well comes first.
std::vector<std::uint32_t> reading_order(const nacelle_graph& graph) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> last;  // operation and weight
  const std::vector<sdk::WeightUse> uses = sdk::weight_uses(graph);
  std::vector<std::uint32_t> used_by(graph.weight_count, 0);
  for (std::uint32_t i = 0; i < graph.op_count; ++i)
    if (graph.ops[i]->kind == NACELLE_OP_MATMUL || graph.ops[i]->kind == NACELLE_OP_MOE_MATMUL)
      used_by[graph.values[graph.ops[i]->inputs[1]]->weight] = i;
  for (std::uint32_t w = 0; w < graph.weight_count; ++w)
    if (uses[w] != sdk::WeightUse::kVector) last.emplace_back(used_by[w], w);
  std::sort(last.begin(), last.end());
  std::vector<std::uint32_t> order;
  order.reserve(last.size());
  for (const auto& [op, weight] : last) order.push_back(weight);
  return order;
}

// What the packed bytes depend on beside the model.
class PackedForm {
 public:
  explicit PackedForm(IsaSet isa) : layout_("cpu " + std::string(to_string(isa.best()))), build_(sdk::build_id()) {
    form_ = sdk::make<nacelle_packed_form>();
    form_.layout = sdk::view(layout_);
    form_.build = sdk::view(build_);
  }
  PackedForm(const PackedForm&) = delete;
  PackedForm& operator=(const PackedForm&) = delete;
  const nacelle_packed_form* get() const { return &form_; }

 private:
  std::string layout_, build_;
  nacelle_packed_form form_;
};

}  // namespace

CpuWeights::CpuWeights(const sdk::Host& host, IsaSet isa, const nacelle_graph& graph,
                       std::span<const nacelle_bucket> buckets, const nacelle_weight_source& source,
                       const nacelle_prepare_options& options)
    : host_(host),
      isa_(isa),
      graph_(graph),
      max_rank_(options.max_rank),
      adapters_(options.max_adapters, options.max_rank),
      selection_(host, isa, graph, buckets, sdk::view(options.pins)),
      order_(reading_order(graph)),
      vectors_(graph.weight_count) {
  for (auto& matrices : matrices_) matrices.resize(graph.weight_count);
  const std::vector<sdk::WeightUse> uses = sdk::weight_uses(graph);
  for (const std::uint32_t w : order_) lay_out_matrix(w);
  const bool found = find_matrices(source);
  if (!found) allocate_matrices();
  for (std::uint32_t w = 0; w < graph.weight_count; ++w) {
    if (uses[w] == sdk::WeightUse::kVector)
      load_vector(source, w);
    else if (!found)
      for (std::uint64_t expert = 0; expert < matrices_[0][w].experts; ++expert) load_rows(source, w, expert);
    if (source.progress && source.progress(source.context, w + 1, graph.weight_count) == NACELLE_CANCELLED)
      throw sdk::Failure(NACELLE_CANCELLED, "loading was cancelled");
  }
  if (!found) keep_matrices(source);
  apply_selection();
  std::uint32_t context = 0;
  for (const nacelle_bucket& bucket : buckets) context = std::max(context, bucket.context);
  make_filters();
  make_rope_tables(context);
}

void CpuWeights::apply_selection() {
  for (std::uint32_t rows = 0; rows < sdk::kRowBucketCount; ++rows)
    for (std::uint32_t w = 0; w < graph_.weight_count; ++w) {
      PackedMatrix& matrix = matrices_[rows][w];
      matrix = matrices_[0][w];
      if (matrix.rows) matrix.variant = selection_.variant(w, matrix.type, rows);
    }
}

void CpuWeights::lay_out_matrix(std::uint32_t weight) {
  const std::string_view name = sdk::weight_name(graph_, weight);
  const nacelle_value& value = *graph_.values[graph_.weights[weight]->value];
  const sdk::WeightExtent extent = sdk::weight_extent(graph_, weight);
  if (!packable(value.type) || extent.columns % type_info(value.type)->block_elements)
    throw sdk::Failure(NACELLE_UNIMPLEMENTED, "cpu: weight " + std::string(name) + " is " + type_name(value.type) +
                                                  " in rows of " + std::to_string(extent.columns) +
                                                  ", which no kernel multiplies; store it in another type, as q8_0");
  PackedMatrix& matrix = matrices_[0][weight];
  matrix.type = value.type;
  matrix.experts = value.rank == 3 ? static_cast<std::uint64_t>(value.shape[0]) : 1;
  matrix.rows = extent.rows / matrix.experts;
  matrix.columns = extent.columns;
  matrix.group_bytes = packed_group_bytes(value.type, extent.columns);
  matrix.memory.bytes = matrix.experts * matrix.groups() * matrix.group_bytes;
  bytes_ += matrix.memory.size();
}

std::vector<nacelle_packed_block> CpuWeights::packed_blocks() const {
  std::vector<nacelle_packed_block> blocks;
  for (const std::uint32_t w : order_) blocks.push_back({matrices_[0][w].memory.data, matrices_[0][w].memory.size()});
  return blocks;
}

// The layout is the same at all levels today; one that a level changes must not meet the other's file.
bool CpuWeights::find_matrices(const nacelle_weight_source& source) {
  if (!source.packed_find) return false;
  std::vector<nacelle_packed_block> blocks = packed_blocks();
  const PackedForm form(isa_);
  if (source.packed_find(source.context, form.get(), blocks.data(), blocks.size()) != NACELLE_OK) return false;
  auto block = blocks.begin();
  for (const std::uint32_t w : order_) matrices_[0][w].memory.data = static_cast<const std::byte*>((block++)->data);
  return true;
}

// A failure costs the next start some time; the host has told.
void CpuWeights::keep_matrices(const nacelle_weight_source& source) const {
  if (!source.packed_keep) return;
  const std::vector<nacelle_packed_block> blocks = packed_blocks();
  const PackedForm form(isa_);
  source.packed_keep(source.context, form.get(), blocks.data(), blocks.size());
}

void CpuWeights::allocate_matrices() {
  std::uint64_t size = 0;
  for (const std::uint32_t w : order_) size += matrices_[0][w].memory.size();
  memory_ = sdk::Buffer(host_, size);
  const std::byte* next = memory_.data();
  for (const std::uint32_t w : order_) {
    PackedBytes& bytes = matrices_[0][w].memory;
    bytes.data = next;
    next += bytes.size();
  }
}

void CpuWeights::load_rows(const nacelle_weight_source& source, std::uint32_t weight, std::uint64_t expert) {
  const PackedMatrix& matrix = matrices_[0][weight];
  const auto at = static_cast<std::uint64_t>(matrix.memory.data - memory_.data());
  auto* packed = memory_.as<std::uint8_t>(at + expert * matrix.groups() * matrix.group_bytes);
  const std::uint64_t per_group = row_bytes(matrix.type, matrix.columns) * kGroupRows;
  const std::uint64_t step = std::max<std::uint64_t>(1, kChunkBytes * host_.team_size() / per_group) * kGroupRows;
  for (std::uint64_t begin = 0; begin < matrix.rows; begin += step) {
    const std::uint64_t count = std::min(step, matrix.rows - begin);
    const sdk::WeightRows rows(host_, graph_, source, weight, expert * matrix.rows + begin, count);
    host_.parallel_for(packed_groups(count), 1, [&](std::uint64_t first, std::uint64_t last) {
      for (std::uint64_t g = first; g < last; ++g)
        pack_group(matrix.type, rows.row(g * kGroupRows), rows.stride(),
                   static_cast<std::uint32_t>(std::min<std::uint64_t>(kGroupRows, count - g * kGroupRows)),
                   matrix.columns, packed + (begin / kGroupRows + g) * matrix.group_bytes);
    });
  }
}

void CpuWeights::load_vector(const nacelle_weight_source& source, std::uint32_t weight) {
  const std::string_view name = sdk::weight_name(graph_, weight);
  const nacelle_value& value = *graph_.values[graph_.weights[weight]->value];
  const sdk::WeightExtent extent = sdk::weight_extent(graph_, weight);
  if (value.type != NACELLE_TYPE_F32 && value.type != NACELLE_TYPE_F16 && value.type != NACELLE_TYPE_BF16)
    throw sdk::Failure(NACELLE_UNIMPLEMENTED,
                       "cpu: weight " + std::string(name) + " is used as a vector; expected f32, f16 or bf16");
  std::vector<float>& out = vectors_[weight];
  out.resize((extent.rows * extent.columns + kGroupRows - 1) / kGroupRows * kGroupRows);
  bytes_ += out.size() * sizeof(float);
  const std::uint64_t element = row_bytes(value.type, 1);
  const sdk::WeightRows rows(host_, graph_, source, weight, 0, extent.rows);
  for (std::uint64_t r = 0; r < extent.rows; ++r)
    for (std::uint64_t k = 0; k < extent.columns; ++k)
      out[r * extent.columns + k] = float_element(value.type, rows.row(r) + k * element);
}

const float* CpuWeights::vector(std::uint32_t value) const {
  return value == NACELLE_NO_VALUE ? nullptr : vectors_[graph_.values[value]->weight].data();
}

// A vector of a convolution's columns reads an element of as many filters.
void CpuWeights::make_filters() {
  for (std::uint32_t i = 0; i < graph_.op_count; ++i) {
    if (graph_.ops[i]->kind != NACELLE_OP_CONVOLUTION) continue;
    const std::uint32_t weight = graph_.values[graph_.ops[i]->inputs[1]]->weight;
    const sdk::WeightExtent extent = sdk::weight_extent(graph_, weight);
    std::vector<float>& filters = filters_[weight];
    filters.resize(vectors_[weight].size());
    for (std::uint64_t c = 0; c < extent.rows; ++c)
      for (std::uint64_t k = 0; k < extent.columns; ++k)
        filters[k * extent.rows + c] = vectors_[weight][c * extent.columns + k];
    bytes_ += filters.size() * sizeof(float);
  }
}

void CpuWeights::make_rope_tables(std::uint32_t context) {
  for (std::uint32_t i = 0; i < graph_.op_count; ++i) {
    const nacelle_op* op = graph_.ops[i];
    if (op->kind != NACELLE_OP_ROPE) continue;
    const auto rope = sdk::load(static_cast<const nacelle_rope_attributes*>(op->attributes));
    const auto factors = [&](std::uint32_t input) -> std::span<const float> {
      if (input >= op->input_count || op->inputs[input] == NACELLE_NO_VALUE) return {};
      return {vector(op->inputs[input]), rope.rotary_width / 2};
    };
    rope_tables_[op] = make_rope_table(rope, context, factors(2), factors(3));
  }
}

std::uint64_t CpuWeights::cache_block_bytes(const nacelle_cache_options& options, std::uint32_t group) const {
  return kv_block_bytes(graph_, kv_shapes(graph_, options), group);
}

std::unique_ptr<sdk::Cache> CpuWeights::create_cache(const nacelle_cache_options& options) {
  return std::make_unique<CpuCache>(host_, graph_, options);
}

std::unique_ptr<sdk::Plan> CpuWeights::compile(const nacelle_cache_options& options, const nacelle_bucket& bucket,
                                               nacelle_step_layout& step, nacelle_output_layout& output) {
  if (!std::exchange(compiled_, true)) selection_.tell();  // not sooner: tune may have filled what was missing
  compiling_ = bucket;
  auto plan = std::make_unique<CpuPlan>(host_, *this, options, bucket);
  step = plan->step_layout();
  output = plan->output_layout();
  return plan;
}

void CpuWeights::write_adapter(sdk::Stream&, const nacelle_adapter_update& update) {
  if (update.target >= graph_.value_count || graph_.values[update.target]->kind != NACELLE_VALUE_WEIGHT ||
      matrix(update.target).rows == 0)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "cpu: an adapter's target is no matrix of the graph");
  adapters_.write(update, sdk::adapter_shape(*graph_.values[update.target]));
}

}  // namespace nacelle::cpu
