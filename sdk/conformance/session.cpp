#include "sdk/conformance/session.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nacelle/adapter_slots.hpp>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>
#include <stdexcept>

#include "sdk/conformance/host.hpp"
#include "sdk/conformance/random_data.hpp"
#include "sdk/runtime/decompose.hpp"
#include "sdk/runtime/names.hpp"

namespace nacelle::conformance {
namespace {

[[noreturn]] void fail(const std::string& message) { throw std::runtime_error(message); }

std::uint32_t rows_of(const std::vector<Span>& spans) {
  std::uint32_t rows = 0;
  for (const Span& span : spans) rows += span.rows;
  return rows;
}

// Calls body(row, sequence, position) for every row of a step, in order.
template <class Body>
void for_each_row(const std::vector<Span>& spans, Body&& body) {
  std::uint32_t row = 0;
  for (const Span& span : spans)
    for (std::uint32_t i = 0; i < span.rows; ++i) body(row++, span.sequence, span.start + i);
}

nacelle_error* const kNoError = nullptr;  // of the functions that give none

template <class T>
T* array_at(std::byte* block, std::uint64_t offset) {
  return reinterpret_cast<T*>(block + offset);
}

}  // namespace

Backend::Backend(const std::filesystem::path& plugin, std::uint32_t device_index)
    : Backend(load_plugin(plugin, NACELLE_PLUGIN_BACKEND), device_index) {}

Backend::Backend(const Plugin& plugin, std::uint32_t device_index)
    : api_(static_cast<const nacelle_backend_api*>(plugin.info.api)),
      index_(device_index),
      name_(plugin.manifest.name),
      version_(plugin.manifest.version) {
  nacelle_error* error = nullptr;
  std::uint32_t count = 0;
  nacelle_string reason{};
  if (api_->device_count(&count, &reason, &error) != NACELLE_OK) fail(name_ + ": " + take_message(error));
  if (index_ >= count)
    fail(name_ + " has no device " + std::to_string(index_) + ": it finds " + std::to_string(count) +
         (reason.size ? " (" + std::string(sdk::view(reason)) + ")" : ""));
  info_ = sdk::make<nacelle_device_info>();
  if (api_->device_info(index_, &info_, &error) != NACELLE_OK) fail(name_ + ": " + take_message(error));
  if (!info_.usable) fail(name_ + ": device " + std::to_string(index_) + ": " + std::string(sdk::view(info_.reason)));
  if (api_->device_open(index_, &device_, &error) != NACELLE_OK) fail(name_ + ": " + take_message(error));
}

Subject Backend::subject() const {
  return {"backend", name_, version_,
          "device " + std::to_string(index_) + " (" + std::string(sdk::view(info_.name)) + ")"};
}

Backend::~Backend() { api_->device_close(device_); }

std::unique_ptr<sdk::Graph> Backend::fit(const Case& of) const {
  std::string unsupported;
  const auto supports = [&](const nacelle_graph& graph, std::uint32_t op) {
    return api_->supports(device_, &graph, op) == NACELLE_OK;
  };
  auto graph = sdk::decompose(sdk::Graph(of.record()), supports, &unsupported);
  if (!graph) throw Unsupported("does not support " + unsupported);
  return graph;
}

std::string Backend::refusal(const Case& of) {
  try {
    Session session(*this, of, {{{0, 0, 1}}});
    return {};
  } catch (const Unsupported& why) {
    return why.what();
  }
}

Session::Session(Backend& backend, const Case& of, const Steps& sizes, std::uint32_t candidates,
                 const std::function<void(nacelle_weight_source&)>& source)
    : backend_(backend), case_(of), graph_(backend.fit(of)) {
  for (const std::vector<Span>& step : sizes) {
    add_bucket(step, candidates);
    for (const Span& span : step) sequence_count_ = std::max(sequence_count_, span.sequence + 1);
  }
  try {
    make_source();
    if (source) source(source_);
    prepare();
    create_cache();
    compile();
    write_adapters();
  } catch (...) {
    destroy();
    throw;
  }
}

Session::~Session() { destroy(); }

void Session::destroy() {
  const nacelle_backend_api& api = backend_.api();
  for (const PlanEntry& entry : plans_) api.plan_destroy(entry.plan);
  if (cache_) api.cache_destroy(cache_);
  if (weights_) api.weights_destroy(weights_);
  if (stream_) api.stream_destroy(stream_);
}

// `error` is read only now, after the call whose status is checked has set it.
void Session::check(nacelle_status status, nacelle_error* const& error, const char* what) const {
  if (status == NACELLE_OK) return;
  const std::string message = backend_.name() + ", " + case_.name + ": " + what + " answers " +
                              sdk::status_name(status) + " " + take_message(error) + take_logged_error();
  if (status == NACELLE_UNIMPLEMENTED) throw Unsupported(message);
  throw std::runtime_error(message);
}

void Session::make_source() {
  weight_bytes_ = case_.stored;
  for (std::size_t w = weight_bytes_.size(); w < case_.weights.size(); ++w) {
    const Source& source = case_.weights[w];
    const nacelle_value& value = *graph_->view().values[source.value];
    std::uint64_t count = 1;
    for (std::uint32_t i = 0; i < value.rank; ++i) count *= static_cast<std::uint64_t>(value.shape[i]);
    weight_bytes_.push_back(random_weight(value.type, count, source.seed, source.scale, source.offset));
  }
  released_.assign(weight_bytes_.size(), 0);
  source_ = sdk::make<nacelle_weight_source>();
  source_.context = this;
  source_.read = [](void* context, std::uint32_t weight, std::uint64_t begin, std::uint64_t, nacelle_weight_rows* rows,
                    nacelle_error**) -> nacelle_status {
    const auto& self = *static_cast<const Session*>(context);
    const nacelle_graph& graph = self.graph_->view();
    const nacelle_value& value = *graph.values[graph.weights[weight]->value];
    rows->type = value.type;
    rows->row_bytes = row_bytes(value.type, static_cast<std::uint64_t>(value.shape[value.rank - 1]));
    rows->data = self.weight_bytes_[weight].data() + begin * rows->row_bytes;
    return NACELLE_OK;
  };
  source_.release = [](void* context, std::uint32_t weight, std::uint64_t, std::uint64_t count) {
    static_cast<Session*>(context)->released_[weight] += count;
  };
  source_.read_companion = [](void*, std::uint32_t, std::uint32_t, std::uint64_t, std::uint64_t, nacelle_weight_rows*,
                              nacelle_error**) -> nacelle_status { return NACELLE_NOT_FOUND; };
  source_.progress = [](void*, std::uint64_t, std::uint64_t) -> nacelle_status { return NACELLE_OK; };
}

void Session::prepare() {
  auto options = sdk::make<nacelle_prepare_options>();
  options.max_adapters = case_.adapters.empty() ? 0 : 2;
  options.max_rank = 8;
  options.numerics = numerics();
  std::vector<const nacelle_bucket*> pointers;
  for (const nacelle_bucket& bucket : buckets_) pointers.push_back(&bucket);
  nacelle_error* error = nullptr;
  check(backend_.api().prepare(backend_.device(), &graph_->view(), pointers.data(),
                               static_cast<std::uint32_t>(pointers.size()), &source_, &options, &weights_, &error),
        error, "prepare");
  check(backend_.api().stream_create(backend_.device(), &stream_, &error), error, "stream_create");
}

// A bucket that just holds this step, unless there is one of its size already.
void Session::add_bucket(const std::vector<Span>& step, std::uint32_t candidates) {
  auto bucket = sdk::make<nacelle_bucket>();
  bucket.rows = bucket.output_rows = rows_of(step);
  bucket.sequences = static_cast<std::uint32_t>(step.size());
  bucket.context = case_.context;
  bucket.candidates = candidates;
  bucket.adjustments = 16;
  bucket.flags = graph_->view().vocabulary ? NACELLE_BUCKET_MASKS : 0;
  for (const nacelle_bucket& other : buckets_)
    if (other.rows == bucket.rows && other.sequences == bucket.sequences) return;
  buckets_.push_back(bucket);
}

std::uint32_t Session::table_width() const { return (case_.context + case_.block_tokens - 1) / case_.block_tokens; }

// Blocks lie scattered: consecutive entries are seven apart.
std::uint32_t Session::block_of(std::uint32_t sequence, std::uint32_t entry) const {
  return static_cast<std::uint32_t>((std::uint64_t{sequence} * table_width() + entry) * 7 % block_count_);
}

void Session::create_cache() {
  const std::uint32_t groups = graph_->view().cache_group_count;
  block_count_ = sequence_count_ * table_width();
  if (block_count_ % 7 == 0) ++block_count_;
  block_counts_.assign(groups, block_count_);
  cache_options_ = sdk::make<nacelle_cache_options>();
  cache_options_.block_tokens = case_.block_tokens;
  cache_options_.key_type = case_.key_type;
  cache_options_.value_type = case_.value_type;
  cache_options_.group_count = groups;
  cache_options_.block_counts = block_counts_.data();
  if (!groups) return;
  nacelle_error* error = nullptr;
  check(backend_.api().cache_create(weights_, &cache_options_, &cache_, &error), error, "cache_create");
}

void Session::compile() {
  for (const nacelle_bucket& bucket : buckets_) {
    PlanEntry entry{bucket, nullptr, sdk::make<nacelle_step_layout>(), sdk::make<nacelle_output_layout>(), 0};
    nacelle_error* error = nullptr;
    check(backend_.api().compile(weights_, &cache_options_, &bucket, &entry.plan, &entry.step, &entry.output, &error),
          error, "compile");
    plans_.push_back(entry);
    check(backend_.api().bind(entry.plan, cache_, &error), error, "bind");
  }
}

void Session::write_adapters() {
  for (const AdapterSource& of : case_.adapters) {
    const sdk::AdapterShape target = sdk::adapter_shape(*graph_->view().values[of.target]);
    std::vector<float> a(target.matrices * of.rank * target.columns);
    std::vector<float> b(target.matrices * of.rank * target.rows);
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = uniform(of.seed, i);
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = uniform(of.seed + 1, i);
    auto update = sdk::make<nacelle_adapter_update>();
    update.slot = of.slot;
    update.target = of.target;
    update.rank = of.rank;
    update.scale = of.scale;
    update.a = a.data();
    update.b = b.data();
    nacelle_error* error = nullptr;
    check(backend_.api().adapter_write(weights_, stream_, &update, &error), error, "adapter_write");
  }
}

Session::PlanEntry& Session::plan_for(const StepInput& step) {
  for (PlanEntry& entry : plans_)
    if (entry.bucket.rows >= rows_of(step.spans) && entry.bucket.sequences >= step.spans.size()) return entry;
  fail("no plan of that size was announced");
}

void Session::write_tables(PlanEntry& plan, const StepInput& step, std::byte* block) const {
  const nacelle_graph& graph = graph_->view();
  auto* tables = array_at<std::uint32_t>(block, plan.step.block_tables);
  for (std::uint32_t group = 0; group < graph.cache_group_count; ++group)
    for (std::uint32_t s = 0; s < step.spans.size(); ++s) {
      const Span& span = step.spans[s];
      const std::uint32_t window = graph.cache_groups[group]->window;
      const std::uint32_t first = window && span.start >= window ? (span.start - window + 1) / case_.block_tokens : 0;
      std::uint32_t end = (span.start + span.rows + case_.block_tokens - 1) / case_.block_tokens;
      std::uint32_t* row = tables + (std::uint64_t{group} * plan.bucket.sequences + s) * plan.step.table_width;
      if (graph.cache_groups[group]->kind == NACELLE_CACHE_STATE) end = 1;  // a state's id, and nothing behind it
      for (std::uint32_t entry = 0; entry < plan.step.table_width; ++entry)
        row[entry] = entry >= first && entry < end ? block_of(span.sequence, entry) : NACELLE_NO_VALUE;
    }
}

void Session::write_step(PlanEntry& plan, const StepInput& step) {
  void* memory = nullptr;
  const void* output = nullptr;
  check(backend_.api().blocks(plan.plan, plan.slot, &memory, &output), kNoError, "blocks");
  auto* block = static_cast<std::byte*>(memory);
  const nacelle_step_layout& at = plan.step;
  const std::uint32_t rows = rows_of(step.spans);
  auto& header = *array_at<nacelle_step_header>(block, at.header);
  header = {1,    rows, static_cast<std::uint32_t>(step.spans.size()),
            rows, 0,    step.masks.empty() ? 0 : NACELLE_STEP_MASKS};
  std::uint32_t start = 0;
  for (std::uint32_t s = 0; s < step.spans.size(); ++s) {
    const Span& span = step.spans[s];
    array_at<std::uint32_t>(block, at.sequence_starts)[s] = start;
    array_at<std::uint32_t>(block, at.sequence_lengths)[s] = span.start + span.rows;
    header.context = std::max(header.context, span.start + span.rows);
    for (std::uint32_t i = 0; i < span.rows; ++i) array_at<std::uint32_t>(block, at.row_sequences)[start++] = s;
  }
  array_at<std::uint32_t>(block, at.sequence_starts)[step.spans.size()] = start;
  for_each_row(step.spans, [&](std::uint32_t row, std::uint32_t sequence, std::uint32_t position) {
    const auto token = static_cast<std::uint32_t>(mix(9, sequence * 4096u + position) % kVocabulary);
    array_at<std::uint32_t>(block, at.tokens)[row] = step.tokens.empty() ? token : step.tokens[row];
    array_at<std::uint32_t>(block, at.positions)[row] = position;
    array_at<std::uint32_t>(block, at.output_rows)[row] = row;
    if (at.token_types) array_at<std::uint32_t>(block, at.token_types)[row] = position % 2;
    array_at<std::uint32_t>(block, at.adapter_slots)[row] = sequence < 2 ? sequence : NACELLE_NO_VALUE;
    array_at<float>(block, at.temperatures)[row] = step.temperatures.empty() ? 0 : step.temperatures[row];
  });
  write_tables(plan, step, block);
  std::ranges::copy(step.masks, array_at<std::uint32_t>(block, at.masks));
  auto* starts = array_at<std::uint32_t>(block, at.adjustment_starts);
  std::fill_n(starts, rows + 1, 0u);
  for (std::size_t i = 0; i < step.adjustments.size(); ++i) {
    array_at<nacelle_adjustment>(block, at.adjustments)[i] = step.adjustments[i].second;
    for (std::uint32_t row = step.adjustments[i].first; row < rows; ++row) ++starts[row + 1];
  }
  if (step.damage) step.damage(block, at);
}

void Session::write_boundaries(PlanEntry& plan, const StepInput& step) {
  for (const Source& source : case_.boundaries) {
    const auto width = static_cast<std::uint64_t>(graph_->view().values[source.value]->shape[1]);
    std::vector<float> data(rows_of(step.spans) * width);
    for_each_row(step.spans, [&](std::uint32_t row, std::uint32_t sequence, std::uint32_t position) {
      const std::uint64_t first = (sequence * 4096ull + position) * width;
      for (std::uint64_t i = 0; i < width; ++i) data[row * width + i] = uniform(source.seed, first + i) * source.scale;
    });
    if (!step.boundary.empty()) data = step.boundary;
    check(backend_.api().write_value(plan.plan, stream_, plan.slot, source.value, data.data(), data.size()), kNoError,
          "write_value");
  }
}

nacelle_status Session::try_run(const StepInput& step) {
  PlanEntry& plan = plan_for(step);
  write_step(plan, step);
  write_boundaries(plan, step);
  const nacelle_status status = backend_.api().run(plan.plan, stream_, plan.slot);
  latest_ = &plan;
  latest_slot_ = plan.slot;
  plan.slot = (plan.slot + 1) % plan.step.slot_count;
  return status == NACELLE_OK ? backend_.api().stream_synchronize(stream_) : status;
}

StepOutput Session::run(const StepInput& step) {
  check(try_run(step), kNoError, "run");
  StepOutput output;
  output.result = read_result(*latest_, step);
  if (!graph_->view().vocabulary) return output;
  void* block = nullptr;
  const void* results = nullptr;
  check(backend_.api().blocks(latest_->plan, latest_slot_, &block, &results), kNoError, "blocks");
  const std::uint64_t count = std::uint64_t{rows_of(step.spans)} * latest_->bucket.candidates;
  const auto copy = [&]<class T>(std::vector<T>& to, std::uint64_t offset, std::uint64_t elements) {
    to.resize(elements);
    std::memcpy(to.data(), static_cast<const std::byte*>(results) + offset, elements * sizeof(T));
  };
  copy(output.ids, latest_->output.ids, count);
  copy(output.adjusted, latest_->output.adjusted, count);
  copy(output.raw, latest_->output.raw, count);
  copy(output.logsumexp, latest_->output.logsumexp, 2 * rows_of(step.spans));
  return output;
}

std::vector<float> Session::read_result(PlanEntry& plan, const StepInput& step) {
  const nacelle_value& value = *graph_->view().values[case_.result];
  const std::uint64_t rows = value.shape[0] == NACELLE_DIM_SEQUENCES ? step.spans.size() : rows_of(step.spans);
  std::vector<float> data(rows * static_cast<std::uint64_t>(value.shape[1]));
  if (value.output == NACELLE_OUTPUT_LOGITS) {
    data.clear();
    for (std::uint32_t row = 0; row < rows; ++row) {
      const std::vector<float> logits = read_logits(row, false);
      data.insert(data.end(), logits.begin(), logits.end());
    }
  } else if (value.output == NACELLE_OUTPUT_EMBEDDING) {
    void* block = nullptr;
    const void* results = nullptr;
    check(backend_.api().blocks(plan.plan, latest_slot_, &block, &results), kNoError, "blocks");
    std::memcpy(data.data(), static_cast<const std::byte*>(results) + plan.output.embedding,
                data.size() * sizeof(float));
  } else {
    check(backend_.api().read_value(plan.plan, stream_, latest_slot_, case_.result, data.data(), data.size()), kNoError,
          "read_value");
  }
  return data;
}

std::vector<float> Session::read_logits(std::uint32_t row, bool adjusted) {
  std::vector<float> logits(graph_->view().vocabulary);
  check(backend_.api().read_logits(latest_->plan, stream_, latest_slot_, row, adjusted, logits.data()), kNoError,
        "read_logits");
  return logits;
}

void Session::copy_sequence(std::uint32_t from, std::uint32_t to) {
  std::vector<nacelle_block_copy> pairs;
  for (std::uint32_t entry = 0; entry < table_width(); ++entry)
    pairs.push_back({block_of(from, entry), block_of(to, entry)});
  for (std::uint32_t group = 0; group < graph_->view().cache_group_count; ++group)
    check(backend_.api().copy_blocks(cache_, stream_, group, pairs.data(), static_cast<std::uint32_t>(pairs.size())),
          kNoError, "copy_blocks");
}

nacelle_plan_statistics Session::statistics() const {
  auto statistics = sdk::make<nacelle_plan_statistics>();
  check(backend_.api().plan_statistics(latest_->plan, &statistics), kNoError, "plan_statistics");
  return statistics;
}

RowMap run_case(Backend& backend, const Case& of, const Steps& steps) {
  Session session(backend, of, steps);
  RowMap rows;
  for (const std::vector<Span>& spans : steps) {
    const std::vector<float> result = session.run({spans}).result;
    const nacelle_value& value = of.record().values[of.result];
    const auto width = static_cast<std::ptrdiff_t>(value.shape[1]);
    auto next = result.begin();
    const auto take = [&](std::uint32_t sequence, std::uint32_t position) {
      rows[{sequence, position}] = {next, next + width};
      next += width;
    };
    if (value.shape[0] == NACELLE_DIM_SEQUENCES)
      for (const Span& span : spans) take(span.sequence, 0);
    else
      for_each_row(spans,
                   [&](std::uint32_t, std::uint32_t sequence, std::uint32_t position) { take(sequence, position); });
  }
  return rows;
}

std::vector<float> run_flat(Backend& backend, const Case& of, const Steps& steps) {
  Session session(backend, of, steps);
  std::vector<float> all;
  for (const std::vector<Span>& spans : steps) {
    const std::vector<float> result = session.run({spans}).result;
    all.insert(all.end(), result.begin(), result.end());
  }
  return all;
}

}  // namespace nacelle::conformance
