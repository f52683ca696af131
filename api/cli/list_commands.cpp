// plugins, devices: what is there, what is not used, and why.
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <utility>

#include "api/cli/commands.hpp"
#include "api/cli/output.hpp"
#include "api/cli/setup.hpp"
#include "api/manage/inventory.hpp"

namespace nacelle::cli {

namespace {

using manage::kind_name;

// A table, and below it why some are not used: reasons are long.
void print_plugins(const std::vector<PluginRecord>& plugins) {
  std::vector<std::vector<std::string>> table = {{"KIND", "NAME", "VERSION", "ABI", "STATUS", "CONFORMANCE", "PATH"}};
  for (const PluginRecord& plugin : plugins)
    table.push_back({plugin.kind, plugin.name, plugin.version, plugin.abi, to_string(plugin.status), plugin.verdict,
                     plugin.path.string()});
  print_table(table);
  const char* title = "\nnot used:";
  for (const PluginRecord& plugin : plugins) {
    if (plugin.reason.empty()) continue;
    if (title) std::puts(std::exchange(title, nullptr));
    std::printf("  %s: %s\n", plugin.name.c_str(), plugin.reason.c_str());
  }
}

// The same of devices.
void print_devices(const std::vector<DeviceRecord>& devices) {
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

int run_command(const PluginsOptions& options) {
  const auto host = make_host(options.host);
  const std::vector<PluginRecord> plugins = host->probe_plugins();
  options.host.json ? print_json(manage::to_json(plugins)) : print_plugins(plugins);
  return 0;
}

int run_command(const DevicesOptions& options) {
  const auto host = make_host(options.host);
  const std::vector<DeviceRecord> devices = host->devices();
  options.host.json ? print_json(manage::to_json(devices)) : print_devices(devices);
  return 0;
}

}  // namespace nacelle::cli
