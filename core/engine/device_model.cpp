// Loading a graph onto a device, and stepping it.
#include "core/engine/device_model.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <nacelle/plugin.hpp>

#include "core/base/error.hpp"
#include "core/engine/weight_source.hpp"

namespace nacelle {
namespace {

// Candidates a row: enough for top_k and top_logprobs of every request seen in practice; more is read as a whole row.
constexpr std::uint32_t kCandidates = 64;
// Sparse logit adjustments a row, shared by the step's rows; a row with more is adjusted on the host.
constexpr std::uint32_t kAdjustmentsPerRow = 512;
// Of the free memory, what the KV cache may take when nobody says otherwise.
constexpr double kCacheShare = 0.5;

// Row counts of the plans: a step runs in the smallest that holds it.
std::vector<nacelle_bucket> make_buckets(const DeviceModelOptions& options, std::uint32_t vocabulary) {
  std::vector<nacelle_bucket> buckets;
  for (std::uint32_t rows = 1;; rows = std::min(rows * 8, options.max_rows)) {
    auto bucket = sdk::make<nacelle_bucket>();
    bucket.rows = rows;
    bucket.sequences = std::min(rows, options.max_sequences);
    bucket.output_rows = bucket.sequences;
    bucket.context = options.context;
    bucket.candidates = std::min(kCandidates, std::max(1u, vocabulary));
    bucket.adjustments = kAdjustmentsPerRow * bucket.output_rows;
    buckets.push_back(bucket);
    if (rows >= options.max_rows) return buckets;
  }
}

}  // namespace

DeviceModel::DeviceModel(PluginHost& host, const DeviceRecord& device, std::unique_ptr<sdk::Graph> graph,
                         const ModelFiles& files, const DeviceModelOptions& options)
    : host_(&host), api_(device.api), record_(device), graph_(std::move(graph)) {
  try {
    call("open the device", [&](nacelle_error** error) { return api_->device_open(record_.index, &device_, error); });
    call("create a stream", [&](nacelle_error** error) { return api_->stream_create(device_, &stream_, error); });
    buckets_ = make_buckets(options, this->graph().vocabulary);
    prepare(files, options);
    tune(options);
    create_cache(options);
    compile();
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
  lost_ = lost_ || status == NACELLE_DEVICE_LOST;
  throw Error(lost_ ? ErrorKind::kUnavailable : ErrorKind::kInternal,
              record_.name + ": " + what + " failed with status " + std::to_string(status) +
                  (lost_ ? ": the device is lost; restart the server once it is back" : ""));
}

void DeviceModel::prepare(const ModelFiles& files, const DeviceModelOptions& options) {
  WeightSourceAdapter source(*host_->services(), *graph_, files, options.progress);
  auto prepare_options = sdk::make<nacelle_prepare_options>();
  prepare_options.numerics = NACELLE_NUMERICS_STABLE;
  prepare_options.pins = sdk::view(options.pins);
  std::vector<const nacelle_bucket*> pointers;
  for (const nacelle_bucket& bucket : buckets_) pointers.push_back(&bucket);
  call("pack the weights", [&](nacelle_error** error) {
    return api_->prepare(device_, &graph(), pointers.data(), static_cast<std::uint32_t>(pointers.size()),
                         source.table(), &prepare_options, &weights_, error);
  });
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
  call_if_offered("measure the device",
                  [&](nacelle_error** error) { return api_->ceilings(device_, &ceilings, error); });
  return ceilings;
}

// Blocks for as many tokens as asked, or as memory allows; each group gets the same count of tokens.
void DeviceModel::create_cache(const DeviceModelOptions& options) {
  if (graph().cache_group_count == 0) return;
  cache_options_ = sdk::make<nacelle_cache_options>();
  cache_options_.block_tokens = record_.block_tokens ? record_.block_tokens : 32;
  cache_options_.key_type = options.key_type;
  cache_options_.value_type = options.value_type;
  cache_options_.group_count = graph().cache_group_count;
  block_counts_.assign(graph().cache_group_count, 1);
  cache_options_.block_counts = block_counts_.data();

  std::uint64_t bytes_per_block = 0;  // over all groups
  for (std::uint32_t group = 0; group < graph().cache_group_count; ++group) {
    std::uint64_t bytes = 0;
    call("lay out the KV cache", [&](nacelle_error** error) {
      return api_->cache_block_bytes(weights_, &cache_options_, group, &bytes, error);
    });
    bytes_per_block += bytes;
  }
  auto now = sdk::make<nacelle_device_info>();
  call("ask for free memory", [&](nacelle_error** error) { return api_->device_info(record_.index, &now, error); });
  const auto budget = static_cast<std::uint64_t>(static_cast<double>(now.memory_free) * kCacheShare);
  const std::uint64_t block_tokens = cache_options_.block_tokens;
  const std::uint64_t per_sequence = (options.context + block_tokens - 1) / block_tokens;
  std::uint64_t count = (options.cache_tokens + block_tokens - 1) / block_tokens;
  if (count == 0)  // all sequences at full length where that fits, else what fits
    count = std::min(per_sequence * options.max_sequences, budget / std::max<std::uint64_t>(bytes_per_block, 1));
  if (count < per_sequence)
    throw Error(ErrorKind::kResource,
                record_.name + ": the KV cache of one sequence of " + std::to_string(options.context) +
                    " tokens takes " + std::to_string(per_sequence * bytes_per_block >> 20) + " MiB (" +
                    std::to_string(per_sequence) + " blocks of " + std::to_string(bytes_per_block >> 10) + " KiB), " +
                    std::to_string(count * bytes_per_block >> 20) + " MiB may be used; ask for a smaller --context");
  count = std::min<std::uint64_t>(count, std::numeric_limits<std::int32_t>::max() / block_tokens);
  block_counts_.assign(graph().cache_group_count, static_cast<std::uint32_t>(count));
  call("allocate the KV cache",
       [&](nacelle_error** error) { return api_->cache_create(weights_, &cache_options_, &cache_, error); });
  cache_bytes_ = count * bytes_per_block;
  cache_tokens_ = static_cast<std::uint32_t>(count * block_tokens);
  blocks_.block_tokens = cache_options_.block_tokens;
  for (std::uint32_t group = 0; group < graph().cache_group_count; ++group) {
    blocks_.windows.push_back(graph().cache_groups[group]->window);
    blocks_.pools.emplace_back(static_cast<std::uint32_t>(count));
  }
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
    plans_.push_back(plan);
    call("bind a plan to the KV cache", [&](nacelle_error** error) { return api_->bind(plan.handle, cache_, error); });
  }
}

Plan& DeviceModel::plan_for(std::uint32_t rows, std::uint32_t sequences, std::uint32_t output_rows) {
  const auto holds = [&](const Plan& plan) {
    return plan.bucket.rows >= rows && plan.bucket.sequences >= sequences && plan.bucket.output_rows >= output_rows;
  };
  return *std::find_if(plans_.begin(), plans_.end(), holds);
}

std::byte* DeviceModel::step_block(Plan& plan) {
  void* step = nullptr;
  const void* output = nullptr;
  check_hot(api_->blocks(plan.handle, plan.slot, &step, &output), "finding a step block");
  return static_cast<std::byte*>(step);
}

const std::byte* DeviceModel::output_block(const Plan& plan) {
  void* step = nullptr;
  const void* output = nullptr;
  check_hot(api_->blocks(plan.handle, plan.slot, &step, &output), "finding an output block");
  return static_cast<const std::byte*>(output);
}

void DeviceModel::run(Plan& plan) {
  check_hot(api_->run(plan.handle, stream_, plan.slot), "a step");
  check_hot(api_->stream_synchronize(stream_), "waiting for a step");
  last_run_.store(&plan, std::memory_order_relaxed);
}

void DeviceModel::read_logits(const Plan& plan, std::uint32_t row, bool adjusted, std::span<float> logits) {
  check_hot(api_->read_logits(plan.handle, stream_, plan.slot, row, adjusted, logits.data()), "reading logits");
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
