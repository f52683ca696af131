// Any plugin, loaded as a host would, and the rules that hold for both kinds.
#pragma once

#include <nacelle/plugin.h>

#include <filesystem>
#include <string>

#include "sdk/conformance/report.hpp"
#include "sdk/runtime/manifest.hpp"

namespace nacelle::conformance {

struct Plugin {
  std::filesystem::path path;
  sdk::Manifest manifest;
  nacelle_plugin_query_function query = nullptr;
  nacelle_plugin_info info{};
};

// Never unloaded. Throws std::runtime_error that begins with the path where it cannot be loaded, is of another kind
// than `kind` (NACELLE_PLUGIN_*; 0: any), or is made for an ABI that this program does not check.
Plugin load_plugin(const std::filesystem::path& path, std::uint32_t kind);

// The query: what it answers, how often, and into structs of other sizes.
void check_query(const Plugin& plugin, Report& report);
// Last of all, when every object of the plugin is destroyed: calls its shutdown. `threads` is thread_count() from
// before the plugin was loaded.
void check_shutdown(const Plugin& plugin, unsigned threads, Report& report);
// Threads of this process now.
unsigned thread_count();

}  // namespace nacelle::conformance
