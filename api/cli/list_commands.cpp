// plugins, devices: what is there, what is not used, and why.
#include "api/cli/commands.hpp"
#include "api/cli/output.hpp"
#include "api/cli/setup.hpp"

namespace nacelle::cli {

int run_command(const PluginsOptions& options) {
  const auto host = make_host(options.host);
  Json json = Json::array();
  std::vector<std::vector<std::string>> table = {{"KIND", "NAME", "VERSION", "ABI", "STATUS", "PATH", "REASON"}};
  for (const PluginRecord& plugin : host->probe_plugins()) {
    const char* status = to_string(plugin.status);
    json.push_back({{"kind", plugin.kind},
                    {"name", plugin.name},
                    {"path", plugin.path.string()},
                    {"abi", plugin.abi},
                    {"version", plugin.version},
                    {"status", status},
                    {"reason", plugin.reason}});
    table.push_back(
        {plugin.kind, plugin.name, plugin.version, plugin.abi, status, plugin.path.string(), plugin.reason});
  }
  options.host.json ? print_json(json) : print_table(table);
  return 0;
}

int run_command(const DevicesOptions& options) {
  const auto host = make_host(options.host);
  Json json = Json::array();
  std::vector<std::vector<std::string>> table = {{"NAME", "STATUS", "FREE", "MEMORY", "DESCRIPTION", "REASON"}};
  for (const DeviceRecord& device : host->devices()) {
    const char* status = device.usable ? "available" : "unavailable";
    json.push_back({{"backend", device.backend},
                    {"name", device.name},
                    {"description", device.description},
                    {"detail", device.detail},
                    {"memory_total", device.memory_total},
                    {"memory_free", device.memory_free},
                    {"status", status},
                    {"reason", device.reason}});
    table.push_back({device.name, status, human_bytes(device.memory_free), human_bytes(device.memory_total),
                     device.description + (device.detail.empty() ? "" : ", " + device.detail), device.reason});
  }
  options.host.json ? print_json(json) : print_table(table);
  return 0;
}

}  // namespace nacelle::cli
