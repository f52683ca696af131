// Loads one plugin file: trust, manifest, rules, dlopen, query, table. Each step can refuse it, with a reason.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "core/plugin_host/host_services.hpp"
#include "core/plugin_host/isolation/process.hpp"
#include "core/plugin_host/plugin_host.hpp"

namespace nacelle {

struct LoadedPlugin {
  PluginRecord record;
  void (*shutdown)() = nullptr;
};

// Backends that are to run in a process of their own, and what that process is given.
struct IsolationPlan {
  std::set<std::string> names;
  isolation::ProcessOptions process;
  HostSetup setup;
};

// Never throws, but for lack of memory. `allowed` holds SHA-256 digests in lower case; empty allows all. `earlier` are
// the plugins before this one: of two with one name the first is kept. `isolation` null: all run in this process.
LoadedPlugin load_plugin(const std::filesystem::path& file, const std::set<std::string>& allowed,
                         HostServices& services, const std::vector<PluginRecord>& earlier,
                         const IsolationPlan* isolation);

}  // namespace nacelle
