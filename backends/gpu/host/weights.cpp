// Loading weights: rows are read a few megabytes at a time, packed on the host's threads, carried over, and their pages
// given back.
#include "backends/gpu/host/weights.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <nacelle/attention.hpp>
#include <nacelle/block_formats.hpp>
#include <nacelle/types.hpp>
#include <nacelle/weight_rows.hpp>
#include <set>

#include "backends/gpu/host/cache.hpp"
#include "backends/gpu/host/plan.hpp"
#include "backends/gpu/host/stream.hpp"
#include "backends/gpu/host/variants.hpp"

namespace nacelle::gpu {
namespace {

constexpr std::uint64_t kChunkBytes = 8 << 20;  // packed at a time
constexpr std::uint32_t kPanelMultiple = 2;     // a warp of the largest tile takes two panels

constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace

// The arrays of a packed matrix, in the order of PanelOut: one behind the other in the matrix's memory.
struct GpuWeights::PanelArrays {
  PanelArrays(const PanelLayout& layout, std::uint64_t count)
      : panels(count), sizes{layout.code_bytes, layout.high_bytes, layout.scale_bytes, layout.super_bytes} {
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      offsets[i] = bytes;
      bytes += round_up(sizes[i] * panels, 256);
      panel_bytes += sizes[i];
    }
  }

  std::uint64_t panels;
  std::array<std::uint64_t, 4> sizes;  // bytes of a panel in each array
  std::array<std::uint64_t, 4> offsets{};
  std::uint64_t bytes = 0;        // of all arrays
  std::uint64_t panel_bytes = 0;  // of one panel in all arrays
};

GpuWeights::GpuWeights(std::shared_ptr<OpenDevice> device, const nacelle_graph& graph,
                       std::span<const nacelle_bucket> buckets, const nacelle_weight_source& source,
                       const nacelle_prepare_options& options)
    : device_(std::move(device)),
      graph_(graph),
      options_(options),
      matrices_(graph.weight_count),
      vectors_(graph.weight_count),
      host_vectors_(graph.weight_count) {
  struct LoadingQueue {
    explicit LoadingQueue(GpuWeights& owner) : of(owner) { of.queue_ = of.context().create_queue(); }
    ~LoadingQueue() { of.context().destroy(of.queue_); }
    GpuWeights& of;
  } queue(*this);
  std::uint32_t context_length = 0;
  for (const nacelle_bucket& bucket : buckets) {
    context_length = std::max(context_length, bucket.context);
    most_outputs_ = std::max(most_outputs_, bucket.output_rows);
  }
  const std::vector<sdk::WeightUse> uses = sdk::weight_uses(graph);
  for (std::uint32_t w = 0; w < graph.weight_count; ++w) {
    if (uses[w] == sdk::WeightUse::kVector)
      load_vector(source, w);
    else
      load_matrix(source, w, uses[w] == sdk::WeightUse::kExperts);
    if (source.progress && source.progress(source.context, w + 1, graph.weight_count) == NACELLE_CANCELLED)
      throw sdk::Failure(NACELLE_CANCELLED, "loading was cancelled");
  }
  make_ropes(context_length);
  make_adapters();
  find_vendor_products();
}

void GpuWeights::find_vendor_products() {
  vendor_.wanted = options_.numerics == NACELLE_NUMERICS_FASTEST;
  if (!vendor_.wanted) return;
  vendor_.blas = context().blas(vendor_.reason);
  if (vendor_.blas)
    device_->host.log(NACELLE_LOG_INFO, device_->backend + ": numerics fastest: long products by " +
                                            vendor_.blas->name() + "; a token's bits may depend on what else runs");
  else
    device_->host.log(NACELLE_LOG_WARNING,
                      device_->backend + ": numerics fastest: own kernels run, because " + vendor_.reason);
}

void GpuWeights::copy_in(void* to, const void* from, std::uint64_t bytes) {
  if (!bytes) return;
  nacelle_status status = context().copy(queue_, to, bytes, from, bytes, bytes, 1, Direction::kToDevice);
  if (status == NACELLE_OK) status = context().synchronize(queue_);
  device_->check(status, "carrying weights to the device");
}

Memory GpuWeights::upload(const void* data, std::uint64_t bytes) {
  Memory memory(context(), bytes);
  copy_in(memory.data(), data, bytes);
  bytes_ += bytes;
  return memory;
}

const Format& GpuWeights::packed_format(std::uint32_t weight) const {
  const nacelle_value& value = *graph_.values[graph_.weights[weight]->value];
  const sdk::WeightExtent extent = sdk::weight_extent(graph_, weight);
  const Format* format = find_format(value.type);
  if (!format || extent.columns % type_info(value.type)->block_elements || extent.rows > UINT32_MAX)
    throw sdk::Failure(NACELLE_UNIMPLEMENTED, device_->backend + ": weight " +
                                                  std::string(sdk::weight_name(graph_, weight)) +
                                                  " is stored in a type or width that has no kernel; expected f32, " +
                                                  "f16, bf16 or a block type of GGUF in whole blocks");
  return *format;
}

void GpuWeights::load_matrix(const nacelle_weight_source& source, std::uint32_t weight, bool experts) {
  const nacelle_value& value = *graph_.values[graph_.weights[weight]->value];
  const sdk::WeightExtent extent = sdk::weight_extent(graph_, weight);
  const Format& format = packed_format(weight);
  const PanelLayout layout(format, extent.columns);
  PackedMatrix& matrix = matrices_[weight];
  matrix.format = &format;
  matrix.tensor = uses_tensor_cores(format, device_->properties);
  matrix.outputs = static_cast<std::uint32_t>(experts ? value.shape[1] : extent.rows);
  const auto blocks = static_cast<std::uint32_t>(extent.rows / matrix.outputs);  // experts, or 1
  matrix.expert_panels = static_cast<std::uint32_t>(round_up(matrix.outputs, kPanelRows * kPanelMultiple) / kPanelRows);
  const PanelArrays arrays(layout, std::uint64_t{blocks} * matrix.expert_panels);
  matrix.memory = Memory(context(), arrays.bytes);
  bytes_ += arrays.bytes;
  pack_panels(source, weight, arrays);
  PackedWeights& packed = matrix.packed;
  packed.codes = matrix.memory.data() + arrays.offsets[0];
  packed.high = matrix.memory.data() + arrays.offsets[1];
  packed.scales = matrix.memory.data() + arrays.offsets[2];
  packed.supers = matrix.memory.data() + arrays.offsets[3];
  packed.rows = static_cast<std::uint32_t>(extent.rows);
  packed.columns = static_cast<std::uint32_t>(extent.columns);
  packed.panels = static_cast<std::uint32_t>(arrays.panels);
  packed.tiles = layout.tiles;
  packed.slices = layout.slices;
  packed.slice_tiles = layout.slice_tiles;
}

// A few megabytes at a time, and those of one expert, so that the rows are consecutive in the source.
void GpuWeights::pack_panels(const nacelle_weight_source& source, std::uint32_t weight, const PanelArrays& arrays) {
  const PackedMatrix& matrix = matrices_[weight];
  const auto& sizes = arrays.sizes;
  const std::uint64_t at_once = std::clamp<std::uint64_t>(kChunkBytes / arrays.panel_bytes, 1, arrays.panels);
  const Memory staging(context(), at_once * arrays.panel_bytes, true);
  std::array<std::uint8_t*, 4> staged{};
  for (std::size_t i = 0, at = 0; i < sizes.size(); at += sizes[i++] * at_once) staged[i] = staging.data() + at;
  for (std::uint64_t first = 0, count; first < arrays.panels; first += count) {
    const std::uint64_t expert = first / matrix.expert_panels, within = first % matrix.expert_panels;
    count = std::min(at_once, matrix.expert_panels - within);
    const std::uint64_t begin = within * kPanelRows;
    const std::uint64_t end = std::min<std::uint64_t>(begin + count * kPanelRows, matrix.outputs);
    const auto pack = [&](const sdk::WeightRows* rows, std::uint64_t row_count) {
      device_->host.parallel_for(count, 1, [&](std::uint64_t from, std::uint64_t to) {
        for (std::uint64_t p = from; p < to; ++p)
          pack_rows(
              weight, rows, p * kPanelRows, row_count,
              {staged[0] + p * sizes[0], staged[1] + p * sizes[1], staged[2] + p * sizes[2], staged[3] + p * sizes[3]});
      });
    };
    if (end > begin) {
      const sdk::WeightRows rows(device_->host, graph_, source, weight, expert * matrix.outputs + begin, end - begin);
      pack(&rows, end - begin);
    } else {
      pack(nullptr, 0);
    }
    for (std::size_t i = 0; i < sizes.size(); ++i)
      copy_in(matrix.memory.data() + arrays.offsets[i] + first * sizes[i], staged[i], count * sizes[i]);
  }
}

void GpuWeights::pack_rows(std::uint32_t weight, const sdk::WeightRows* rows, std::uint64_t first,
                           std::uint64_t row_count, const PanelOut& to) const {
  const std::uint8_t* pointers[kPanelRows];
  for (std::uint32_t r = 0; r < kPanelRows; ++r) pointers[r] = first + r < row_count ? rows->row(first + r) : nullptr;
  pack_panel(*matrices_[weight].format, graph_.values[graph_.weights[weight]->value]->type,
             sdk::weight_extent(graph_, weight).columns, pointers, to);
}

void GpuWeights::load_vector(const nacelle_weight_source& source, std::uint32_t weight) {
  const std::string_view name = sdk::weight_name(graph_, weight);
  const nacelle_value& value = *graph_.values[graph_.weights[weight]->value];
  const sdk::WeightExtent extent = sdk::weight_extent(graph_, weight);
  if (value.type != NACELLE_TYPE_F32 && value.type != NACELLE_TYPE_F16 && value.type != NACELLE_TYPE_BF16)
    throw sdk::Failure(NACELLE_UNIMPLEMENTED, device_->backend + ": weight " + std::string(name) +
                                                  " is used as a vector; expected f32, f16 or bf16");
  std::vector<float>& out = host_vectors_[weight];
  out.resize(extent.rows * extent.columns);
  const sdk::WeightRows rows(device_->host, graph_, source, weight, 0, extent.rows);
  for (std::uint64_t r = 0; r < extent.rows; ++r)
    decode_row(value.type, rows.row(r), extent.columns, out.data() + r * extent.columns);
  vectors_[weight] = upload(out.data(), out.size() * sizeof(float));
}

const float* GpuWeights::vector(std::uint32_t value) const {
  return value == NACELLE_NO_VALUE ? nullptr : vectors_[graph_.values[value]->weight].as<float>();
}

void GpuWeights::make_ropes(std::uint32_t context_length) {
  for (std::uint32_t i = 0; i < graph_.op_count; ++i) {
    const nacelle_op* op = graph_.ops[i];
    if (op->kind != NACELLE_OP_ROPE) continue;
    const auto of = sdk::load(static_cast<const nacelle_rope_attributes*>(op->attributes));
    const auto factors = [&](std::uint32_t input) -> std::span<const float> {
      if (input >= op->input_count || op->inputs[input] == NACELLE_NO_VALUE) return {};
      const std::vector<float>& list = host_vectors_[graph_.values[op->inputs[input]]->weight];
      if (list.size() != of.rotary_width / 2)
        throw sdk::Failure(NACELLE_INVALID_ARGUMENT,
                           "rope factors: " + std::to_string(list.size()) + " where rotary_width / 2 are needed");
      return list;
    };
    RopeTable table = make_rope_table(of, context_length, factors(2), factors(3));
    Memory memory = upload(table.frequencies.data(), table.frequencies.size() * sizeof(float));
    ropes_[op] = {std::move(table), std::move(memory)};
  }
}

// ---- Adapters: memory for the largest rank is set aside, so that no plan's addresses change.

void GpuWeights::make_adapters() {
  for (std::uint32_t i = 0; i < graph_.op_count && options_.max_adapters; ++i) {
    const nacelle_op* op = graph_.ops[i];
    if (op->kind != NACELLE_OP_ADAPTER_MATMUL && op->kind != NACELLE_OP_MOE_ADAPTER_MATMUL) continue;
    if (options_.max_rank > kMaxRank)
      throw sdk::Failure(NACELLE_UNIMPLEMENTED, device_->backend + ": adapters of rank " +
                                                    std::to_string(options_.max_rank) + ", at most " +
                                                    std::to_string(kMaxRank));
    const std::uint32_t target = sdk::load(static_cast<const nacelle_adapter_attributes*>(op->attributes)).target;
    if (target >= graph_.value_count || graph_.values[target]->kind != NACELLE_VALUE_WEIGHT)
      throw sdk::Failure(NACELLE_INVALID_ARGUMENT, device_->backend + ": an adapter's target is not a weight");
    AdapterTable& table = adapters_[target];
    if (!table.host.empty()) continue;
    const sdk::AdapterShape of = sdk::adapter_shape(*graph_.values[target]);
    const std::uint64_t line = of.matrices * options_.max_rank * sizeof(float);
    table.host.resize(options_.max_adapters);
    for (AdapterEntry& entry : table.host) {
      table.a.emplace_back(context(), line * of.columns);
      table.b.emplace_back(context(), line * of.rows);
      bytes_ += table.a.back().size() + table.b.back().size();
      entry = {table.a.back().as<float>(), table.b.back().as<float>(), 0, 0};
    }
    table.entries = upload(table.host.data(), table.host.size() * sizeof(AdapterEntry));
  }
}

const AdapterEntry* GpuWeights::adapters(std::uint32_t value) const {
  const auto found = adapters_.find(value);
  return found == adapters_.end() ? nullptr : found->second.entries.as<const AdapterEntry>();
}

void GpuWeights::write_adapter(sdk::Stream& stream, const nacelle_adapter_update& update) {
  if (update.slot >= options_.max_adapters || update.rank > options_.max_rank)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT,
                       device_->backend + ": adapter slot or rank is beyond what prepare was told");
  const auto found = adapters_.find(update.target);
  if (found == adapters_.end())
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, device_->backend + ": no operation adapts that weight");
  AdapterTable& table = found->second;
  const sdk::AdapterShape of = sdk::adapter_shape(*graph_.values[update.target]);
  const std::uint64_t line = of.matrices * update.rank * sizeof(float);
  AdapterEntry& entry = table.host[update.slot];
  entry.rank = update.rank;
  entry.scale = update.scale;
  Queue* queue = static_cast<GpuStream&>(stream).queue();
  const auto put = [&](void* to, const void* from, std::uint64_t bytes) {
    if (bytes)
      device_->check(context().copy(queue, to, bytes, from, bytes, bytes, 1, Direction::kToDevice),
                     "writing an adapter");
  };
  put(table.a[update.slot].data(), update.a, line * of.columns);
  put(table.b[update.slot].data(), update.b, line * of.rows);
  put(table.entries.as<AdapterEntry>(update.slot * sizeof(AdapterEntry)), &entry, sizeof entry);
  device_->check(context().synchronize(queue), "writing an adapter");
}

// ---- What is made of the weights

std::uint64_t GpuWeights::cache_block_bytes(const nacelle_cache_options& options, std::uint32_t group) const {
  const auto layouts = kv_layouts(device_->backend, graph_, options);
  if (group >= layouts.size()) throw sdk::Failure(NACELLE_INVALID_ARGUMENT, device_->backend + ": no such cache group");
  return layouts[group].block_bytes();
}

std::unique_ptr<sdk::Cache> GpuWeights::create_cache(const nacelle_cache_options& options) {
  return std::make_unique<GpuCache>(device_, graph_, options, most_outputs_);
}

std::unique_ptr<sdk::Plan> GpuWeights::compile(const nacelle_cache_options& options, const nacelle_bucket& bucket,
                                               nacelle_step_layout& step, nacelle_output_layout& output) {
  key_type_ = options.key_type;
  value_type_ = options.value_type;
  auto plan = std::make_unique<GpuPlan>(*this, options, bucket);
  step = plan->step_layout();
  output = plan->output_layout();
  return plan;
}

void GpuWeights::visit_kernels(const std::function<void(const nacelle_kernel_info&)>& each) const {
  std::set<std::string> shown;  // layers are alike
  const auto visit = [&](const nacelle_kernel_info& info) {
    std::string key;
    for (const nacelle_string& part : {info.op, info.pattern, info.variant, info.rows})
      key += std::string(sdk::view(part)) + "|";
    if (shown.insert(key).second) each(info);
  };
  for (const PackedMatrix& matrix : matrices_)
    if (matrix.format)
      visit_matmul_variants(*matrix.format, matrix.packed, matrix.outputs, device_->properties, vendor_, visit);
  for (std::uint32_t i = 0; i < graph_.op_count; ++i) {
    if (!is_attention(graph_.ops[i]->kind)) continue;
    const auto of = sdk::load(static_cast<const nacelle_attention_attributes*>(graph_.ops[i]->attributes));
    if (of.cache_group == NACELLE_NO_CACHE || key_type_ == NACELLE_TYPE_INVALID) continue;
    const bool aliased = !graph_.cache_groups[of.cache_group]->value_width;
    visit_attention_variants(of, key_type_, aliased ? key_type_ : value_type_, device_->properties, visit);
  }
}

}  // namespace nacelle::gpu
