// serve: listen first, so that probes get an answer, then load, then serve until a signal.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <thread>

#include "api/cli/commands.hpp"
#include "api/cli/demo_model.hpp"
#include "api/cli/setup.hpp"
#include "api/cli/shutdown.hpp"
#include "api/manage/health.hpp"
#include "api/openai/routes.hpp"
#include "api/serving/routes.hpp"
#include "core/base/log.hpp"

namespace nacelle::cli {
namespace {

using openai::ServedModels;
using Clock = std::chrono::steady_clock;

struct NamedPath {
  std::string name, path;
};

// "NAME=PATH" or "PATH". A '=' behind a '/' belongs to the path.
NamedPath split_model(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || text.find('/') < equals) return {"", text};
  if (equals == 0 || equals + 1 == text.size()) {
    throw Error(ErrorKind::kInvalidArgument, "--model must be [NAME=]PATH, not '" + text + "'", "model");
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

void load_models(const ServeOptions& options, PluginHost& host, ServedModels& models) {
  const std::vector<std::string> wanted = options.models.empty() ? std::vector<std::string>{""} : options.models;
  std::set<std::string> names;
  for (const std::string& text : wanted) {
    const NamedPath model = split_model(text);
    auto loaded = load_model(host, options.model, model.path, {.name = model.name});
    if (!names.insert(loaded->name()).second) {
      throw Error(ErrorKind::kInvalidArgument, "two models are called '" + loaded->name() + "'; use --model NAME=PATH",
                  "model");
    }
    log::info("{}: {} on {}, context {} tokens", loaded->name(), loaded->architecture_plugin(),
              to_string(loaded->placement()), loaded->context());
    models.add(std::make_shared<openai::ServedModel>(std::move(loaded), EngineOptions{.max_queue = options.max_queue}));
  }
}

std::vector<http::Route> join(std::vector<http::Route> a, const std::vector<http::Route>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

void listen_manage(const ServeOptions& options, http::Server& server, const ServedModels& models) {
  if (options.manage_port == "off" || options.manage_port == "0") return;
  char* end = nullptr;
  const unsigned long port = std::strtoul(options.manage_port.c_str(), &end, 10);
  if (*end != '\0' || port > 65535) {
    throw Error(ErrorKind::kInvalidArgument, "--manage-port must be a port or off, not '" + options.manage_port + "'",
                "manage-port");
  }
  try {
    server.listen("127.0.0.1", static_cast<std::uint16_t>(port),
                  http::Router(join(manage::health_routes(models), openai::model_routes(models))));
  } catch (const Error& error) {
    if (options.manage_port_set) throw;  // the default may be another server's, and is no reason not to serve
    log::warning("no management port: {}", error.what());
  }
}

void print_ready(const std::string& address, std::uint16_t port) {
  const bool v6 = address.find(':') != std::string::npos;
  const std::string url = "http://" + (v6 ? "[" + address + "]" : address) + ":" + std::to_string(port);
  std::printf("ready on %s\n", url.c_str());
  std::printf(
      "try: curl %s/v1/chat/completions -H 'Content-Type: application/json' -d '{\"messages\": [{\"role\": \"user\", "
      "\"content\": \"What is the capital of France?\"}]}'\n",
      url.c_str());
  std::fflush(stdout);
}

// New work is refused, answers under way go on. True when all are sent, false at the deadline.
bool drain(ServedModels& models, http::Server& server, std::chrono::seconds limit) {
  const auto deadline = Clock::now() + limit;
  const auto left = [&] { return std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()); };
  models.set_state(ServedModels::State::kDraining);
  server.close_after_answers();
  bool done = true;
  for (const auto& model : models.list()) done = model->engine.drain(left()) && done;
  while (done && server.active() > 0 && left().count() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return done && server.active() == 0;
}

}  // namespace

int run_command(const ServeOptions& options) {
  ShutdownSignal signal;
  const auto host = make_host(options.host);
  ServedModels models;
  http::Server server(options.http);
  const std::uint16_t port =
      server.listen(options.address, options.port,
                    http::Router(join(join(manage::health_routes(models), openai::model_routes(models)),
                                      serving::inference_routes(models))));
  listen_manage(options, server, models);
  load_models(options, *host, models);
  signal.arm();
  models.set_state(ServedModels::State::kReady);
  print_ready(options.address, port);

  log::info("signal {}: finishing what runs, {} s at most", signal.wait(), options.drain_seconds);
  if (!drain(models, server, std::chrono::seconds(options.drain_seconds))) {
    log::warning("answers still ran after {} s and were cut", options.drain_seconds);
    std::fflush(nullptr);
    std::_Exit(0);  // nothing is left to save, and unwinding would wait for what did not end
  }
  return 0;
}

}  // namespace nacelle::cli
