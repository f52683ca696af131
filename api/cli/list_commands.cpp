// plugins, devices, kernels: what is there, what is not used, and why.
#include <fmt/format.h>

#include "api/cli/commands.hpp"
#include "api/cli/output.hpp"
#include "api/cli/setup.hpp"

namespace nacelle::cli {
namespace {

std::string to_string(nacelle_string text) { return {text.data, text.size}; }

const char* kernel_state(std::uint32_t state) {
  switch (state) {
    case NACELLE_KERNEL_SELECTED: return "selected";
    case NACELLE_KERNEL_CANDIDATE: return "candidate";
    case NACELLE_KERNEL_UNUSABLE: return "unusable";
    default: return "unknown";
  }
}

}  // namespace

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

int run_command(const KernelsOptions& options) {
  const auto host = make_host(options.host);
  const auto model = load_model(*host, options.model, options.path, {.need_tokenizer = false});
  Json json = Json::array();
  std::vector<std::vector<std::string>> table = {{"OP", "PATTERN", "VARIANT", "STATE", "COST", "MEASURED", "REASON"}};
  model->visit_kernels([&](const nacelle_kernel_info& kernel) {
    const bool measured = kernel.measured_seconds > 0;
    json.push_back({{"op", to_string(kernel.op)},
                    {"pattern", to_string(kernel.pattern)},
                    {"variant", to_string(kernel.variant)},
                    {"revision", kernel.revision},
                    {"state", kernel_state(kernel.state)},
                    {"static_cost", kernel.static_cost},
                    {"measured_seconds", measured ? Json(kernel.measured_seconds) : Json(nullptr)},
                    {"reason", to_string(kernel.reason)}});
    table.push_back({to_string(kernel.op), to_string(kernel.pattern), to_string(kernel.variant),
                     kernel_state(kernel.state), fmt::format("{:g}", kernel.static_cost),
                     measured ? fmt::format("{:.1f} us", kernel.measured_seconds * 1e6) : "-",
                     to_string(kernel.reason)});
  });
  options.host.json ? print_json(json) : print_table(table);
  return 0;
}

}  // namespace nacelle::cli
