// What there is, as JSON: plugins, devices, a model's kernels. The command line and the management listener print the
// same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/fields/json.hpp"
#include "core/engine/model.hpp"
#include "core/plugin_host/plugin_host.hpp"

namespace nacelle::manage {

using fields::Json;

// nacelle_kernel_info, owned.
struct Kernel {
  std::string op, pattern, rows, variant, reason;
  std::uint32_t revision = 0, state = 0, bound = 0, chosen_by = 0;
  double static_cost = 0, seconds = 0, spread = 0, floor_seconds = 0, bytes = 0, operations = 0;
};

std::vector<Kernel> kernels_of(const Model& model);
const char* chosen_name(std::uint32_t chosen_by);  // "measured", "pinned", "static cost"
const char* kind_name(std::uint32_t device_kind);  // "CPU", "GPU", ...

Json to_json(const std::vector<Kernel>& kernels);
Json to_json(const std::vector<PluginRecord>& plugins);
Json to_json(const std::vector<DeviceRecord>& devices);

}  // namespace nacelle::manage
