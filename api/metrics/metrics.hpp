// GET /metrics in Prometheus' text format. Nothing is collected but when asked: the engines' counters are read at the
// scrape, and an HTTP request is counted once, when it is over. prometheus-cpp stays in metrics.cpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/http/server.hpp"
#include "api/openai/served_models.hpp"
#include "core/plugin_host/plugin_host.hpp"

namespace nacelle::metrics {

class Metrics {
 public:
  // Both must outlive the object.
  Metrics(const openai::ServedModels& models, const PluginHost& host);
  ~Metrics();

  // [any thread] For http::ServerOptions.on_answer.
  void count(const http::RequestRecord& record);
  // [any thread] `server` adds its connections; it must outlive the object, or the call that takes it back with
  // nullptr.
  void watch(const http::Server* server);
  // [any thread]
  std::string text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// `metrics` must outlive the server.
std::vector<http::Route> metrics_routes(const Metrics& metrics);

}  // namespace nacelle::metrics
