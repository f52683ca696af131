// Discovery and lifetime.
#include "core/plugin_host/plugin_host.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <set>
#include <sstream>

#include "core/base/cpu_budget.hpp"
#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/plugin_host/host_services.hpp"
#include "core/plugin_host/plugin_loader.hpp"

namespace nacelle {
namespace {

namespace fs = std::filesystem;

// The .so files of a folder, by name. What cannot be listed is logged and left out.
std::vector<fs::path> libraries_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code code;
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end; entry.increment(code))
    if (entry->path().extension() == ".so") files.push_back(entry->path());
  if (code) log::warning("plugin folder {}: cannot be read: {}", folder.string(), code.message());
  std::sort(files.begin(), files.end());
  return files;
}

// Beside the program; empty where that cannot be told.
fs::path own_plugin_folder() {
  std::error_code code;
  const fs::path program = fs::read_symlink("/proc/self/exe", code);
  return code ? fs::path() : program.parent_path().parent_path() / "lib/nacelle/plugins";
}

void warn_where_none(const std::vector<fs::path>& folders) {
  std::string places;
  for (const fs::path& folder : folders) places += (places.empty() ? "" : ", ") + folder.string();
  log::warning(
      "no plugins were found, so there is no device and no model can run; looked in: {} (--plugin-dir names more)",
      places.empty() ? "no folder" : places);
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// A name that isolates nothing is a mistake that would be noticed too late.
void check_isolated(const std::set<std::string>& names, const std::vector<PluginRecord>& plugins) {
  for (const std::string& name : names) {
    std::string backends;
    const bool known = std::any_of(plugins.begin(), plugins.end(), [&](const PluginRecord& plugin) {
      if (plugin.kind == "backend") backends += (backends.empty() ? "" : ", ") + plugin.name;
      return plugin.kind == "backend" && plugin.name == name;
    });
    if (!known)
      throw Error(ErrorKind::kInvalidArgument,
                  "--isolate " + name +
                      ": there is no backend plugin of that name; there are: " + (backends.empty() ? "none" : backends),
                  "isolate");
  }
}

// What this machine grants, and what the options make of it.
HostSetup set_up(const PluginHostOptions& options) {
  CpuBudget budget = read_cpu_budget();
  HostSetup setup;
  setup.max_memory = options.max_memory;
  setup.threads = options.threads ? options.threads : budget.threads;
  if (options.pin_threads) setup.cpus = std::move(budget.core_cpus);
  if (budget.nodes.size() > 1)
    log::info("large blocks of memory are spread over {} NUMA nodes; this has never run on a real machine with several",
              budget.nodes.size());
  setup.nodes = std::move(budget.nodes);
  setup.config = options.config;
  // A backend that computes in host memory must not take the machine's for its own.
  if (budget.memory_limit) setup.config.emplace("host.memory_limit", std::to_string(budget.memory_limit));
  setup.cache_folder = options.cache_folder.empty() ? default_cache_folder() : options.cache_folder;
  return setup;
}

}  // namespace

const char* to_string(PluginStatus status) noexcept {
  switch (status) {
    case PluginStatus::kLoaded: return "loaded";
    case PluginStatus::kUnavailable: return "unavailable";
    case PluginStatus::kRefused: return "refused";
  }
  return "refused";
}

std::vector<fs::path> default_plugin_folders() {
  std::vector<fs::path> folders;
  if (const fs::path own = own_plugin_folder(); !own.empty()) folders.push_back(own);
  if (const char* path = std::getenv("NACELLE_PLUGIN_PATH")) {
    std::istringstream list(path);
    for (std::string folder; std::getline(list, folder, ':');)
      if (!folder.empty()) folders.emplace_back(folder);
  }
  return folders;
}

PluginHost::PluginHost(PluginHostOptions options) {
  IsolationPlan isolation;
  isolation.setup = set_up(options);
  isolation.names = {options.isolated.begin(), options.isolated.end()};
  isolation.process.program = options.isolation_program.empty() ? "/proc/self/exe" : options.isolation_program;
  isolation.process.limit = options.isolation_limit;
  services_ = &HostServices::create(isolation.setup);
  std::set<std::string> allowed;
  for (const std::string& digest : options.allowed_sha256) allowed.insert(lower(digest));

  std::set<fs::path> seen;  // a folder that is named twice is read once
  for (const fs::path& folder : options.folders) {
    std::error_code code;
    const fs::path real = fs::canonical(folder, code);
    if (code) {
      if (folder != own_plugin_folder()) log::warning("plugin folder {}: {}", folder.string(), code.message());
      continue;
    }
    if (!seen.insert(real).second) continue;
    for (const fs::path& file : libraries_in(real)) {
      LoadedPlugin loaded = load_plugin(file, allowed, *services_, plugins_, &isolation);
      if (loaded.shutdown) shutdowns_.push_back(loaded.shutdown);
      plugins_.push_back(std::move(loaded.record));
    }
  }
  if (plugins_.empty() && !options.folders.empty()) warn_where_none(options.folders);
  check_isolated(isolation.names, plugins_);
}

PluginHost::~PluginHost() {
  for (auto shutdown = shutdowns_.rbegin(); shutdown != shutdowns_.rend(); ++shutdown) {
    try {
      (*shutdown)();
    } catch (...) {
      log::error("a plugin threw an exception out of its shutdown");
    }
  }
  services_->stop();
}

const nacelle_host* PluginHost::services() const noexcept { return services_->table(); }
const HostMemory& PluginHost::memory() const noexcept { return services_->memory(); }
ThreadTeam& PluginHost::team() noexcept { return services_->team(); }
const std::vector<unsigned>& PluginHost::memory_nodes() const noexcept { return services_->memory_nodes(); }

}  // namespace nacelle
