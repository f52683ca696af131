#include "api/metrics/metrics.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>
#include <utility>

#include "api/version.hpp"

namespace nacelle::metrics {
namespace {

namespace prom = prometheus;
using prom::ClientMetric;
using prom::MetricType;
using Labels = std::vector<ClientMetric::Label>;

// What is read from an engine, in one table: a row is a sample; rows of one name stand together and differ in a label.
struct EngineMetric {
  const char* name;
  MetricType type;
  const char* help;
  double (*value)(const EngineStats&);
  const char* label = nullptr;
  const char* label_value = nullptr;
};

double used(std::uint32_t free, std::uint32_t total) { return total == 0 ? 0 : 1 - static_cast<double>(free) / total; }
// Of what a sequence needs, whichever is shorter.
double kv_use(const EngineStats& stats) {
  return std::max(used(stats.blocks_free, stats.blocks_total), used(stats.states_free, stats.states_total));
}

#define NACELLE_VALUE(expression) [](const EngineStats& s) { return static_cast<double>(expression); }
constexpr MetricType kCounter = MetricType::Counter, kGauge = MetricType::Gauge;
constexpr const char* kEnded = "finished_reason";
const EngineMetric kEngineMetrics[] = {
    {"nacelle_num_requests_running", kGauge, "Requests in the running batch.", NACELLE_VALUE(s.running)},
    {"nacelle_num_requests_waiting", kGauge, "Requests in the queue.", NACELLE_VALUE(s.waiting)},
    {"nacelle_kv_cache_usage_perc", kGauge, "Share of the KV blocks in use, or of the states if that is more, 0 to 1.",
     kv_use},
    {"nacelle_num_preemptions_total", kCounter, "Sequences that gave their KV blocks up and are computed again.",
     NACELLE_VALUE(s.preemptions)},
    {"nacelle_prompt_tokens_total", kCounter, "Prompt tokens computed.", NACELLE_VALUE(s.prompt_tokens)},
    {"nacelle_generation_tokens_total", kCounter, "Tokens generated.", NACELLE_VALUE(s.generated_tokens)},
    {"nacelle_prefix_cache_queries_total", kCounter, "Prompt tokens that were looked up in the prefix cache.",
     NACELLE_VALUE(s.prefix_tokens)},
    {"nacelle_prefix_cache_hits_total", kCounter, "Of them, those whose KV was found there.",
     NACELLE_VALUE(s.cached_tokens)},
    {"nacelle_requests_total", kCounter, "Requests accepted by the engine; one of n choices counts once.",
     NACELLE_VALUE(s.requests)},
    {"nacelle_requests_rejected_total", kCounter, "Requests refused because the queue was full.",
     NACELLE_VALUE(s.refused)},
    {"nacelle_request_success_total", kCounter, "Requests that ended with a whole answer.",
     NACELLE_VALUE(s.finished - s.finished_by_length), kEnded, "stop"},
    {"nacelle_request_success_total", kCounter, "", NACELLE_VALUE(s.finished_by_length), kEnded, "length"},
    {"nacelle_request_failure_total", kCounter, "Requests that ended without one.", NACELLE_VALUE(s.cancelled), kEnded,
     "abort"},
    // A late request is counted as such a moment before it is one of the failed.
    {"nacelle_request_failure_total", kCounter, "", NACELLE_VALUE(s.failed - std::min(s.failed, s.timed_out)), kEnded,
     "error"},
    {"nacelle_request_failure_total", kCounter, "", NACELLE_VALUE(s.timed_out), kEnded, "timeout"},
    {"nacelle_spec_decode_num_draft_tokens_total", kCounter, "Tokens guessed ahead of the model.",
     NACELLE_VALUE(s.guessed_tokens)},
    {"nacelle_spec_decode_num_accepted_tokens_total", kCounter, "Guessed tokens that came true.",
     NACELLE_VALUE(s.accepted_tokens)},
    {"nacelle_engine_steps_total", kCounter, "Steps of the engine.", NACELLE_VALUE(s.steps)},
    {"nacelle_step_seconds_total", kCounter, "Time of the engine's steps, by phase.", NACELLE_VALUE(s.plan_seconds),
     "phase", "plan"},
    {"nacelle_step_seconds_total", kCounter, "", NACELLE_VALUE(s.device_seconds), "phase", "device"},
    {"nacelle_step_seconds_total", kCounter, "", NACELLE_VALUE(s.sample_seconds), "phase", "sample"},
    {"nacelle_step_seconds_total", kCounter, "", NACELLE_VALUE(s.draft_seconds), "phase", "draft"},
    {"nacelle_engine_cpu_seconds_total", kCounter, "CPU time of the engine's thread, but for the device's part.",
     NACELLE_VALUE(s.host_cpu_seconds)},
};
#undef NACELLE_VALUE

struct EngineHistogram {
  const char* name;
  const char* help;
  HistogramSnapshot EngineStats::*value;
};
constexpr EngineHistogram kEngineHistograms[] = {
    {"nacelle_time_to_first_token_seconds", "From a request's arrival to its first token.", &EngineStats::first_token},
    {"nacelle_inter_token_latency_seconds", "Between two tokens of a request.", &EngineStats::inter_token},
    {"nacelle_request_queue_time_seconds", "From a request's arrival to the first step that computes it.",
     &EngineStats::queue_time},
    {"nacelle_e2e_request_latency_seconds", "From a request's arrival to its last token.", &EngineStats::request_time},
    {"nacelle_iteration_tokens", "Tokens computed in a step: the rows of its batch.", &EngineStats::step_rows},
};

// Families in the order of their first sample.
class Families {
 public:
  ClientMetric& add(const char* name, MetricType type, const char* help, Labels labels) {
    auto found = std::find_if(list_.begin(), list_.end(), [&](const auto& family) { return family.name == name; });
    if (found == list_.end()) found = list_.insert(found, prom::MetricFamily{name, help, type, {}});
    ClientMetric& metric = found->metric.emplace_back();
    metric.label = std::move(labels);
    return metric;
  }
  void add(const char* name, MetricType type, const char* help, Labels labels, double value) {
    ClientMetric& metric = add(name, type, help, std::move(labels));
    (type == kCounter ? metric.counter.value : metric.gauge.value) = value;
  }
  std::vector<prom::MetricFamily> take() { return std::move(list_); }

 private:
  std::vector<prom::MetricFamily> list_;
};

void add_histogram(Families& families, const EngineHistogram& row, Labels labels, const HistogramSnapshot& from) {
  auto& histogram = families.add(row.name, MetricType::Histogram, row.help, std::move(labels)).histogram;
  for (std::size_t i = 0; i <= from.bounds.size(); ++i) {
    histogram.sample_count += from.counts[i];
    const double bound = i < from.bounds.size() ? from.bounds[i] : std::numeric_limits<double>::infinity();
    histogram.bucket.push_back({histogram.sample_count, bound});
  }
  histogram.sample_sum = from.sum;
}

std::string joined(const std::set<std::string>& names) { return fmt::format("{}", fmt::join(names, ",")); }

// The Gateway API Inference Extension's model server protocol reads queue, KV use and this one.
void add_adapters(Families& families, const Labels& model, const EngineStats& stats) {
  Labels labels = model;
  labels.push_back({"max_lora", std::to_string(stats.max_adapters)});
  labels.push_back({"running_lora_adapters", joined(stats.running_adapters)});
  labels.push_back({"waiting_lora_adapters", joined(stats.waiting_adapters)});
  families.add("nacelle_lora_requests_info", kGauge, "LoRA adapters that run and that wait; the value is a timestamp.",
               std::move(labels), static_cast<double>(std::time(nullptr)));
}

// A group's first reader goes by the model's name alone; the others' series have a label more.
void add_model(Families& families, const openai::ServedModel& served, bool is_first) {
  const EngineStats stats = served.engine.stats();
  Labels name = {{"model_name", served.name()}};
  if (!is_first) name.push_back({"reader", served.reader});
  for (const EngineMetric& row : kEngineMetrics) {
    Labels labels = name;
    if (row.label) labels.push_back({row.label, row.label_value});
    families.add(row.name, row.type, row.help, std::move(labels), row.value(stats));
  }
  for (const EngineHistogram& row : kEngineHistograms) add_histogram(families, row, name, stats.*row.value);
  add_adapters(families, name, stats);
  families.add("nacelle_model_weights_bytes", kGauge, "Packed weights on the model's devices.", name,
               static_cast<double>(served.model->weight_bytes()));
  families.add("nacelle_kv_cache_bytes", kGauge, "KV cache on the model's devices.", name,
               static_cast<double>(served.model->cache_bytes()));
  Labels info = name;
  info.push_back({"architecture", served.model->architecture_plugin()});
  info.push_back({"placement", to_string(served.model->placement())});
  families.add("nacelle_model_info", kGauge, "1 for each model that is served.", std::move(info), 1);
}

// Those that models run on; the other backends' drivers are left alone.
void add_devices(Families& families, const PluginHost& host, const std::vector<openai::ServedModelPtr>& models) {
  std::set<std::string> names;
  for (const auto& served : models)
    for (const Placement& part : served->model->placement()) names.insert(part.device);
  for (const std::string& name : names) {
    try {
      const DeviceRecord device = host.find_device(name);
      families.add("nacelle_device_memory_total_bytes", kGauge, "Memory of a device that models run on.",
                   {{"device", name}}, static_cast<double>(device.memory_total));
      families.add("nacelle_device_memory_free_bytes", kGauge, "Of it, what is free.", {{"device", name}},
                   static_cast<double>(device.memory_free));
    } catch (const Error&) {
      // Lost: its memory cannot be read. /readyz and the requests say so.
    }
  }
}

void add_isolated(Families& families, const PluginHost& host) {
  for (const PluginRecord& plugin : host.plugins()) {
    if (!plugin.losses) continue;
    families.add("nacelle_plugin_process_deaths_total", kCounter, "Deaths of an isolated plugin's process.",
                 {{"plugin", plugin.name}}, static_cast<double>(plugin.losses->load()));
  }
}

// The names and meanings that every Prometheus client has.
void add_process(Families& families) {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t pages = 0, resident = 0;
  statm >> pages >> resident;
  families.add("process_resident_memory_bytes", kGauge, "Resident memory.", {},
               static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  families.add("process_cpu_seconds_total", kCounter, "User and system CPU time.", {},
               seconds(use.ru_utime) + seconds(use.ru_stime));
  std::error_code error;
  const std::filesystem::directory_iterator descriptors("/proc/self/fd", error);
  if (!error)
    families.add("process_open_fds", kGauge, "Open file descriptors.", {},
                 static_cast<double>(std::distance(begin(descriptors), end(descriptors))));
}

}  // namespace

struct Metrics::State {
  State(const openai::ServedModels& served, const PluginHost& plugins) : models(served), host(plugins) {}

  const openai::ServedModels& models;
  const PluginHost& host;
  const double started = static_cast<double>(std::time(nullptr));
  std::atomic<const http::Server*> server{nullptr};
  prom::Registry registry;  // of what is counted as it happens
  prom::Family<prom::Counter>& requests = prom::BuildCounter()
                                              .Name("nacelle_http_requests_total")
                                              .Help("HTTP requests, by route and status; 499: the client left.")
                                              .Register(registry);
  prom::Family<prom::Histogram>& durations = prom::BuildHistogram()
                                                 .Name("nacelle_http_request_duration_seconds")
                                                 .Help("From the end of a request's header to the end of its answer.")
                                                 .Register(registry);
};

Metrics::Metrics(const openai::ServedModels& models, const PluginHost& host)
    : state_(std::make_unique<State>(models, host)) {}
Metrics::~Metrics() = default;

void Metrics::watch(const http::Server* server) { state_->server = server; }

void Metrics::count(const http::RequestRecord& record) {
  // Paths and methods that no route has are the client's to choose, and would each become a series.
  const bool known = !record.route.empty();
  const std::string route(known ? record.route : "other");
  const std::string method = known ? record.request.method : "other";
  state_->requests.Add({{"route", route}, {"method", method}, {"status", std::to_string(record.status)}}).Increment();
  static const prom::Histogram::BucketBoundaries kBounds = {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60};
  state_->durations.Add({{"route", route}}, kBounds).Observe(record.seconds);
}

std::string Metrics::text() const {
  Families families;
  const auto models = state_->models.list();
  std::set<std::string> names;
  for (const auto& model : models) add_model(families, *model, names.insert(model->name()).second);
  add_devices(families, state_->host, models);
  add_isolated(families, state_->host);
  if (const http::Server* server = state_->server) {
    families.add("nacelle_http_connections", kGauge, "Open connections.", {},
                 static_cast<double>(server->connections()));
    families.add("nacelle_http_requests_active", kGauge, "Requests whose answer is under way.", {},
                 static_cast<double>(server->active()));
  }
  families.add("nacelle_build_info", kGauge, "1; the version is a label.", {{"version", version()}}, 1);
  families.add("process_start_time_seconds", kGauge, "Start of the process, Unix time.", {}, state_->started);
  add_process(families);

  std::vector<prom::MetricFamily> all = families.take();
  for (prom::MetricFamily& family : state_->registry.Collect()) all.push_back(std::move(family));
  std::ostringstream out;
  prom::TextSerializer().Serialize(out, all);
  return std::move(out).str();
}

std::vector<http::Route> metrics_routes(const Metrics& metrics) {
  constexpr const char* kType = "text/plain; version=0.0.4; charset=utf-8";
  return {{"GET", "/metrics", http::answer([&metrics](const http::Request&) {
             return http::Response{200, metrics.text(), kType, {}};
           }),
           http::Where::kWorker, http::Access::kOpen}};
}

}  // namespace nacelle::metrics
