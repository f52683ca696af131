// Devices: asking backends, finding one by name, choosing one.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nacelle/plugin.hpp>

#include "core/base/error.hpp"
#include "core/plugin_host/plugin_host.hpp"
#include "sdk/runtime/verdict.hpp"

namespace nacelle {
namespace {

constexpr std::uint32_t kMaxDevices = 256;      // of one backend; more is a defect
constexpr std::uint64_t kMaxDeviceText = 4096;  // bytes of a device's texts

std::string copy(nacelle_string text) {
  return text.data ? std::string(text.data, std::min(text.size, kMaxDeviceText)) : std::string();
}

std::string device_name(const std::string& backend, std::uint32_t index) {
  return index == 0 ? backend : backend + ":" + std::to_string(index);
}

// A call into a plugin: its status becomes an Error, and so does an exception that it lets out.
template <class Call>
void guarded(const nacelle_host* services, const std::string& what, Call call) {
  nacelle_error* error = nullptr;
  nacelle_status status = NACELLE_INTERNAL;
  try {
    status = call(&error);
  } catch (...) {
    throw Error(ErrorKind::kInternal, what + ": the plugin threw an exception across the ABI");
  }
  check(services, status, error, what);
}

DeviceRecord ask_device(const nacelle_host* services, const PluginRecord& plugin, std::uint32_t index) {
  DeviceRecord device;
  device.backend = plugin.name;
  device.index = index;
  device.name = device_name(plugin.name, index);
  device.api = plugin.backend;
  device.losses = plugin.losses;
  auto info = sdk::make<nacelle_device_info>();
  try {
    guarded(services, plugin.name + ": device_info",
            [&](nacelle_error** error) { return plugin.backend->device_info(index, &info, error); });
  } catch (const Error& error) {
    device.reason = error.what();
    return device;
  }
  device.description = copy(info.name);
  device.detail = copy(info.detail);
  device.reason = copy(info.reason);
  device.kind = info.kind;
  device.usable = info.usable != 0;
  device.memory_total = info.memory_total;
  device.memory_free = info.memory_free;
  device.block_tokens = info.block_tokens;
  device.max_rows = info.max_rows;
  const bool known = info.kind >= NACELLE_DEVICE_CPU && info.kind <= NACELLE_DEVICE_REFERENCE;
  const bool power = info.block_tokens && (info.block_tokens & (info.block_tokens - 1)) == 0;
  if (device.usable && !(known && power)) {
    device.usable = false;
    device.reason = fmt::format("{}: device_info gave kind {} and block_tokens {}, which no host can use", device.name,
                                info.kind, info.block_tokens);
  }
  if (!device.usable && device.reason.empty()) device.reason = "the backend gives no reason";
  return device;
}

std::string join(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + item;
  return text.empty() ? "none" : text;
}

[[noreturn]] void throw_unknown_backend(const std::vector<PluginRecord>& plugins, const std::string& backend,
                                        std::string_view name) {
  std::vector<std::string> known;
  for (const PluginRecord& plugin : plugins) {
    if (plugin.backend) known.push_back(plugin.name);
    if (!plugin.backend && plugin.name == backend && plugin.kind != "architecture")
      throw Error(ErrorKind::kUnavailable,
                  fmt::format("device '{}': its plugin is {}: {}", name, to_string(plugin.status), plugin.reason),
                  "device");
  }
  throw Error(ErrorKind::kNotFound,
              fmt::format("device '{}': there is no such backend; backends here: {}", name, join(known)), "device");
}

// Smaller is better; devices that are never chosen by themselves have no rank.
std::optional<int> rank(const DeviceRecord& device) {
  if (!device.usable) return std::nullopt;
  switch (device.kind) {
    case NACELLE_DEVICE_GPU: return 0;
    case NACELLE_DEVICE_INTEGRATED_GPU: return 1;
    case NACELLE_DEVICE_CPU: return 2;
    default: return std::nullopt;
  }
}

// A plugin that throws here is asked for its devices, which tells what is wrong with it.
bool has_hardware(const PluginRecord& plugin) {
  try {
    return plugin.backend->hardware_present() != 0;
  } catch (...) {
    return true;
  }
}

}  // namespace

std::vector<DeviceRecord> PluginHost::devices_of(const PluginRecord& plugin) const {
  const std::lock_guard lock(device_mutex_);
  std::uint32_t count = 0;
  nacelle_string why{};
  DeviceRecord none;
  none.backend = none.name = plugin.name;
  none.api = plugin.backend;
  try {
    guarded(services(), plugin.name + ": device_count",
            [&](nacelle_error** error) { return plugin.backend->device_count(&count, &why, error); });
  } catch (const Error& error) {
    none.reason = error.what();
    return {none};
  }
  if (count > kMaxDevices) {
    none.reason = fmt::format("{}: device_count says {}, more than {} cannot be", plugin.name, count, kMaxDevices);
    return {none};
  }
  if (count == 0) {
    none.reason = why.data && why.size ? copy(why) : "the backend found no device and gives no reason";
    return {none};
  }
  std::vector<DeviceRecord> devices;
  for (std::uint32_t index = 0; index < count; ++index) devices.push_back(ask_device(services(), plugin, index));
  return devices;
}

std::vector<DeviceRecord> PluginHost::devices() const {
  std::vector<DeviceRecord> all;
  for (const PluginRecord& plugin : plugins_) {
    if (plugin.backend) {
      for (DeviceRecord& device : devices_of(plugin)) all.push_back(std::move(device));
    } else if (plugin.kind == "backend") {
      DeviceRecord none;
      none.backend = none.name = plugin.name;
      none.reason = plugin.reason;
      all.push_back(std::move(none));
    }
  }
  return all;
}

std::vector<PluginRecord> PluginHost::probe_plugins() const {
  std::vector<PluginRecord> probed = plugins_;
  for (PluginRecord& plugin : probed) {
    plugin.verdict = sdk::verdict_of(plugin.path);
    if (!plugin.backend) continue;
    const auto found = devices_of(plugin);
    if (std::any_of(found.begin(), found.end(), [](const DeviceRecord& device) { return device.usable; })) continue;
    plugin.status = PluginStatus::kUnavailable;
    plugin.reason = found.front().reason;
  }
  return probed;
}

DeviceRecord PluginHost::find_device(std::string_view name) const {
  const auto colon = name.find(':');
  const std::string backend(name.substr(0, colon));
  std::uint32_t index = 0;
  if (colon != std::string_view::npos) {
    const std::string_view digits = name.substr(colon + 1);
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (digits.empty() || result.ec != std::errc() || result.ptr != digits.data() + digits.size())
      throw Error(ErrorKind::kInvalidArgument,
                  fmt::format("device '{}': expected BACKEND or BACKEND:INDEX, as in cpu or cuda:1", name), "device");
  }
  const auto plugin = std::find_if(plugins_.begin(), plugins_.end(), [&](const PluginRecord& record) {
    return record.backend && record.name == backend;
  });
  if (plugin == plugins_.end()) throw_unknown_backend(plugins_, backend, name);

  const auto found = devices_of(*plugin);
  if (index >= found.size()) {
    std::vector<std::string> names;
    names.reserve(found.size());
    for (const DeviceRecord& device : found) names.push_back(device.name);
    throw Error(ErrorKind::kNotFound,
                fmt::format("device '{}': there is no such device; {} has: {}", name, backend, join(names)), "device");
  }
  if (!found[index].usable)
    throw Error(ErrorKind::kUnavailable, fmt::format("device '{}' cannot be used: {}", name, found[index].reason),
                "device");
  return found[index];
}

std::vector<DeviceRecord> PluginHost::candidates() const {
  std::vector<DeviceRecord> all;
  for (const PluginRecord& plugin : plugins_) {
    if (!plugin.backend || !has_hardware(plugin)) continue;
    for (DeviceRecord& device : devices_of(plugin))
      if (rank(device)) all.push_back(std::move(device));
  }
  std::stable_sort(all.begin(), all.end(), [](const DeviceRecord& a, const DeviceRecord& b) {
    return *rank(a) < *rank(b) || (*rank(a) == *rank(b) && a.memory_free > b.memory_free);
  });
  return all;
}

DeviceRecord PluginHost::default_device() const {
  const auto chosen = candidates();
  if (!chosen.empty()) return chosen.front();
  std::vector<std::string> reasons;
  for (const DeviceRecord& device : devices())
    reasons.push_back(device.name + " (" + (device.usable ? "only used when named" : device.reason) + ")");
  throw Error(ErrorKind::kUnavailable, "no device can be used; `nacelle plugins` tells more; found: " + join(reasons));
}

}  // namespace nacelle
