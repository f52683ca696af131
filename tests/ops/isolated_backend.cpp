// A backend in a process of its own, as a plugin again: so that nacelle-conformance can hold what --isolate puts
// between the host and a plugin to all that it asks of a plugin. backend.isolated.target names the plugin behind,
// backend.isolated.program what runs it.
#include <memory>
#include <nacelle/backend.hpp>
#include <string>

#include "core/plugin_host/isolation/backend.hpp"

namespace {

using namespace nacelle;

const nacelle_backend_api* table = nullptr;
void (*end)() = nullptr;

void put_between(const nacelle_host* host) {
  const sdk::Host services(host, "isolated");
  isolation::LoadMessage message;
  message.plugin = services.config("backend.isolated.target").value_or("");
  message.setup.threads = services.team_size();
  message.log_level = log::Level::kWarning;
  isolation::ProcessOptions options;
  options.plugin = "isolated";
  options.program = services.config("backend.isolated.program").value_or("");
  auto& backend = isolation::IsolatedBackend::create(*host, options, message);
  if (backend.status() != PluginStatus::kLoaded) throw sdk::Failure(NACELLE_UNAVAILABLE, backend.reason());
  table = backend.table();
  end = backend.shutdown();
}

}  // namespace

NACELLE_PLUGIN_MANIFEST(NACELLE_PLUGIN_BACKEND, BACKEND, "isolated", "1.0");
NACELLE_EXPORT nacelle_status nacelle_plugin_query(const nacelle_host* host, nacelle_plugin_info* info,
                                                   nacelle_error** error) {
  return sdk::guard(host, error, [&] {
    if (!table) put_between(host);
    sdk::detail::answer_query(info, NACELLE_PLUGIN_BACKEND, NACELLE_BACKEND_ABI_MAJOR, NACELLE_BACKEND_ABI_MINOR,
                              "isolated", "1.0", table, [] {
                                table = nullptr;
                                end();
                              });
  });
}
