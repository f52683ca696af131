// Loading a graph onto a device, and stepping it.
#include "core/engine/device_model.hpp"

#include <algorithm>
#include <bit>
#include <nacelle/plugin.hpp>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/engine/weight_source.hpp"
#include "sdk/runtime/adapters.hpp"
#include "sdk/runtime/names.hpp"

namespace nacelle {
namespace {

// Candidates a row: enough for top_k and top_logprobs of every request seen in practice; more is read as a whole row.
constexpr std::uint32_t kCandidates = 64;
// Sparse logit adjustments a row, shared by the step's rows; a row with more is adjusted on the host.
constexpr std::uint32_t kAdjustmentsPerRow = 512;

}  // namespace

std::vector<nacelle_bucket> make_buckets(const DeviceModelOptions& options, std::uint32_t vocabulary) {
  std::vector<nacelle_bucket> buckets;
  for (std::uint32_t rows = 1;; rows = std::min(rows * 8, options.max_rows)) {
    auto bucket = sdk::make<nacelle_bucket>();
    bucket.rows = rows;
    bucket.sequences = std::min(rows, options.max_sequences);
    bucket.output_rows = std::min(rows, options.max_sequences + options.max_guesses);
    bucket.context = options.context;
    bucket.candidates = std::min(kCandidates, std::max(1u, vocabulary));
    bucket.flags = vocabulary ? NACELLE_BUCKET_MASKS : 0;
    bucket.adjustments = vocabulary ? kAdjustmentsPerRow * bucket.output_rows : 0;
    buckets.push_back(bucket);
    if (rows >= options.max_rows) return buckets;
  }
}

DeviceModel::DeviceModel(PluginHost& host, const DeviceRecord& device, std::unique_ptr<sdk::Graph> graph,
                         const ModelFiles& files, const DeviceModelOptions& options)
    : host_(&host),
      api_(device.api),
      record_(device),
      graph_(std::move(graph)),
      packed_(options.packed_cache, host, device.backend, *graph_, files),
      key_type_(options.key_type),
      value_type_(options.value_type) {
  losses_ = losses();
  try {
    call("open the device", [&](nacelle_error** error) { return api_->device_open(record_.index, &device_, error); });
    check_made(device_, record_.name + ": device_open");
    call("create a stream", [&](nacelle_error** error) { return api_->stream_create(device_, &stream_, error); });
    check_made(stream_, record_.name + ": stream_create");
    buckets_ = make_buckets(options, this->graph().vocabulary);
    prepare(files, options);
    tune(options);
  } catch (...) {
    destroy();
    throw;
  }
}

DeviceModel::~DeviceModel() { destroy(); }

void DeviceModel::destroy() noexcept {
  for (const Plan& plan : plans_) api_->plan_destroy(plan.handle);
  if (cache_) api_->cache_destroy(cache_);
  if (weights_) api_->weights_destroy(weights_);
  if (stream_) api_->stream_destroy(stream_);
  if (device_) api_->device_close(device_);
}

void DeviceModel::check_hot(nacelle_status status, const char* what) {
  if (status == NACELLE_OK) return;
  if (status == NACELLE_DEVICE_LOST) lost_ = true;
  if (lost_) throw Error(ErrorKind::kUnavailable, "the device " + record_.name + " is lost");
  throw Error(ErrorKind::kInternal, record_.name + ": " + what + " failed with " + sdk::status_name(status));
}

void DeviceModel::prepare(const ModelFiles& files, const DeviceModelOptions& options) {
  WeightSourceAdapter source(*host_->services(), *graph_, files, packed_, options.progress);
  auto prepare_options = sdk::make<nacelle_prepare_options>();
  prepare_options.numerics = options.numerics;
  prepare_options.pins = sdk::view(options.pins);
  prepare_options.max_adapters = options.max_adapters;
  prepare_options.max_rank = options.max_adapter_rank;
  std::vector<const nacelle_bucket*> pointers;
  for (const nacelle_bucket& bucket : buckets_) pointers.push_back(&bucket);
  call("pack the weights", [&](nacelle_error** error) {
    return api_->prepare(device_, &graph(), pointers.data(), static_cast<std::uint32_t>(pointers.size()),
                         source.table(), &prepare_options, &weights_, error);
  });
  check_made(weights_, record_.name + ": prepare");
}

// Before the first plan is compiled, so never while serving.
void DeviceModel::tune(const DeviceModelOptions& options) {
  if (options.tune_budget.count() <= 0) return;
  auto tune_options = sdk::make<nacelle_tune_options>();
  tune_options.budget_ns = static_cast<std::uint64_t>(options.tune_budget.count());
  tune_options.flags = options.tune_again ? NACELLE_TUNE_AGAIN : 0;
  tune_options.context = const_cast<DeviceModelOptions*>(&options);
  tune_options.progress = [](void* context, std::uint64_t done, std::uint64_t total) -> nacelle_status {
    const auto& progress = static_cast<const DeviceModelOptions*>(context)->tune_progress;
    if (progress) progress(done, total);
    return NACELLE_OK;
  };
  auto report = sdk::make<nacelle_tune_report>();
  const bool done = call_if_offered(
      "measure kernels", [&](nacelle_error** error) { return api_->tune(weights_, &tune_options, &report, error); });
  if (done) tuned_ = report;
}

nacelle_ceilings DeviceModel::ceilings() const {
  auto ceilings = sdk::make<nacelle_ceilings>();
  try {
    call_if_offered("measure the device",
                    [&](nacelle_error** error) { return api_->ceilings(device_, &ceilings, error); });
  } catch (const Error& error) {  // it takes more memory than many a model
    if (error.kind() != ErrorKind::kResource) throw;
    log::info("{}", error.what());
  }
  return ceilings;
}

void DeviceModel::set_cache_options(std::uint32_t block_tokens) {
  cache_options_ = sdk::make<nacelle_cache_options>();
  cache_options_.block_tokens = block_tokens;
  cache_options_.key_type = key_type_;
  cache_options_.value_type = value_type_;
  cache_options_.group_count = graph().cache_group_count;
  block_counts_.resize(graph().cache_group_count, 1);
  cache_options_.block_counts = block_counts_.data();
}

DeviceModel::BlockBytes DeviceModel::block_bytes(std::uint32_t block_tokens) {
  set_cache_options(block_tokens);
  BlockBytes all;
  for (std::uint32_t group = 0; group < graph().cache_group_count; ++group) {
    std::uint64_t bytes = 0;
    call("lay out the KV cache", [&](nacelle_error** error) {
      return api_->cache_block_bytes(weights_, &cache_options_, group, &bytes, error);
    });
    (graph().cache_groups[group]->kind == NACELLE_CACHE_STATE ? all.states : all.paged) += bytes;
  }
  return all;
}

std::uint64_t DeviceModel::memory_free() const {
  auto now = sdk::make<nacelle_device_info>();
  call("ask for free memory", [&](nacelle_error** error) { return api_->device_info(record_.index, &now, error); });
  return now.memory_free;
}

void DeviceModel::start(std::uint32_t block_tokens, std::uint32_t block_count, std::uint32_t state_count) {
  if (graph().cache_group_count) {
    set_cache_options(block_tokens);
    for (std::uint32_t group = 0; group < graph().cache_group_count; ++group)
      block_counts_[group] = graph().cache_groups[group]->kind == NACELLE_CACHE_STATE ? state_count : block_count;
    call("allocate the KV cache",
         [&](nacelle_error** error) { return api_->cache_create(weights_, &cache_options_, &cache_, error); });
    check_made(cache_, record_.name + ": cache_create");
  }
  compile();
}

void DeviceModel::compile() {
  for (const nacelle_bucket& bucket : buckets_) {
    Plan plan;
    plan.bucket = bucket;
    plan.step = sdk::make<nacelle_step_layout>();
    plan.output = sdk::make<nacelle_output_layout>();
    call("compile a plan", [&](nacelle_error** error) {
      return api_->compile(weights_, &cache_options_, &plan.bucket, &plan.handle, &plan.step, &plan.output, error);
    });
    check_made(plan.handle, record_.name + ": compile");
    plans_.push_back(plan);
    if (plan.step.slot_count == 0)
      throw Error(ErrorKind::kInternal, record_.name + ": compile gave a step block of 0 slots, expected 2 or more");
    call("bind a plan to the KV cache", [&](nacelle_error** error) { return api_->bind(plan.handle, cache_, error); });
  }
}

std::byte* DeviceModel::step_block(Plan& plan) {
  void* step = nullptr;
  const void* output = nullptr;
  check_hot(api_->blocks(plan.handle, plan.slot, &step, &output), "finding a step block");
  if (!step) check_made(step, record_.name + ": blocks");
  return static_cast<std::byte*>(step);
}

const std::byte* DeviceModel::output_block(const Plan& plan) {
  void* step = nullptr;
  const void* output = nullptr;
  check_hot(api_->blocks(plan.handle, plan.slot, &step, &output), "finding an output block");
  if (!output) check_made(output, record_.name + ": blocks");
  return static_cast<const std::byte*>(output);
}

void DeviceModel::run(Plan& plan) {
  check_hot(api_->run(plan.handle, stream_, plan.slot), "a step");
  check_hot(api_->stream_synchronize(stream_), "waiting for a step");
  last_run_.store(&plan, std::memory_order_relaxed);
}

void DeviceModel::copy_blocks(std::uint32_t group, std::span<const nacelle_block_copy> pairs) {
  check_hot(api_->copy_blocks(cache_, stream_, group, pairs.data(), static_cast<std::uint32_t>(pairs.size())),
            "copying KV blocks");
}

// Also weights that the adapter leaves alone: the slot may hold another's.
void DeviceModel::write_adapter(std::uint32_t slot, const Adapter& adapter) {
  for (const sdk::OpRecord& op : graph_->record().ops) {
    if (!sdk::is_adapter(op)) continue;
    auto update = sdk::make<nacelle_adapter_update>();
    update.slot = slot;
    update.target = op.attributes.as<nacelle_adapter_attributes>().target;
    update.scale = 1;
    const sdk::GraphRecord& record = graph_->record();
    if (const AdapterPart* part = adapter.find(record.weights[record.values[update.target].weight].name)) {
      update.rank = part->rank;
      update.a = part->a.data();
      update.b = part->b.data();
    }
    call("write an adapter",
         [&](nacelle_error** error) { return api_->adapter_write(weights_, stream_, &update, error); });
  }
}

void DeviceModel::read_logits(const Plan& plan, std::uint32_t row, bool adjusted, std::span<float> logits) {
  check_hot(api_->read_logits(plan.handle, stream_, plan.slot, row, adjusted, logits.data()), "reading logits");
}

void DeviceModel::read_value(const Plan& plan, std::uint32_t value, std::span<float> data) {
  check_hot(api_->read_value(plan.handle, stream_, plan.slot, value, data.data(), data.size()), "reading a boundary");
}

void DeviceModel::write_value(const Plan& plan, std::uint32_t value, std::span<const float> data) {
  check_hot(api_->write_value(plan.handle, stream_, plan.slot, value, data.data(), data.size()), "writing a boundary");
}

nacelle_plan_statistics DeviceModel::statistics() const {
  auto statistics = sdk::make<nacelle_plan_statistics>();
  if (const Plan* plan = last_run_.load(std::memory_order_relaxed)) api_->plan_statistics(plan->handle, &statistics);
  return statistics;
}

void DeviceModel::visit_kernels(const std::function<void(const nacelle_kernel_info&)>& visitor) const {
  api_->kernels(
      weights_,
      [](void* context, const nacelle_kernel_info* info) {
        (*static_cast<const std::function<void(const nacelle_kernel_info&)>*>(context))(*info);
      },
      const_cast<std::function<void(const nacelle_kernel_info&)>*>(&visitor));
}

}  // namespace nacelle
