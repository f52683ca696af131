// Recording a plan, and running it.
#include "backends/vulkan/plan.hpp"

#include <algorithm>
#include <cstring>
#include <nacelle/allocation_count.hpp>
#include <nacelle/graph_view.hpp>

#include "backends/vulkan/compiler.hpp"

namespace nacelle::vulkan {
namespace {

// Rows of the smallest table that tokens are looked up in; 0 where there is none.
std::uint32_t table_rows(const VulkanWeights& weights) {
  const nacelle_graph& graph = weights.graph();
  std::uint64_t rows = 0;
  for (std::uint32_t i = 0; i < graph.op_count; ++i)
    if (graph.ops[i]->kind == NACELLE_OP_EMBEDDING &&
        graph.values[graph.ops[i]->inputs[0]]->role == NACELLE_INPUT_TOKENS) {
      const std::uint64_t own = weights.matrix(graph.ops[i]->inputs[1]).shape.rows;
      rows = rows ? std::min(rows, own) : own;
    }
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(rows, NACELLE_TOKEN_FROM_PREVIOUS));
}

bool own_attention(const nacelle_graph& graph) {
  return std::any_of(graph.ops, graph.ops + graph.op_count, [](const nacelle_op* op) {
    return op->kind == NACELLE_OP_ATTENTION &&
           sdk::load(static_cast<const nacelle_attention_attributes*>(op->attributes)).cache_group == NACELLE_NO_CACHE;
  });
}

}  // namespace

VulkanPlan::VulkanPlan(const VulkanWeights& weights, const nacelle_cache_options& cache_options,
                       const nacelle_bucket& bucket)
    : device_(weights.device()),
      graph_(weights.graph()),
      bucket_(bucket),
      cache_options_(cache_options),
      step_layout_(sdk::make_step_layout(graph_, cache_options, bucket, kSlots)),
      output_layout_(sdk::make_output_layout(bucket, sdk::embedding_width(graph_))),
      limits_{&graph_,
              bucket,
              &step_layout_,
              cache_options.block_tokens,
              table_rows(weights),
              weights.most_context(),
              own_attention(graph_)},
      slots_(kSlots) {
  if (bucket.output_rows > weights.most_outputs() || bucket.context > weights.most_context())
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "vulkan: a plan for a bucket that prepare was not given");
  program_ = Compiler(weights, cache_options, bucket, step_layout_, output_layout_).compile();
  arena_ = device_.memory().allocate(MemoryKind::kDevice, program_.space_bytes[0], "a plan's values");
  for (Slot& slot : slots_) make_slot(slot);
}

VulkanPlan::~VulkanPlan() {
  for (Slot& slot : slots_) {
    device_.wait(slot.submitted);
    device_.free_commands(slot.commands);
  }
}

void VulkanPlan::make_slot(Slot& slot) {
  Memory& memory = device_.memory();
  slot.step = memory.allocate(MemoryKind::kUpload, step_layout_.size, "a step block");
  slot.output = memory.allocate(MemoryKind::kDownload, output_layout_.size, "an output block");
  slot.arguments = memory.allocate(MemoryKind::kUpload, program_.grids.size() * sizeof(VkDispatchIndirectCommand),
                                   "dispatch arguments");
  slot.values = memory.allocate(MemoryKind::kDevice, program_.space_bytes[1], "a plan's results");
  if (!device_.profile().shares_memory)
    slot.device_step = memory.allocate(MemoryKind::kDevice, step_layout_.size, "a step block");
  std::memset(slot.step.mapped(), 0, step_layout_.size);
  std::memset(slot.output.mapped(), 0, output_layout_.size);
}

void VulkanPlan::bind(sdk::Cache* cache) {
  auto* own = static_cast<VulkanCache*>(cache);
  if (graph_.cache_group_count && !own)
    throw sdk::Failure(NACELLE_FAILED_PRECONDITION,
                       "vulkan: the graph has cache groups and no cache was given to bind");
  if (own && !own->fits(cache_options_))
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "vulkan: plan and cache have different blocks or types");
  cache_ = own;
  if (!own)
    best_ = device_.memory().allocate(MemoryKind::kDevice, 4 * std::uint64_t{bucket_.output_rows}, "best tokens");
  for (Slot& slot : slots_) record(slot);
  device_.validation().check();
}

std::uint64_t VulkanPlan::resolve(const Slot& slot, const Ref& ref) const {
  switch (ref.kind) {
    case Ref::Kind::kPlace: {
      const Piece& space = ref.place->space == Space::kSlot ? slot.values : arena_;
      return space.address() + ref.place->offset + ref.offset;
    }
    case Ref::Kind::kStep: return (slot.device_step.size() ? slot.device_step : slot.step).address() + ref.offset;
    case Ref::Kind::kOutput: return slot.output.address() + ref.offset;
    case Ref::Kind::kCache: return cache_->address(ref.group, ref.layer);
    case Ref::Kind::kBest: return cache_ ? cache_->best() : best_.address();
    default: return ref.offset;
  }
}

void VulkanPlan::record(Slot& slot) {
  const DeviceFunctions& api = device_.api();
  if (!slot.commands) slot.commands = device_.allocate_commands();
  device_.begin(slot.commands, false);
  if (slot.device_step.size()) {
    const VkBufferCopy region{slot.step.offset(), slot.device_step.offset(), step_layout_.size};
    api.vkCmdCopyBuffer(slot.commands, slot.step.buffer(), slot.device_step.buffer(), 1, &region);
    device_.barrier(slot.commands);
  }
  VkPipeline bound = VK_NULL_HANDLE;
  for (const Dispatch& dispatch : program_.dispatches) {
    if (dispatch.barrier_before) device_.barrier(slot.commands);
    if (dispatch.pipeline != bound)
      api.vkCmdBindPipeline(slot.commands, VK_PIPELINE_BIND_POINT_COMPUTE, bound = dispatch.pipeline);
    std::uint64_t push[kPushBytes / sizeof(std::uint64_t)] = {};
    for (std::uint32_t i = 0; i < dispatch.ref_count; ++i) push[i] = resolve(slot, dispatch.refs[i]);
    std::memcpy(push + dispatch.ref_count, dispatch.words, dispatch.word_count * sizeof(std::uint32_t));
    api.vkCmdPushConstants(slot.commands, device_.pipelines().layout(), VK_SHADER_STAGE_COMPUTE_BIT, 0, kPushBytes,
                           push);
    api.vkCmdDispatchIndirect(slot.commands, slot.arguments.buffer(),
                              slot.arguments.offset() + dispatch.grid * sizeof(VkDispatchIndirectCommand));
  }
  device_.barrier(slot.commands);
  check(api.vkEndCommandBuffer(slot.commands), "recording a plan");
}

nacelle_status VulkanPlan::blocks(std::uint32_t slot, void*& step, const void*& output) noexcept {
  if (slot >= kSlots) return NACELLE_INVALID_ARGUMENT;
  step = slots_[slot].step.mapped();
  output = slots_[slot].output.mapped();
  return NACELLE_OK;
}

void VulkanPlan::write_arguments(const Slot& slot, std::uint32_t longest) const {
  const auto* header = slot.step.as<const std::uint32_t>(step_layout_.header);
  auto* arguments = slot.arguments.as<VkDispatchIndirectCommand>();
  for (const Grid& grid : program_.grids) {
    const std::uint32_t count = header[header_word(grid.lead)];
    const std::uint32_t splits = grid.split_tokens ? (longest + grid.split_tokens - 1) / grid.split_tokens : 1;
    const std::uint32_t groups = (count * grid.times + grid.rows - 1) / grid.rows + (count ? grid.more : 0);
    *arguments++ = {grid.x, groups, splits};
  }
}

nacelle_status VulkanPlan::run(sdk::Stream& stream, std::uint32_t slot) noexcept {
  if (slot >= kSlots) return NACELLE_INVALID_ARGUMENT;
  Slot& to = slots_[slot];
  if (!to.commands || (graph_.cache_group_count && !cache_)) return NACELLE_FAILED_PRECONDITION;
  const std::uint64_t allocations = sdk::allocation_count.load(std::memory_order_relaxed);
  to.output_rows = 0;
  if (const nacelle_status status = device_.wait(to.submitted); status != NACELLE_OK) return status;
  std::uint32_t longest = 0;
  if (const char* fault = find_fault(limits_, cache_, to.step.mapped(), longest)) {
    device_.log_fault(fault);
    return NACELLE_INVALID_ARGUMENT;
  }
  write_arguments(to, longest);
  auto& own = static_cast<VulkanStream&>(stream);
  if (const nacelle_status status = device_.submit(to.commands, to.submitted); status != NACELLE_OK) return status;
  own.last = to.submitted;
  submits_ = 1;
  to.output_rows = to.step.as<const nacelle_step_header>(step_layout_.header)->output_rows;
  if (cache_ && program_.logits) cache_->latest_outputs = to.output_rows;
  allocations_ = static_cast<std::uint32_t>(sdk::allocation_count.load(std::memory_order_relaxed) - allocations);
  return NACELLE_OK;
}

// ---- What the host reads

// Waits for the slot's run, then copies; exceptions become statuses.
template <class Body>
nacelle_status VulkanPlan::transfer(Slot& slot, Body&& body) noexcept {
  if (const nacelle_status status = device_.wait(slot.submitted); status != NACELLE_OK) return status;
  try {
    body();
    return NACELLE_OK;
  } catch (const sdk::Failure& failure) {
    return failure.status();
  } catch (...) {
    return NACELLE_INTERNAL;
  }
}

nacelle_status VulkanPlan::read_logits(sdk::Stream&, std::uint32_t slot, std::uint32_t row, bool adjusted,
                                       float* logits) noexcept {
  if (slot >= kSlots || !program_.logits || row >= slots_[slot].output_rows) return NACELLE_INVALID_ARGUMENT;
  const Place& place = adjusted ? *program_.adjusted : *program_.logits;
  return transfer(slots_[slot], [&] {
    device_.download(slots_[slot].values, place.offset + std::uint64_t{row} * place.stride * sizeof(float), logits,
                     graph_.vocabulary * sizeof(float));
  });
}

// The place of a value that outlives its run and holds `count` elements.
const Place* VulkanPlan::kept(std::uint32_t slot, std::uint32_t value, std::uint64_t count) const {
  if (slot >= kSlots || value >= graph_.value_count) return nullptr;
  const Place* place = program_.values[value];
  if (!place || place->space != Space::kSlot) return nullptr;
  return count <= place->bytes / (place->stride * sizeof(float)) * place->width ? place : nullptr;
}

nacelle_status VulkanPlan::read_value(sdk::Stream&, std::uint32_t slot, std::uint32_t value,
                                      std::span<float> data) noexcept {
  const Place* place = kept(slot, value, data.size());
  if (!place) return NACELLE_INVALID_ARGUMENT;
  return transfer(slots_[slot], [&] {
    for (std::uint64_t i = 0, row = 0; i < data.size(); i += place->width, ++row)
      device_.download(slots_[slot].values, place->offset + row * place->stride * sizeof(float), data.data() + i,
                       std::min<std::uint64_t>(place->width, data.size() - i) * sizeof(float));
  });
}

nacelle_status VulkanPlan::write_value(sdk::Stream&, std::uint32_t slot, std::uint32_t value,
                                       std::span<const float> data) noexcept {
  const Place* place = kept(slot, value, data.size());
  if (!place || graph_.values[value]->kind != NACELLE_VALUE_BOUNDARY) return NACELLE_INVALID_ARGUMENT;
  return transfer(slots_[slot], [&] {
    for (std::uint64_t i = 0, row = 0; i < data.size(); i += place->width, ++row)
      device_.upload(slots_[slot].values, place->offset + row * place->stride * sizeof(float), data.data() + i,
                     std::min<std::uint64_t>(place->width, data.size() - i) * sizeof(float));
  });
}

nacelle_plan_statistics VulkanPlan::statistics() const noexcept {
  auto statistics = sdk::make<nacelle_plan_statistics>();
  statistics.submits_per_step = submits_;
  statistics.allocs_per_step = allocations_;
  statistics.workspace_bytes = program_.space_bytes[0] + kSlots * program_.space_bytes[1];
  return statistics;
}

}  // namespace nacelle::vulkan
