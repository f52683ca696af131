// serve: listen first, so that probes get an answer, then load, then serve until a signal.
#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <thread>

#include "api/cli/commands.hpp"
#include "api/cli/demo_model.hpp"
#include "api/cli/setup.hpp"
#include "api/cli/shutdown.hpp"
#include "api/http/wire.hpp"
#include "api/manage/keys.hpp"
#include "api/manage/recovery.hpp"
#include "api/sites.hpp"
#include "core/base/log.hpp"

namespace nacelle::cli {
namespace {

using openai::ServedModels;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kUsualLoras = 4;
constexpr std::chrono::milliseconds kFarewell{500};

// Of "MODEL.gguf,dev=cpu", where the path ends in front of the comma.
void check_settings(const std::string& text) {
  const auto comma = text.rfind(',');
  if (comma == std::string::npos || text.find('=', comma) == std::string::npos) return;
  const std::string front = text.substr(0, comma);
  std::error_code ignored;
  if (std::filesystem::exists(front, ignored) || std::filesystem::exists(front.substr(front.find('=') + 1), ignored))
    throw Error(
        ErrorKind::kInvalidArgument,
        "--model " + text + ": '" + text.substr(comma + 1) + "' is no setting of a model; expected device=DEVICE",
        "model");
}

// "[NAME=]PATH[,device=DEVICE]". A '=' behind a '/' belongs to the path.
manage::LoadSpec split_model(std::string text) {
  constexpr std::string_view kDevice = ",device=";
  manage::LoadSpec spec;
  if (const auto device = text.rfind(kDevice); device != std::string::npos) {
    spec.device = text.substr(device + kDevice.size());
    text.resize(device);
  }
  check_settings(text);
  const auto equals = text.find('=');
  spec.path = text;
  if (equals == std::string::npos || text.find('/') < equals) return spec;
  if (equals == 0 || equals + 1 == text.size()) {
    throw Error(ErrorKind::kInvalidArgument, "--model must be [NAME=]PATH[,device=DEVICE], not '" + text + "'",
                "model");
  }
  spec.name = text.substr(0, equals);
  spec.path = text.substr(equals + 1);
  return spec;
}

// "NAME=PATH[,model=MODEL]"
manage::AdapterSpec split_lora(const std::string& text) {
  constexpr std::string_view kModel = ",model=";
  const auto equals = text.find('=');
  const auto model = text.rfind(kModel);
  const bool named = model != std::string::npos && model > equals;
  manage::AdapterSpec spec;
  if (equals != std::string::npos)
    spec = {text.substr(0, equals), text.substr(equals + 1, named ? model - equals - 1 : std::string::npos)};
  if (named) spec.base = text.substr(model + kModel.size());
  if (spec.name.empty() || spec.path.empty() || (named && spec.base.empty()))
    throw Error(ErrorKind::kInvalidArgument, "--lora must be NAME=PATH[,model=MODEL], not '" + text + "'", "lora");
  return spec;
}

// "NAME[=MODEL]"
ServedModels::Alias split_alias(const std::string& text) {
  const auto equals = text.find('=');
  ServedModels::Alias alias{text.substr(0, equals), equals == std::string::npos ? "" : text.substr(equals + 1)};
  const auto star = alias.name.find('*');
  if (alias.name.empty() || (star != std::string::npos && star + 1 < alias.name.size()))
    throw Error(ErrorKind::kInvalidArgument,
                "--alias must be NAME[=MODEL], with a '*' at most at the name's end, not '" + text + "'", "alias");
  return alias;
}

EngineOptions engine_options(const ServeOptions& options) {
  EngineOptions engine;
  engine.max_queue = options.max_queue;
  engine.max_queue_per_client = options.max_queue_per_client;
  engine.prefix_cache = !options.no_prefix_cache;
  engine.speculation.lookup = !options.no_speculation;
  return engine;
}

// A model of its own for each that it guesses for: on the same device, with the same context.
std::shared_ptr<Model> load_draft(const ServeOptions& options, ModelFlags flags, PluginHost& host,
                                  const Model& target) {
  flags.context = target.context();
  flags.cache_tokens = 0;
  flags.split.clear();
  flags.max_loras = 0;
  return load_model(host, flags, options.draft_model, {});
}

openai::ServedModelPtr load_served(const ServeOptions& options, PluginHost& host, const manage::LoadSpec& spec) {
  ModelFlags flags = options.model;
  if (flags.max_loras == 0 && !options.loras.empty()) flags.max_loras = kUsualLoras;
  if (!spec.device.empty() || !spec.split.empty()) flags.device = spec.device, flags.split = spec.split;
  if (spec.context != 0) flags.context = spec.context;
  if (spec.max_sequences != 0) flags.max_sequences = spec.max_sequences;
  auto loaded = load_model(host, flags, spec.path, {.name = spec.name});
  log::info("{}: {} on {}, context {} tokens", loaded->name(), loaded->architecture_plugin(),
            to_string(loaded->placement()), loaded->context());
  EngineOptions engine = engine_options(options);
  if (!options.draft_model.empty()) {
    engine.speculation.draft = load_draft(options, flags, host, *loaded);
    engine.speculation.max_guesses = options.draft_tokens;
  }
  return std::make_shared<openai::ServedModel>(std::move(loaded), std::move(engine),
                                               openai::ServedModel::Place{.group = spec.name,
                                                                          .reader = spec.reader,
                                                                          .source = spec.path,
                                                                          .device = spec.device,
                                                                          .split = spec.split,
                                                                          .context = spec.context,
                                                                          .max_sequences = spec.max_sequences});
}

// A model may still come at run time, so this is no failure.
void warn_of_idle_aliases(const std::vector<ServedModels::Alias>& aliases, const ServedModels& models) {
  const auto names = models.names();
  for (const ServedModels::Alias& alias : aliases)
    if (!alias.model.empty() &&
        std::ranges::none_of(names, [&](const auto& one) { return one->name() == alias.model; }))
      log::warning("--alias {}={}: no model or adapter of that name is served", alias.name, alias.model);
}

// All flags are read before the first model is loaded, which may take long.
void load_models(const ServeOptions& options, PluginHost& host, ServedModels& models) {
  std::vector<ServedModels::Alias> aliases;
  for (const std::string& text : options.aliases) aliases.push_back(split_alias(text));
  models.set_aliases(aliases);
  std::vector<manage::AdapterSpec> adapters;
  for (const std::string& text : options.loras) adapters.push_back(split_lora(text));
  std::vector<manage::LoadSpec> wanted;
  for (const std::string& text : options.models) wanted.push_back(split_model(text));
  if (wanted.empty()) {
    // A variable without a value counts as none, as for all settings; but the model was perhaps to come from there.
    const char* variable = std::getenv("NACELLE_MODEL");
    if (variable && *variable == '\0') log::warning("NACELLE_MODEL is empty: the built-in demo model is served");
    wanted.emplace_back();
  }
  for (const manage::LoadSpec& spec : wanted) models.add(load_served(options, host, spec), true);
  for (const manage::AdapterSpec& adapter : adapters) manage::add_adapter(models, adapter);
  warn_of_idle_aliases(aliases, models);
}

// One line a request. Probes and scrapes come every few seconds, and a page has many files: theirs are for --log-level
// debug.
void log_request(const http::RequestRecord& record) {
  const bool quiet =
      record.status < 400 && (record.route == "/metrics" || record.route.find("/health/") != std::string_view::npos ||
                              record.route == "/livez" || record.route == "/readyz" || record.route == "/ui/{file}");
  const http::Request& request = record.request;
  const std::string* parent = request.header("traceparent");
  log::event(quiet ? log::Level::kDebug : log::Level::kInfo, "request",
             {{"method", request.method},
              {"path", request.path},
              {"status", record.status},
              {"ms", record.seconds * 1000},
              {"prompt_tokens", record.tokens.prompt},
              {"completion_tokens", record.tokens.completion},
              {"id", request.id},
              {"client", request.client},
              {"trace", parent ? http::trace_id(*parent) : std::string_view()}});
}

bool is_loopback(const std::string& address) { return address.starts_with("127.") || address == "::1"; }

// Returns the port; 0: there is no such listener.
std::uint16_t listen_manage(const ServeOptions& options, http::Server& server, const SiteParts& parts,
                            const std::shared_ptr<manage::KeyRing>& keys) {
  if (options.manage_port == "off" || options.manage_port == "0") return 0;
  char* end = nullptr;
  const unsigned long port = std::strtoul(options.manage_port.c_str(), &end, 10);
  if (*end != '\0' || port > 65535) {
    throw Error(ErrorKind::kInvalidArgument, "--manage-port must be a port or off, not '" + options.manage_port + "'",
                "manage-port");
  }
  if (!keys && !is_loopback(options.manage_address)) {
    throw Error(ErrorKind::kInvalidArgument,
                "--manage-host " + options.manage_address +
                    ": whoever reaches it could load and unload models; give --api-keys too, or stay on 127.0.0.1",
                "manage-host");
  }
  try {
    return server.listen(options.manage_address, static_cast<std::uint16_t>(port), manage_site(parts),
                         keys ? manage::admit_by_key(keys) : manage::admit_local(options.http.cors_origin));
  } catch (const Error& error) {
    if (options.manage_port_set) throw;  // the default may be another server's, and is no reason not to serve
    log::warning("no management port: {}", error.what());
    return 0;
  }
}

std::string url_of(const std::string& address, std::uint16_t port, bool tls) {
  const bool v6 = address.find(':') != std::string::npos;
  return fmt::format("{}://{}:{}", tls ? "https" : "http", v6 ? "[" + address + "]" : address, port);
}

// `manage_port` 0: there is no such listener.
void print_ready(const ServeOptions& options, std::uint16_t port, std::uint16_t manage_port) {
  const bool tls = !options.http.tls_certificate.empty();
  const std::string url = url_of(options.address, port, tls);
  std::printf("ready on %s\n", url.c_str());
  if (manage_port != 0) std::printf("for operators: %s\n", url_of(options.manage_address, manage_port, tls).c_str());
  std::printf(
      "try: curl %s/v1/chat/completions%s -H 'Content-Type: application/json' -d '{\"messages\": [{\"role\": \"user\", "
      "\"content\": \"What is the capital of France?\"}]}'\n",
      url.c_str(), options.key_file.empty() ? "" : " -H 'Authorization: Bearer KEY'");
  std::fflush(stdout);
}

const char* name_of_signal(int signal) {
  return signal == SIGTERM ? "SIGTERM" : signal == SIGINT ? "SIGINT" : "SIGHUP";  // ShutdownSignal takes no other
}

// What still runs at the deadline ends with a failure that says why: streams and background responses in their last
// event, others with a 503. As far as that is sent quickly.
void cut(ServedModels& models, http::Server& server) {
  for (const auto& model : models.list()) model->engine.cancel_all();
  for (const auto& model : models.list()) model->engine.drain(kFarewell);
  server.settle();
  const auto deadline = Clock::now() + kFarewell;
  while (server.active() > 0 && Clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

// New work is refused, answers under way go on, those in the background too. True when all are sent, false at the
// deadline.
bool drain(ServedModels& models, http::Server& server, std::chrono::seconds limit) {
  const auto deadline = Clock::now() + limit;
  const auto left = [&] { return std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()); };
  models.set_state(ServedModels::State::kDraining);
  server.close_after_answers();
  bool done = true;
  for (const auto& model : models.list()) done = model->engine.drain(left()) && done;
  server.settle();  // the ends of those that no connection waits for
  while (done && server.active() > 0 && left().count() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  if (done && server.active() == 0) return true;
  cut(models, server);
  return false;
}

// A connection is an open file, and a shell's limit is 1,024 of them.
void allow_open_files(std::uint32_t connections) {
  constexpr rlim_t kOthers = 256;  // models, plugins, logs, downloads
  rlimit limit{};
  const rlim_t wanted = connections + kOthers;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted)
    log::warning("{} files may be open (ulimit -n): fewer than --max-connections {} and {} others need", limit.rlim_cur,
                 connections, kOthers);
}

}  // namespace

int run_command(const ServeOptions& options) {
  ShutdownSignal signal;
  const auto host = make_host(options.host);
  allow_open_files(options.http.max_connections);
  const auto keys = options.key_file.empty() ? nullptr : std::make_shared<manage::KeyRing>(options.key_file);
  ServedModels models;
  manage::ModelManager manager(
      models, [&](const manage::LoadSpec& spec) { return load_served(options, *host, spec); },
      options.host.max_memory != 0);
  metrics::Metrics metrics(models, *host);
  ui::Listeners listeners;
  http::ServerOptions http = options.http;
  http.on_answer = [&metrics](const http::RequestRecord& record) {
    metrics.count(record);
    log_request(record);
  };
  http::Server server(std::move(http));
  metrics.watch(&server);
  const SiteParts parts{models, manager, metrics, *host, listeners};
  listeners.inference.loopback = is_loopback(options.address);
  listeners.manage.loopback = is_loopback(options.manage_address);
  const std::uint16_t port = server.listen(options.address, options.port, public_site(parts),
                                           keys ? manage::admit_by_key(keys) : http::Admit());
  listeners.inference.port = port;
  listeners.manage.port = listen_manage(options, server, parts, keys);
  load_models(options, *host, models);
  if (!options.http.tls_certificate.empty()) signal.on_hangup([&server] { server.reload_tls(); });
  signal.arm();
  models.set_state(ServedModels::State::kReady);
  std::optional<manage::Recovery> recovery;
  if (!options.host.isolated.empty()) recovery.emplace(models, manager);
  print_ready(options, port, listeners.manage.port);

  log::info("{}: finishing what runs, {} s at most", name_of_signal(signal.wait()), options.drain_seconds);
  recovery.reset();
  const bool drained = drain(models, server, std::chrono::seconds(options.drain_seconds));
  signal.on_hangup({});
  if (drained)
    log::info("stopped: all answers were sent");
  else
    log::warning("stopped: answers still ran after {} s and were cut", options.drain_seconds);
  if (!drained || !manager.idle()) {
    std::fflush(nullptr);
    std::_Exit(0);  // nothing is left to save, and unwinding would wait for what did not end
  }
  return 0;
}

}  // namespace nacelle::cli
