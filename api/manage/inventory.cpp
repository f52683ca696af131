#include "api/manage/inventory.hpp"

#include <iterator>

#include "core/engine/placed_model.hpp"

namespace nacelle::manage {
namespace {

std::string text_of(nacelle_string text) { return {text.data, text.size}; }

const char* state_name(std::uint32_t state) {
  switch (state) {
    case NACELLE_KERNEL_SELECTED: return "selected";
    case NACELLE_KERNEL_CANDIDATE: return "candidate";
    case NACELLE_KERNEL_UNUSABLE: return "unusable";
    default: return "unknown";
  }
}

double per_second(double amount, double seconds) { return seconds > 0 ? amount / seconds / 1e9 : 0; }
double share(const Kernel& kernel) { return kernel.seconds > 0 ? kernel.floor_seconds / kernel.seconds : 0; }

Json or_null(double value) { return value > 0 ? Json(value) : Json(nullptr); }

}  // namespace

const char* chosen_name(std::uint32_t by) {
  switch (by) {
    case NACELLE_CHOSEN_BY_MEASUREMENT: return "measured";
    case NACELLE_CHOSEN_BY_PIN: return "pinned";
    default: return "static cost";
  }
}

const char* kind_name(std::uint32_t kind) {
  constexpr const char* kNames[] = {"", "CPU", "GPU", "integrated GPU", "emulated GPU", "reference"};
  return kind < std::size(kNames) ? kNames[kind] : "";
}

std::vector<Kernel> kernels_of(const Model& model) {
  std::vector<Kernel> kernels;
  model.visit_kernels([&](const nacelle_kernel_info& info) {
    kernels.push_back({text_of(info.op), text_of(info.pattern), text_of(info.rows), text_of(info.variant),
                       text_of(info.reason), info.revision, info.state, info.bound, info.chosen_by, info.static_cost,
                       info.measured_seconds, info.spread_seconds, info.floor_seconds, info.bytes, info.operations});
  });
  return kernels;
}

Json to_json(const std::vector<Kernel>& kernels) {
  Json json = Json::array();
  for (const Kernel& kernel : kernels) {
    const bool selected = kernel.state == NACELLE_KERNEL_SELECTED;
    json.push_back({{"op", kernel.op},
                    {"pattern", kernel.pattern},
                    {"rows", kernel.rows},
                    {"variant", kernel.variant},
                    {"revision", kernel.revision},
                    {"state", state_name(kernel.state)},
                    {"chosen_by", selected ? Json(chosen_name(kernel.chosen_by)) : Json(nullptr)},
                    {"static_cost", kernel.static_cost},
                    {"measured_seconds", or_null(kernel.seconds)},
                    {"spread_seconds", kernel.seconds > 0 ? Json(kernel.spread) : Json(nullptr)},
                    {"gbps", or_null(per_second(kernel.bytes, kernel.seconds))},
                    {"gops", or_null(per_second(kernel.operations, kernel.seconds))},
                    {"share_of_ceiling", or_null(share(kernel))},
                    {"bound", kernel.bound == NACELLE_BOUND_MEMORY    ? Json("memory")
                              : kernel.bound == NACELLE_BOUND_COMPUTE ? Json("compute")
                                                                      : Json(nullptr)},
                    {"reason", kernel.reason}});
  }
  return json;
}

Json to_json(const std::vector<PluginRecord>& plugins) {
  Json json = Json::array();
  for (const PluginRecord& plugin : plugins) {
    json.push_back({{"kind", plugin.kind},
                    {"name", plugin.name},
                    {"path", plugin.path.string()},
                    {"abi", plugin.abi},
                    {"version", plugin.version},
                    {"status", to_string(plugin.status)},
                    {"conformance", plugin.verdict},
                    {"isolated", plugin.losses != nullptr},
                    {"reason", plugin.reason}});
  }
  return json;
}

Json to_json(const std::vector<DeviceRecord>& devices) {
  Json json = Json::array();
  for (const DeviceRecord& device : devices) {
    json.push_back({{"backend", device.backend},
                    {"name", device.name},
                    {"kind", kind_name(device.kind)},
                    {"description", device.description},
                    {"detail", device.detail},
                    {"memory_total", device.memory_total},
                    {"memory_free", device.memory_free},
                    {"status", device.usable ? "available" : "unavailable"},
                    {"reason", device.reason}});
  }
  return json;
}

}  // namespace nacelle::manage
