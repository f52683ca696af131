// Each thunk packs its arguments, calls, and unpacks. Handles are objects here that know the process they belong to and
// the plugin's own handle there.
#include "core/plugin_host/isolation/thunks.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <nacelle/adapter_slots.hpp>
#include <utility>
#include <vector>

#include "core/plugin_host/isolation/backend.hpp"
#include "core/plugin_host/isolation/graph_wire.hpp"
#include "core/plugin_host/isolation/rows.hpp"

namespace nacelle::isolation {
namespace {

constexpr std::uint64_t kLine = 64;

struct Remote {
  IsolatedBackend* backend;
  std::shared_ptr<Process> process;
  std::uint64_t id = 0;  // the plugin's handle, in its process

  const nacelle_host& host() const { return backend->host(); }
};

struct RemoteDevice : Remote {
  // supports() is asked for each operation of a graph in turn: the answers of the latest graph.
  std::mutex mutex;
  std::vector<std::byte> graph;
  std::vector<nacelle_status> answers;
};
struct RemoteStream : Remote {};
struct RemoteEvent : Remote {};
struct RemoteCache : Remote {};
struct RemoteWeights : Remote {
  const nacelle_graph* graph;
};
struct RemotePlan : Remote {
  nacelle_step_layout step{};
  nacelle_output_layout output{};
  std::uint32_t vocabulary = 0;
  std::uint64_t blocks = 0, slot_size = 0;  // in the arena

  std::uint64_t step_offset(std::uint32_t slot) const { return blocks + slot * slot_size; }
  std::uint64_t output_offset(std::uint32_t slot) const { return step_offset(slot) + padded(step.size); }
  static std::uint64_t padded(std::uint64_t size) { return (size + kLine - 1) / kLine * kLine; }
  ~RemotePlan() {
    if (slot_size) process->arena().give(blocks, slot_size * step.slot_count);
  }
};

template <class T, class Handle>
T& of(Handle* handle) {
  return *reinterpret_cast<T*>(handle);
}
template <class T, class Handle>
const T& of(const Handle* handle) {
  return *reinterpret_cast<const T*>(handle);
}
template <class Handle, class T>
Handle* to_handle(std::unique_ptr<T> object) {
  return reinterpret_cast<Handle*>(object.release());
}

// Runs `body`, which returns a status, and turns what it throws into one.
template <class Body>
nacelle_status guarded(const nacelle_host& host, nacelle_error** error, Body body) noexcept {
  nacelle_status status = NACELLE_OK;
  const nacelle_status thrown = sdk::guard(&host, error, [&] { status = body(); });
  return thrown == NACELLE_OK ? status : thrown;
}
template <class Body>
nacelle_status hot(const Remote& remote, Body body) noexcept {
  return guarded(remote.host(), nullptr, body);
}

// A call whose only argument is a handle and whose answer matters to nobody.
template <class T, class Handle>
void destroy(Function function, Handle* handle) {
  const std::unique_ptr<T> object(reinterpret_cast<T*>(handle));
  hot(*object, [&] {
    Call call(*object->process, function);
    call.out().put(object->id);
    return call.send();
  });
}

nacelle_status supports(nacelle_device* handle, const nacelle_graph* graph, std::uint32_t op) {
  auto& device = of<RemoteDevice>(handle);
  return hot(device, [&]() -> nacelle_status {
    Writer counter;
    put_graph(counter, *graph);
    std::vector<std::byte> bytes(counter.size());
    Writer out(bytes);
    put_graph(out, *graph);
    const std::lock_guard lock(device.mutex);
    if (bytes != device.graph) {
      Call call(*device.process, Function::kSupports);
      call.out().put(device.id);
      put_graph(call.out(), *graph);
      if (const nacelle_status status = call.send(); status != NACELLE_OK) return status;
      const auto answers = call.in().get_array<nacelle_status>();
      device.answers.assign(answers.begin(), answers.end());
      device.graph = std::move(bytes);
    }
    return op < device.answers.size() ? device.answers[op] : nacelle_status{NACELLE_INVALID_ARGUMENT};
  });
}

nacelle_status ceilings(nacelle_device* handle, nacelle_ceilings* ceilings, nacelle_error** error) {
  auto& device = of<RemoteDevice>(handle);
  return guarded(device.host(), error, [&] {
    Call call(*device.process, Function::kCeilings);
    call.out().put(device.id);
    const nacelle_status status = call.send(&device.host(), error);
    if (status == NACELLE_OK) sdk::store(ceilings, call.in().get<nacelle_ceilings>());
    return status;
  });
}

// ---- Streams and events: run() returns when the step is done, so there is never anything to wait for.

nacelle_status alive(const Remote& remote) {
  return remote.process->dead() ? nacelle_status{NACELLE_DEVICE_LOST} : nacelle_status{NACELLE_OK};
}

nacelle_status stream_create(nacelle_device* handle, nacelle_stream** stream, nacelle_error** error) {
  auto& device = of<RemoteDevice>(handle);
  return guarded(device.host(), error, [&] {
    Call call(*device.process, Function::kStreamCreate);
    call.out().put(device.id);
    const nacelle_status status = call.send(&device.host(), error);
    if (status != NACELLE_OK) return status;
    auto made = std::make_unique<RemoteStream>();
    static_cast<Remote&>(*made) = Remote{device.backend, device.process, call.in().get<std::uint64_t>()};
    *stream = to_handle<nacelle_stream>(std::move(made));
    return status;
  });
}

nacelle_status event_create(nacelle_device* handle, nacelle_event** event, nacelle_error** error) {
  auto& device = of<RemoteDevice>(handle);
  return guarded(device.host(), error, [&]() -> nacelle_status {
    auto made = std::make_unique<RemoteEvent>();
    static_cast<Remote&>(*made) = Remote{device.backend, device.process};
    *event = to_handle<nacelle_event>(std::move(made));
    return NACELLE_OK;
  });
}

nacelle_status event_query(nacelle_event* event, std::uint32_t* done) {
  *done = 1;
  return alive(of<RemoteEvent>(event));
}

// ---- Weights

nacelle_status prepare(nacelle_device* handle, const nacelle_graph* graph, const nacelle_bucket* const* buckets,
                       std::uint32_t bucket_count, const nacelle_weight_source* source,
                       const nacelle_prepare_options* options, nacelle_weights** weights, nacelle_error** error) {
  auto& device = of<RemoteDevice>(handle);
  return guarded(device.host(), error, [&] {
    std::vector<nacelle_bucket> own;
    for (std::uint32_t i = 0; i < bucket_count; ++i) {
      own.push_back(sdk::load(buckets[i]));
      own.back().extension = nullptr;
    }
    RowServer rows(device.process->arena(), device.host(), *source);
    Call call(*device.process, Function::kPrepare);
    call.out().put(device.id);
    put_graph(call.out(), *graph);
    call.out().put_array(own.data(), own.size());
    call.out().put_struct(options);
    const nacelle_string pins = sdk::load(options).pins;
    call.out().put_text(pins.data ? sdk::view(pins) : std::string_view());
    const nacelle_status status = call.send(&device.host(), error, &rows);
    if (status != NACELLE_OK) return status;
    auto made = std::make_unique<RemoteWeights>();
    static_cast<Remote&>(*made) = Remote{device.backend, device.process, call.in().get<std::uint64_t>()};
    made->graph = graph;
    *weights = to_handle<nacelle_weights>(std::move(made));
    return status;
  });
}

std::uint64_t weights_bytes(const nacelle_weights* handle) {
  const auto& weights = of<RemoteWeights>(handle);
  std::uint64_t bytes = 0;
  hot(weights, [&] {
    Call call(*weights.process, Function::kWeightsBytes);
    call.out().put(weights.id);
    const nacelle_status status = call.send();
    if (status == NACELLE_OK) bytes = call.in().get<std::uint64_t>();
    return status;
  });
  return bytes;
}

nacelle_status adapter_write(nacelle_weights* handle, nacelle_stream* stream, const nacelle_adapter_update* given,
                             nacelle_error** error) {
  auto& weights = of<RemoteWeights>(handle);
  return guarded(weights.host(), error, [&]() -> nacelle_status {
    const nacelle_adapter_update update = sdk::load(given);
    sdk::AdapterShape target{0, 0, 0};
    if (update.target < weights.graph->value_count) target = sdk::adapter_shape(*weights.graph->values[update.target]);
    const std::uint64_t lines = update.rank * target.matrices;
    Call call(*weights.process, Function::kAdapterWrite);
    call.out().put(weights.id);
    call.out().put(of<RemoteStream>(stream).id);
    call.out().put_struct(&update);
    call.out().put_array(update.a, update.a ? lines * target.columns : 0);
    call.out().put_array(update.b, update.b ? lines * target.rows : 0);
    return call.send(&weights.host(), error);
  });
}

// Passes on what is shown or measured meanwhile.
struct Visits : Answers {
  nacelle_kernel_visitor visitor = nullptr;
  void* context = nullptr;
  nacelle_status answer(Function question, Reader& in, Writer&) override {
    if (question != Function::kKernel) return NACELLE_UNIMPLEMENTED;
    auto info = in.get<nacelle_kernel_info>();
    for (nacelle_string* text : {&info.op, &info.pattern, &info.variant, &info.reason, &info.rows})
      *text = sdk::view(in.get_text());
    visitor(context, &info);
    return NACELLE_OK;
  }
};
struct TuneProgress : Answers {
  nacelle_tune_options options{};
  nacelle_status answer(Function, Reader& in, Writer&) override {
    const auto done = in.get<std::uint64_t>(), total = in.get<std::uint64_t>();
    return options.progress ? options.progress(options.context, done, total) : nacelle_status{NACELLE_OK};
  }
};

nacelle_status kernels(const nacelle_weights* handle, nacelle_kernel_visitor visitor, void* context) {
  const auto& weights = of<RemoteWeights>(handle);
  return hot(weights, [&] {
    Visits visits;
    visits.visitor = visitor;
    visits.context = context;
    Call call(*weights.process, Function::kKernels);
    call.out().put(weights.id);
    return call.send(nullptr, nullptr, &visits);
  });
}

nacelle_status tune(nacelle_weights* handle, const nacelle_tune_options* options, nacelle_tune_report* report,
                    nacelle_error** error) {
  auto& weights = of<RemoteWeights>(handle);
  return guarded(weights.host(), error, [&] {
    TuneProgress progress;
    progress.options = sdk::load(options);
    Call call(*weights.process, Function::kTune);
    call.out().put(weights.id);
    call.out().put_struct(options);
    const nacelle_status status = call.send(&weights.host(), error, &progress);
    if (status == NACELLE_OK) sdk::store(report, call.in().get<nacelle_tune_report>());
    return status;
  });
}

// ---- Caches

void put_cache_options(Writer& out, const nacelle_cache_options* options) {
  const nacelle_cache_options whole = sdk::load(options);
  out.put_struct(options);
  out.put_array(whole.block_counts, whole.block_counts ? whole.group_count : 0);
}

nacelle_status cache_block_bytes(const nacelle_weights* handle, const nacelle_cache_options* options,
                                 std::uint32_t group, std::uint64_t* bytes, nacelle_error** error) {
  const auto& weights = of<RemoteWeights>(handle);
  return guarded(weights.host(), error, [&] {
    Call call(*weights.process, Function::kCacheBlockBytes);
    call.out().put(weights.id);
    put_cache_options(call.out(), options);
    call.out().put(group);
    const nacelle_status status = call.send(&weights.host(), error);
    if (status == NACELLE_OK) *bytes = call.in().get<std::uint64_t>();
    return status;
  });
}

nacelle_status cache_create(nacelle_weights* handle, const nacelle_cache_options* options, nacelle_cache** cache,
                            nacelle_error** error) {
  auto& weights = of<RemoteWeights>(handle);
  return guarded(weights.host(), error, [&] {
    Call call(*weights.process, Function::kCacheCreate);
    call.out().put(weights.id);
    put_cache_options(call.out(), options);
    const nacelle_status status = call.send(&weights.host(), error);
    if (status != NACELLE_OK) return status;
    auto made = std::make_unique<RemoteCache>();
    static_cast<Remote&>(*made) = Remote{weights.backend, weights.process, call.in().get<std::uint64_t>()};
    *cache = to_handle<nacelle_cache>(std::move(made));
    return status;
  });
}

nacelle_status copy_blocks(nacelle_cache* handle, nacelle_stream* stream, std::uint32_t group,
                           const nacelle_block_copy* pairs, std::uint32_t count) {
  auto& cache = of<RemoteCache>(handle);
  return hot(cache, [&] {
    Call call(*cache.process, Function::kCopyBlocks);
    call.out().put(cache.id);
    call.out().put(of<RemoteStream>(stream).id);
    call.out().put(group);
    call.out().put_array(pairs, count);
    return call.send();
  });
}

// ---- Plans

nacelle_status compile(nacelle_weights* handle, const nacelle_cache_options* options, const nacelle_bucket* bucket,
                       nacelle_plan** plan, nacelle_step_layout* step, nacelle_output_layout* output,
                       nacelle_error** error) {
  auto& weights = of<RemoteWeights>(handle);
  return guarded(weights.host(), error, [&] {
    Call call(*weights.process, Function::kCompile);
    call.out().put(weights.id);
    put_cache_options(call.out(), options);
    call.out().put_struct(bucket);
    const nacelle_status status = call.send(&weights.host(), error);
    if (status != NACELLE_OK) return status;
    auto made = std::make_unique<RemotePlan>();
    made->backend = weights.backend;
    made->process = weights.process;
    made->step = call.in().get<nacelle_step_layout>();
    made->output = call.in().get<nacelle_output_layout>();
    made->id = call.in().get<std::uint64_t>();
    made->vocabulary = weights.graph->vocabulary;
    const std::uint64_t slot_size = RemotePlan::padded(made->step.size) + RemotePlan::padded(made->output.size);
    made->blocks = weights.process->arena().take(slot_size * made->step.slot_count);
    made->slot_size = slot_size;
    sdk::store(step, made->step);
    sdk::store(output, made->output);
    *plan = to_handle<nacelle_plan>(std::move(made));
    return status;
  });
}

nacelle_status bind(nacelle_plan* handle, nacelle_cache* cache, nacelle_error** error) {
  auto& plan = of<RemotePlan>(handle);
  return guarded(plan.host(), error, [&] {
    Call call(*plan.process, Function::kBind);
    call.out().put(plan.id);
    call.out().put(cache ? of<RemoteCache>(cache).id : std::uint64_t{0});
    return call.send(&plan.host(), error);
  });
}

nacelle_status blocks(nacelle_plan* handle, std::uint32_t slot, void** step, const void** output) {
  const auto& plan = of<RemotePlan>(handle);
  if (slot >= plan.step.slot_count) return NACELLE_INVALID_ARGUMENT;
  *step = plan.process->arena().at(plan.step_offset(slot));
  *output = plan.process->arena().at(plan.output_offset(slot));
  return alive(plan);
}

nacelle_status run(nacelle_plan* handle, nacelle_stream* stream, std::uint32_t slot) {
  const auto& plan = of<RemotePlan>(handle);
  if (slot >= plan.step.slot_count) return NACELLE_INVALID_ARGUMENT;
  return hot(plan, [&] {
    Call call(*plan.process, Function::kRun);
    call.out().put(plan.id);
    call.out().put(of<RemoteStream>(stream).id);
    call.out().put(slot);
    call.out().put(plan.step_offset(slot));
    call.out().put(plan.output_offset(slot));
    return call.send();
  });
}

void put_values(Call& call, const RemotePlan& plan, nacelle_stream* stream, std::uint32_t slot, std::uint32_t which) {
  call.out().put(plan.id);
  call.out().put(of<RemoteStream>(stream).id);
  call.out().put(slot);
  call.out().put(which);
}

nacelle_status take_floats(Call& call, float* to, std::uint64_t count) {
  const nacelle_status status = call.send();
  if (status != NACELLE_OK) return status;
  const auto data = call.in().get_array<float>();
  std::copy_n(data.begin(), std::min<std::uint64_t>(data.size(), count), to);
  return status;
}

nacelle_status read_logits(nacelle_plan* handle, nacelle_stream* stream, std::uint32_t slot, std::uint32_t row,
                           std::uint32_t adjusted, float* logits) {
  const auto& plan = of<RemotePlan>(handle);
  return hot(plan, [&] {
    Call call(*plan.process, Function::kReadLogits);
    put_values(call, plan, stream, slot, row);
    call.out().put(adjusted);
    return take_floats(call, logits, plan.vocabulary);
  });
}

nacelle_status read_value(nacelle_plan* handle, nacelle_stream* stream, std::uint32_t slot, std::uint32_t value,
                          float* data, std::uint64_t count) {
  const auto& plan = of<RemotePlan>(handle);
  return hot(plan, [&] {
    Call call(*plan.process, Function::kReadValue);
    put_values(call, plan, stream, slot, value);
    call.out().put(count);
    return take_floats(call, data, count);
  });
}

nacelle_status write_value(nacelle_plan* handle, nacelle_stream* stream, std::uint32_t slot, std::uint32_t value,
                           const float* data, std::uint64_t count) {
  const auto& plan = of<RemotePlan>(handle);
  return hot(plan, [&] {
    Call call(*plan.process, Function::kWriteValue);
    put_values(call, plan, stream, slot, value);
    call.out().put_array(data, count);
    return call.send();
  });
}

nacelle_status plan_statistics(nacelle_plan* handle, nacelle_plan_statistics* statistics) {
  const auto& plan = of<RemotePlan>(handle);
  return hot(plan, [&] {
    Call call(*plan.process, Function::kPlanStatistics);
    call.out().put(plan.id);
    const nacelle_status status = call.send();
    if (status == NACELLE_OK) sdk::store(statistics, call.in().get<nacelle_plan_statistics>());
    return status;
  });
}

}  // namespace

// ---- Devices, by slot

std::uint32_t hardware_present(IsolatedBackend& backend) {
  std::uint32_t present = 0;
  guarded(backend.host(), nullptr, [&] {
    const auto process = backend.process();
    Call call(*process, Function::kHardwarePresent);
    const nacelle_status status = call.send();
    if (status == NACELLE_OK) present = call.in().get<std::uint32_t>();
    return status;
  });
  return present;
}

nacelle_status device_count(IsolatedBackend& backend, std::uint32_t* count, nacelle_string* reason,
                            nacelle_error** error) {
  return guarded(backend.host(), error, [&] {
    const auto process = backend.process();
    Call call(*process, Function::kDeviceCount);
    const nacelle_status status = call.send(&backend.host(), error);
    if (status != NACELLE_OK) return status;
    *count = call.in().get<std::uint32_t>();
    const nacelle_string text = backend.keep(call.in().get_text());
    if (reason && *count == 0) *reason = text;
    return status;
  });
}

nacelle_status device_info(IsolatedBackend& backend, std::uint32_t index, nacelle_device_info* info,
                           nacelle_error** error) {
  return guarded(backend.host(), error, [&] {
    const auto process = backend.process();
    Call call(*process, Function::kDeviceInfo);
    call.out().put(index);
    const nacelle_status status = call.send(&backend.host(), error);
    if (status != NACELLE_OK) return status;
    auto whole = call.in().get<nacelle_device_info>();
    for (nacelle_string* text : {&whole.name, &whole.detail, &whole.reason}) *text = backend.keep(call.in().get_text());
    sdk::store(info, whole);
    return status;
  });
}

nacelle_status device_open(IsolatedBackend& backend, std::uint32_t index, nacelle_device** device,
                           nacelle_error** error) {
  return guarded(backend.host(), error, [&] {
    auto made = std::make_unique<RemoteDevice>();
    made->backend = &backend;
    made->process = backend.process();
    Call call(*made->process, Function::kDeviceOpen);
    call.out().put(index);
    const nacelle_status status = call.send(&backend.host(), error);
    if (status != NACELLE_OK) return status;
    made->id = call.in().get<std::uint64_t>();
    *device = to_handle<nacelle_device>(std::move(made));
    return status;
  });
}

void fill_table(nacelle_backend_api& api) {
  api.device_close = [](nacelle_device* device) { destroy<RemoteDevice>(Function::kDeviceClose, device); };
  api.supports = supports;
  api.prepare = prepare;
  api.weights_destroy = [](nacelle_weights* weights) { destroy<RemoteWeights>(Function::kWeightsDestroy, weights); };
  api.weights_bytes = weights_bytes;
  api.cache_block_bytes = cache_block_bytes;
  api.cache_create = cache_create;
  api.cache_destroy = [](nacelle_cache* cache) { destroy<RemoteCache>(Function::kCacheDestroy, cache); };
  api.copy_blocks = copy_blocks;
  api.compile = compile;
  api.bind = bind;
  api.plan_destroy = [](nacelle_plan* plan) { destroy<RemotePlan>(Function::kPlanDestroy, plan); };
  api.blocks = blocks;
  api.run = run;
  api.read_logits = read_logits;
  api.read_value = read_value;
  api.write_value = write_value;
  api.plan_statistics = plan_statistics;
  api.stream_create = stream_create;
  api.stream_destroy = [](nacelle_stream* stream) { destroy<RemoteStream>(Function::kStreamDestroy, stream); };
  api.stream_synchronize = [](nacelle_stream* stream) { return alive(of<RemoteStream>(stream)); };
  api.event_create = event_create;
  api.event_destroy = [](nacelle_event* event) { delete &of<RemoteEvent>(event); };
  api.event_record = [](nacelle_event* event, nacelle_stream*) { return alive(of<RemoteEvent>(event)); };
  api.event_wait = [](nacelle_event* event, nacelle_stream*) { return alive(of<RemoteEvent>(event)); };
  api.event_query = event_query;
  api.event_synchronize = [](nacelle_event* event) { return alive(of<RemoteEvent>(event)); };
  api.adapter_write = adapter_write;
  api.kernels = kernels;
  api.tune = tune;
  api.ceilings = ceilings;
}

}  // namespace nacelle::isolation
