// plugins, devices: what is there, what is not used, and why.
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <utility>

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

namespace {

const char* kind_name(std::uint32_t kind) {
  constexpr const char* kNames[] = {"", "CPU", "GPU", "integrated GPU", "emulated GPU", "reference"};
  return kind < std::size(kNames) ? kNames[kind] : "";
}

Json to_json(const DeviceRecord& device) {
  return {{"backend", device.backend},
          {"name", device.name},
          {"kind", kind_name(device.kind)},
          {"description", device.description},
          {"detail", device.detail},
          {"memory_total", device.memory_total},
          {"memory_free", device.memory_free},
          {"status", device.usable ? "available" : "unavailable"},
          {"reason", device.reason}};
}

// What can be used as a table; what cannot, and why, below it: reasons are long.
void print_text(const std::vector<DeviceRecord>& devices) {
  std::vector<std::vector<std::string>> table = {{"DEVICE", "KIND", "FREE", "MEMORY", "NAME", "CAN DO"}};
  for (const DeviceRecord& device : devices)
    if (device.usable)
      table.push_back({device.name, kind_name(device.kind), human_bytes(device.memory_free),
                       human_bytes(device.memory_total), device.description, device.detail});
  print_table(table);
  const char* title = "\nnot available:";
  for (const DeviceRecord& device : devices) {
    if (device.usable) continue;
    if (title) std::puts(std::exchange(title, nullptr));
    std::printf("  %s%s%s: %s\n", device.name.c_str(), device.description.empty() ? "" : " ",
                device.description.c_str(), device.reason.c_str());
  }
  if (std::any_of(devices.begin(), devices.end(), [](const DeviceRecord& device) {
        return device.usable && (device.kind == NACELLE_DEVICE_EMULATED || device.kind == NACELLE_DEVICE_REFERENCE);
      }))
    std::puts("\nEmulated and reference devices run only where --device or --split names them.");
}

}  // namespace

int run_command(const DevicesOptions& options) {
  const auto host = make_host(options.host);
  const std::vector<DeviceRecord> devices = host->devices();
  if (!options.host.json) {
    print_text(devices);
    return 0;
  }
  Json json = Json::array();
  for (const DeviceRecord& device : devices) json.push_back(to_json(device));
  print_json(json);
  return 0;
}

}  // namespace nacelle::cli
