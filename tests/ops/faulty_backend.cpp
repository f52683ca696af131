// A backend with one fault, for tests of what must notice it: the plugin named by the setting backend.faulty.target,
// with some of its functions replaced. backend.faulty.fault names the fault; backend.faulty.kind, .memory and .steps
// dress the device as another.
#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <nacelle/backend.hpp>
#include <string>

namespace {

using namespace nacelle::sdk;

nacelle_backend_api target;  // as the plugin behind gives it
nacelle_backend_api faulty;  // what this plugin gives
std::string fault;
std::uint32_t kind = 0;
std::uint64_t memory = 0;
std::atomic<std::int64_t> steps_left{-1};  // until the device is lost; negative: for ever

std::string setting(const nacelle_host* host, const std::string& name) {
  return Host(host, "faulty").config("backend.faulty." + name).value_or("");
}

nacelle_status device_info(std::uint32_t index, nacelle_device_info* info, nacelle_error** error) {
  const nacelle_status status = target.device_info(index, info, error);
  if (status != NACELLE_OK) return status;
  if (kind) info->kind = kind;
  if (memory && info->struct_size >= sizeof(nacelle_device_info)) info->memory_free = info->memory_total = memory;
  return status;
}

nacelle_status supports(nacelle_device* device, const nacelle_graph* graph, std::uint32_t op) {
  if (fault == "no_rope" && graph->ops[op]->kind == NACELLE_OP_ROPE) return NACELLE_UNIMPLEMENTED;
  return target.supports(device, graph, op);
}

nacelle_status run(nacelle_plan* plan, nacelle_stream* stream, std::uint32_t slot) {
  if (fault == "device_lost" && steps_left.fetch_sub(1) <= 0) return NACELLE_DEVICE_LOST;
  if (fault == "crash" && steps_left.fetch_sub(1) <= 0) std::abort();
  return target.run(plan, stream, slot);
}

// Wrong by a little, or only where a step has many rows.
nacelle_status read_value(nacelle_plan* plan, nacelle_stream* stream, std::uint32_t slot, std::uint32_t value,
                          float* data, std::uint64_t count) {
  const nacelle_status status = target.read_value(plan, stream, slot, value, data, count);
  if (status != NACELLE_OK || count == 0) return status;
  if (fault == "imprecise") data[0] += data[0] * 1e-2f + 1e-2f;
  if (fault == "rows" && count > 500) data[count - 1] += 1e-6f;
  return status;
}

nacelle_status event_query(nacelle_event*, std::uint32_t* done) {
  *done = 0;
  return NACELLE_OK;
}

nacelle_status plan_statistics(nacelle_plan* plan, nacelle_plan_statistics* statistics) {
  const nacelle_status status = target.plan_statistics(plan, statistics);
  statistics->submits_per_step = 2;
  return status;
}

// Where the fault is one of these: NACELLE_OK and no handle.
void make_nothing() {
  if (fault == "null_device") faulty.device_open = [](auto, auto, auto) -> nacelle_status { return NACELLE_OK; };
  if (fault == "null_stream") faulty.stream_create = [](auto, auto, auto) -> nacelle_status { return NACELLE_OK; };
  if (fault == "null_weights")
    faulty.prepare = [](auto, auto, auto, auto, auto, auto, auto, auto) -> nacelle_status { return NACELLE_OK; };
  if (fault == "null_cache") faulty.cache_create = [](auto, auto, auto, auto) -> nacelle_status { return NACELLE_OK; };
  if (fault == "null_plan")
    faulty.compile = [](auto, auto, auto, auto, auto, auto, auto) -> nacelle_status { return NACELLE_OK; };
  if (fault == "null_blocks") faulty.blocks = [](auto, auto, auto, auto) -> nacelle_status { return NACELLE_OK; };
}

const nacelle_host* services = nullptr;

// Packs its weights on the host's pool, where a range fails.
nacelle_status prepare(nacelle_device*, const nacelle_graph*, const nacelle_bucket* const*, std::uint32_t,
                       const nacelle_weight_source*, const nacelle_prepare_options*, nacelle_weights**,
                       nacelle_error** error) {
  return guard(services, error, [] {
    Host(services, "faulty").parallel_for(1000, 1, [](std::uint64_t, std::uint64_t end) {
      if (end > 100) throw Failure(NACELLE_INTERNAL, "a range of it fails");
    });
  });
}

void put_on(const nacelle_host* host) {
  const std::string path = setting(host, "target");
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) throw Failure(NACELLE_UNAVAILABLE, "faulty: cannot load its target '" + path + "'");
  const auto query = reinterpret_cast<nacelle_plugin_query_function>(dlsym(library, "nacelle_plugin_query"));
  auto info = make<nacelle_plugin_info>();
  nacelle_error* error = nullptr;
  if (!query || query(host, &info, &error) != NACELLE_OK) throw Failure(NACELLE_UNAVAILABLE, "faulty: no target");
  target = faulty = *static_cast<const nacelle_backend_api*>(info.api);
  fault = setting(host, "fault");
  kind = static_cast<std::uint32_t>(std::atoi(setting(host, "kind").c_str()));
  memory = std::strtoull(setting(host, "memory").c_str(), nullptr, 10);
  steps_left = std::atoll(setting(host, "steps").c_str());
  faulty.device_info = device_info;
  faulty.supports = supports;
  faulty.run = run;
  faulty.read_value = read_value;
  services = host;
  make_nothing();
  if (fault == "throws_on_pool") faulty.prepare = prepare;
  if (fault == "event") faulty.event_query = event_query;
  if (fault == "submits") faulty.plan_statistics = plan_statistics;
}

}  // namespace

NACELLE_PLUGIN_MANIFEST(NACELLE_PLUGIN_BACKEND, BACKEND, "faulty", "1.0");
NACELLE_EXPORT nacelle_status nacelle_plugin_query(const nacelle_host* host, nacelle_plugin_info* info,
                                                   nacelle_error** error) {
  return guard(host, error, [&] {
    put_on(host);
    nacelle::sdk::detail::answer_query(info, NACELLE_PLUGIN_BACKEND, NACELLE_BACKEND_ABI_MAJOR,
                                       NACELLE_BACKEND_ABI_MINOR, "faulty", "1.0", &faulty, [] {});
  });
}
