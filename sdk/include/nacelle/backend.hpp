// C++ layer for backend authors: derive from the classes below, then write NACELLE_BACKEND_PLUGIN(MyBackend, "name",
// "1.0") once. The thunks check sizes, turn exceptions into statuses, and hold the objects behind the opaque C handles.
// Each member is the function of that name in nacelle/backend.h, which says when it is called, by which thread, and
// what is whose. Those marked noexcept are on the per-token path and answer with a status; the others throw
// sdk::Failure.
#pragma once

#include <nacelle/backend.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <nacelle/plugin.hpp>
#include <span>
#include <string>
#include <vector>

namespace nacelle::sdk {

// Defaults are those of a device without queues: everything is done when the call returns.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual nacelle_status synchronize() noexcept { return NACELLE_OK; }
};

class Event {
 public:
  virtual ~Event() = default;
  virtual nacelle_status record(Stream&) noexcept { return NACELLE_OK; }
  virtual nacelle_status wait(Stream&) noexcept { return NACELLE_OK; }
  virtual nacelle_status query(bool& done) noexcept { return done = true, NACELLE_OK; }
  virtual nacelle_status synchronize() noexcept { return NACELLE_OK; }
};

class Cache {
 public:
  virtual ~Cache() = default;
  virtual nacelle_status copy_blocks(Stream&, std::uint32_t group, std::span<const nacelle_block_copy>) noexcept = 0;
};

// What copy_blocks checks before it copies any: all blocks are below `block_count`.
inline bool are_within(std::span<const nacelle_block_copy> pairs, std::uint32_t block_count) noexcept {
  return std::all_of(pairs.begin(), pairs.end(),
                     [&](const nacelle_block_copy& pair) { return pair.from < block_count && pair.to < block_count; });
}

class Plan {
 public:
  virtual ~Plan() = default;
  virtual void bind(Cache* cache) = 0;  // null: the graph has none
  virtual nacelle_status blocks(std::uint32_t slot, void*& step, const void*& output) noexcept = 0;
  virtual nacelle_status run(Stream&, std::uint32_t slot) noexcept = 0;
  virtual nacelle_status read_logits(Stream&, std::uint32_t slot, std::uint32_t row, bool adjusted,
                                     float* logits) noexcept = 0;
  // Of a split model, whose parts lie on several devices; UNIMPLEMENTED: this device takes whole models alone.
  virtual nacelle_status read_value(Stream&, std::uint32_t /*slot*/, std::uint32_t /*value*/,
                                    std::span<float>) noexcept {
    return NACELLE_UNIMPLEMENTED;
  }
  virtual nacelle_status write_value(Stream&, std::uint32_t /*slot*/, std::uint32_t /*value*/,
                                     std::span<const float>) noexcept {
    return NACELLE_UNIMPLEMENTED;
  }
  virtual nacelle_plan_statistics statistics() const noexcept = 0;
};

class Weights {
 public:
  virtual ~Weights() = default;
  virtual std::uint64_t bytes() const noexcept = 0;  // weights_bytes()
  virtual std::uint64_t cache_block_bytes(const nacelle_cache_options&, std::uint32_t group) const = 0;
  virtual std::unique_ptr<Cache> create_cache(const nacelle_cache_options&) = 0;
  virtual std::unique_ptr<Plan> compile(const nacelle_cache_options&, const nacelle_bucket&, nacelle_step_layout& step,
                                        nacelle_output_layout& output) = 0;
  virtual void write_adapter(Stream&, const nacelle_adapter_update&) {
    throw Failure(NACELLE_UNIMPLEMENTED, "adapters are not supported by this backend");
  }
  virtual void visit_kernels(const std::function<void(const nacelle_kernel_info&)>&) const {}
  virtual nacelle_tune_report tune(const nacelle_tune_options&) {
    throw Failure(NACELLE_UNIMPLEMENTED, "this backend has one variant of each kernel: there is nothing to tune");
  }
};

class Device {
 public:
  virtual ~Device() = default;
  virtual bool supports(const nacelle_graph&, const nacelle_op&) const noexcept = 0;
  virtual std::unique_ptr<Weights> prepare(const nacelle_graph&, std::span<const nacelle_bucket> buckets,
                                           const nacelle_weight_source&, const nacelle_prepare_options&) = 0;
  virtual std::unique_ptr<Stream> create_stream() { return std::make_unique<Stream>(); }
  virtual std::unique_ptr<Event> create_event() { return std::make_unique<Event>(); }
  virtual nacelle_ceilings ceilings() {
    throw Failure(NACELLE_UNIMPLEMENTED, "this backend does not measure its device");
  }
};

class Backend {
 public:
  virtual ~Backend() = default;
  // A glance that opens no driver: device_node_exists().
  virtual bool hardware_present() const noexcept { return true; }
  // `reason` is read when the answer is 0, and must stay valid.
  virtual std::uint32_t device_count(std::string_view& reason) = 0;
  virtual nacelle_device_info device_info(std::uint32_t index) = 0;
  virtual std::unique_ptr<Device> open(std::uint32_t index) = 0;
};

// ---- Step and output blocks in plain host memory, for backends without a layout of their own

namespace detail {
// Hands out offsets of consecutive arrays, each aligned to a cache line.
struct Offsets {
  std::uint64_t next = 0;
  std::uint64_t take(std::uint64_t bytes) {
    const std::uint64_t offset = next;
    next = (next + bytes + 63) / 64 * 64;
    return offset;
  }
};
}  // namespace detail

inline nacelle_step_layout make_step_layout(const nacelle_graph& graph, const nacelle_cache_options& cache,
                                            const nacelle_bucket& bucket, std::uint32_t slot_count) {
  detail::Offsets at;
  const std::uint64_t rows = bucket.rows, sequences = bucket.sequences, outputs = bucket.output_rows;
  const std::uint64_t mask_words = bucket.flags & NACELLE_BUCKET_MASKS ? (graph.vocabulary + 31) / 32 : 0;
  auto layout = make<nacelle_step_layout>();
  layout.table_width = cache.block_tokens ? (bucket.context + cache.block_tokens - 1) / cache.block_tokens : 0;
  layout.slot_count = slot_count;
  layout.header = at.take(sizeof(nacelle_step_header));
  layout.tokens = at.take(4 * rows);
  layout.positions = at.take(4 * rows);
  layout.row_sequences = at.take(4 * rows);
  layout.sequence_starts = at.take(4 * (sequences + 1));
  layout.sequence_lengths = at.take(4 * sequences);
  layout.block_tables = at.take(4 * graph.cache_group_count * sequences * layout.table_width);
  layout.output_rows = at.take(4 * outputs);
  layout.adapter_slots = at.take(4 * rows);
  layout.masks = at.take(4 * outputs * mask_words);
  layout.temperatures = at.take(4 * outputs);
  layout.adjustment_starts = at.take(4 * (outputs + 1));
  layout.adjustments = at.take(sizeof(nacelle_adjustment) * bucket.adjustments);
  for (std::uint32_t v = 0; v < graph.value_count; ++v)
    if (graph.values[v]->kind == NACELLE_VALUE_INPUT && graph.values[v]->role == NACELLE_INPUT_TOKEN_TYPES)
      layout.token_types = at.take(4 * rows);
  layout.size = at.next;
  return layout;
}

// `embedding_width` is 0 for graphs without an embedding output.
inline nacelle_output_layout make_output_layout(const nacelle_bucket& bucket, std::uint64_t embedding_width) {
  detail::Offsets at;
  const std::uint64_t outputs = bucket.output_rows, candidates = bucket.candidates;
  auto layout = make<nacelle_output_layout>();
  layout.ids = at.take(4 * outputs * candidates);
  layout.adjusted = at.take(4 * outputs * candidates);
  layout.raw = at.take(4 * outputs * candidates);
  layout.logsumexp = at.take(8 * outputs);
  layout.embedding = at.take(4 * std::max<std::uint64_t>(outputs, bucket.sequences) * embedding_width);
  layout.size = at.next;
  return layout;
}

// ---- Thunks

namespace detail {

// The plugin's one global: its host and its backend object, set by the query.
struct BackendPlugin {
  const nacelle_host* host = nullptr;
  std::unique_ptr<Backend> backend;
};
inline BackendPlugin& plugin() {
  static BackendPlugin instance;
  return instance;
}

// Opaque C handles are pointers to the classes above.
template <class Handle, class Object>
Handle* to_handle(std::unique_ptr<Object> object) {
  if (!object) throw Failure(NACELLE_INTERNAL, "the backend gave a null pointer where it makes an object");
  return reinterpret_cast<Handle*>(object.release());
}
inline Device& of(nacelle_device* handle) { return *reinterpret_cast<Device*>(handle); }
inline Weights& of(nacelle_weights* handle) { return *reinterpret_cast<Weights*>(handle); }
inline const Weights& of(const nacelle_weights* handle) { return *reinterpret_cast<const Weights*>(handle); }
inline Cache& of(nacelle_cache* handle) { return *reinterpret_cast<Cache*>(handle); }
inline Plan& of(nacelle_plan* handle) { return *reinterpret_cast<Plan*>(handle); }
inline Stream& of(nacelle_stream* handle) { return *reinterpret_cast<Stream*>(handle); }
inline Event& of(nacelle_event* handle) { return *reinterpret_cast<Event*>(handle); }

template <class Body>
nacelle_status guarded(nacelle_error** error, Body&& body) noexcept {
  return guard(plugin().host, error, std::forward<Body>(body));
}

inline void require(bool condition, const char* message) {
  if (!condition) throw Failure(NACELLE_INVALID_ARGUMENT, message);
}

inline void set_device_calls(nacelle_backend_api& api) {
  api.hardware_present = []() -> std::uint32_t { return plugin().backend->hardware_present(); };
  api.device_count = [](std::uint32_t* count, nacelle_string* reason, nacelle_error** error) {
    return guarded(error, [&] {
      std::string_view why;
      *count = plugin().backend->device_count(why);
      if (reason) *reason = view(why);
    });
  };
  api.device_info = [](std::uint32_t index, nacelle_device_info* info, nacelle_error** error) {
    return guarded(error, [&] { store(info, plugin().backend->device_info(index)); });
  };
  api.device_open = [](std::uint32_t index, nacelle_device** device, nacelle_error** error) {
    return guarded(error, [&] { *device = to_handle<nacelle_device>(plugin().backend->open(index)); });
  };
  api.device_close = [](nacelle_device* device) { delete &of(device); };
  api.supports = [](nacelle_device* device, const nacelle_graph* graph, std::uint32_t op) -> nacelle_status {
    if (op >= graph->op_count) return NACELLE_INVALID_ARGUMENT;
    return of(device).supports(*graph, *graph->ops[op]) ? NACELLE_OK : NACELLE_UNIMPLEMENTED;
  };
  api.ceilings = [](nacelle_device* device, nacelle_ceilings* ceilings, nacelle_error** error) {
    return guarded(error, [&] { store(ceilings, of(device).ceilings()); });
  };
}

inline void set_weight_calls(nacelle_backend_api& api) {
  api.prepare = [](nacelle_device* device, const nacelle_graph* graph, const nacelle_bucket* const* buckets,
                   std::uint32_t bucket_count, const nacelle_weight_source* source,
                   const nacelle_prepare_options* options, nacelle_weights** weights, nacelle_error** error) {
    return guarded(error, [&] {
      std::vector<nacelle_bucket> own;
      for (std::uint32_t i = 0; i < bucket_count; ++i) own.push_back(load(buckets[i]));
      *weights = to_handle<nacelle_weights>(of(device).prepare(*graph, own, load(source), load(options)));
    });
  };
  api.weights_destroy = [](nacelle_weights* weights) { delete &of(weights); };
  api.weights_bytes = [](const nacelle_weights* weights) { return of(weights).bytes(); };
  api.adapter_write = [](nacelle_weights* weights, nacelle_stream* stream, const nacelle_adapter_update* update,
                         nacelle_error** error) {
    return guarded(error, [&] { of(weights).write_adapter(of(stream), load(update)); });
  };
  api.kernels = [](const nacelle_weights* weights, nacelle_kernel_visitor visitor, void* context) {
    return guarded(
        nullptr, [&] { of(weights).visit_kernels([&](const nacelle_kernel_info& info) { visitor(context, &info); }); });
  };
  api.tune = [](nacelle_weights* weights, const nacelle_tune_options* options, nacelle_tune_report* report,
                nacelle_error** error) {
    return guarded(error, [&] { store(report, of(weights).tune(load(options))); });
  };
}

inline void set_cache_calls(nacelle_backend_api& api) {
  api.cache_block_bytes = [](const nacelle_weights* weights, const nacelle_cache_options* options, std::uint32_t group,
                             std::uint64_t* bytes, nacelle_error** error) {
    return guarded(error, [&] { *bytes = of(weights).cache_block_bytes(load(options), group); });
  };
  api.cache_create = [](nacelle_weights* weights, const nacelle_cache_options* options, nacelle_cache** cache,
                        nacelle_error** error) {
    return guarded(error, [&] {
      const nacelle_cache_options own = load(options);
      require(own.block_tokens && !(own.block_tokens & (own.block_tokens - 1)), "block_tokens is not a power of two");
      *cache = to_handle<nacelle_cache>(of(weights).create_cache(own));
    });
  };
  api.cache_destroy = [](nacelle_cache* cache) { delete &of(cache); };
  api.copy_blocks = [](nacelle_cache* cache, nacelle_stream* stream, std::uint32_t group,
                       const nacelle_block_copy* pairs, std::uint32_t count) {
    return of(cache).copy_blocks(of(stream), group, {pairs, count});
  };
}

inline void set_plan_calls(nacelle_backend_api& api) {
  api.compile = [](nacelle_weights* weights, const nacelle_cache_options* cache_options, const nacelle_bucket* bucket,
                   nacelle_plan** plan, nacelle_step_layout* step, nacelle_output_layout* output,
                   nacelle_error** error) {
    return guarded(error, [&] {
      const nacelle_bucket own = load(bucket);
      require(own.rows && own.sequences && own.output_rows && own.candidates,
              "a bucket needs rows, sequences, output rows and candidates");
      auto step_layout = make<nacelle_step_layout>();
      auto output_layout = make<nacelle_output_layout>();
      auto object = of(weights).compile(load(cache_options), own, step_layout, output_layout);
      store(step, step_layout);
      store(output, output_layout);
      *plan = to_handle<nacelle_plan>(std::move(object));
    });
  };
  api.bind = [](nacelle_plan* plan, nacelle_cache* cache, nacelle_error** error) {
    return guarded(error, [&] { of(plan).bind(cache ? &of(cache) : nullptr); });
  };
  api.plan_destroy = [](nacelle_plan* plan) { delete &of(plan); };
  api.blocks = [](nacelle_plan* plan, std::uint32_t slot, void** step, const void** output) {
    return of(plan).blocks(slot, *step, *output);
  };
  api.run = [](nacelle_plan* plan, nacelle_stream* stream, std::uint32_t slot) {
    return of(plan).run(of(stream), slot);
  };
  api.read_logits = [](nacelle_plan* plan, nacelle_stream* stream, std::uint32_t slot, std::uint32_t row,
                       std::uint32_t adjusted,
                       float* logits) { return of(plan).read_logits(of(stream), slot, row, adjusted != 0, logits); };
  api.read_value = [](nacelle_plan* plan, nacelle_stream* stream, std::uint32_t slot, std::uint32_t value, float* data,
                      std::uint64_t count) {
    return of(plan).read_value(of(stream), slot, value, {data, count});
  };
  api.write_value = [](nacelle_plan* plan, nacelle_stream* stream, std::uint32_t slot, std::uint32_t value,
                       const float* data, std::uint64_t count) {
    return of(plan).write_value(of(stream), slot, value, {data, count});
  };
  api.plan_statistics = [](nacelle_plan* plan, nacelle_plan_statistics* statistics) -> nacelle_status {
    store(statistics, of(plan).statistics());
    return NACELLE_OK;
  };
}

inline void set_stream_calls(nacelle_backend_api& api) {
  api.stream_create = [](nacelle_device* device, nacelle_stream** stream, nacelle_error** error) {
    return guarded(error, [&] { *stream = to_handle<nacelle_stream>(of(device).create_stream()); });
  };
  api.stream_destroy = [](nacelle_stream* stream) { delete &of(stream); };
  api.stream_synchronize = [](nacelle_stream* stream) { return of(stream).synchronize(); };
  api.event_create = [](nacelle_device* device, nacelle_event** event, nacelle_error** error) {
    return guarded(error, [&] { *event = to_handle<nacelle_event>(of(device).create_event()); });
  };
  api.event_destroy = [](nacelle_event* event) { delete &of(event); };
  api.event_record = [](nacelle_event* event, nacelle_stream* stream) { return of(event).record(of(stream)); };
  api.event_wait = [](nacelle_event* event, nacelle_stream* stream) { return of(event).wait(of(stream)); };
  api.event_query = [](nacelle_event* event, std::uint32_t* done) {
    bool answer = false;
    const nacelle_status status = of(event).query(answer);
    *done = answer;
    return status;
  };
  api.event_synchronize = [](nacelle_event* event) { return of(event).synchronize(); };
}

inline nacelle_backend_api make_backend_api() {
  auto api = make<nacelle_backend_api>();
  set_device_calls(api);
  set_weight_calls(api);
  set_cache_calls(api);
  set_plan_calls(api);
  set_stream_calls(api);
  return api;
}

}  // namespace detail
}  // namespace nacelle::sdk

// Once, at file scope. `Class` derives from nacelle::sdk::Backend and is constructed with a nacelle::sdk::Host.
#define NACELLE_BACKEND_PLUGIN(Class, name, version)                                                                 \
  NACELLE_PLUGIN_MANIFEST(NACELLE_PLUGIN_BACKEND, BACKEND, name, version);                                           \
  NACELLE_EXPORT nacelle_status nacelle_plugin_query(const nacelle_host* host, nacelle_plugin_info* info,            \
                                                     nacelle_error** error) {                                        \
    namespace detail = nacelle::sdk::detail;                                                                         \
    return nacelle::sdk::guard(host, error, [&] {                                                                    \
      static const nacelle_backend_api api = detail::make_backend_api();                                             \
      if (!detail::plugin().backend) {                                                                               \
        detail::plugin().host = host;                                                                                \
        detail::plugin().backend = std::make_unique<Class>(nacelle::sdk::Host(host, name));                          \
      }                                                                                                              \
      detail::answer_query(info, NACELLE_PLUGIN_BACKEND, NACELLE_BACKEND_ABI_MAJOR, NACELLE_BACKEND_ABI_MINOR, name, \
                           version, &api, [] { detail::plugin().backend.reset(); });                                 \
    });                                                                                                              \
  }
