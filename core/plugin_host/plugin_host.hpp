// The plugin host: finds plugins in the configured folders, judges them, loads the sound ones, and offers their devices
// and architectures. A plugin that is refused is listed with its reason and harms nothing.
#pragma once

#include <nacelle/architecture.h>
#include <nacelle/backend.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/host_memory.hpp"
#include "core/base/thread_team.hpp"

namespace nacelle {

class HostServices;

struct PluginHostOptions {
  std::vector<std::filesystem::path> folders;  // see default_plugin_folders(); a folder that does not exist is skipped
  unsigned threads = 0;                        // of the compute pool; 0: what read_cpu_budget() allows
  std::uint64_t max_memory = 0;                // that plugins may allocate in the host; 0: see HostMemory
  bool pin_threads = false;                    // binds each compute thread to a physical core of its own
  std::map<std::string, std::string> config;   // settings for plugins: "backend.cpu.isa" -> "avx2"
  std::vector<std::string> allowed_sha256;     // digests in hex, any case; empty: every trusted file may load
  std::filesystem::path cache_folder;          // of the tuning cache; empty: default_cache_folder()
  std::vector<std::string> isolated;           // names of backends that run in a process of their own
  std::chrono::seconds isolation_limit{
      120};                                 // a step there that takes longer has hung; loading may take ten times that
  std::filesystem::path isolation_program;  // what calls isolation::serve_plugin(); empty: this program
};

enum class PluginStatus {
  kLoaded,
  kUnavailable,  // sound, but it has no usable device here, or its driver is missing
  kRefused       // not run
};
const char* to_string(PluginStatus status) noexcept;  // "loaded", "unavailable", "refused"

struct PluginRecord {
  std::string kind;  // "backend" or "architecture"; empty while the file could not be read
  std::string name, version;
  std::filesystem::path path;
  std::string abi;  // "0.1"
  std::string build_id;
  std::optional<std::string> sha256;  // where an allow-list asked for it
  PluginStatus status = PluginStatus::kRefused;
  std::string reason;                                      // one line; empty when loaded
  std::string verdict;                                     // of nacelle-conformance; filled by probe_plugins
  const nacelle_backend_api* backend = nullptr;            // valid while the process lives
  const nacelle_architecture_api* architecture = nullptr;  // valid while the process lives
  const std::atomic<std::uint64_t>* losses = nullptr;      // of an isolated one: how often its process has died
};

struct DeviceRecord {
  std::string backend;
  std::uint32_t index = 0;
  std::string name;         // "cpu", "cuda:1": the backend alone for index 0
  std::string description;  // "AMD EPYC 9B45"
  std::string detail;       // usable ISA, driver version
  std::uint32_t kind = 0;   // NACELLE_DEVICE_*
  bool usable = false;
  std::uint64_t memory_total = 0, memory_free = 0;  // bytes
  std::string reason;                               // why it is not usable
  std::uint32_t block_tokens = 0, max_rows = 0;     // as in nacelle_device_info
  const nacelle_backend_api* api = nullptr;
  // Of an isolated backend, else null: how often its process has died, with all that was made in it. Valid while the
  // host lives.
  const std::atomic<std::uint64_t>* losses = nullptr;
};

// ../lib/nacelle/plugins beside the program, then the folders of NACELLE_PLUGIN_PATH (separated by colons).
std::vector<std::filesystem::path> default_plugin_folders();

// One a process at a time: plugins hold the host they were first given. Objects made by plugins must be gone before it.
class PluginHost {
 public:
  // Loads everything at once, in the order of folders and names. No driver is opened yet. Throws Error: kResource when
  // the compute threads cannot be started, kInvalidArgument where a name in `isolated` is no backend's; a bad plugin
  // never throws.
  explicit PluginHost(PluginHostOptions options);
  // Calls each plugin's shutdown, last loaded first, and ends the threads. No library is unloaded.
  ~PluginHost();
  PluginHost(const PluginHost&) = delete;
  PluginHost& operator=(const PluginHost&) = delete;

  // Every file that was found. Any thread.
  const std::vector<PluginRecord>& plugins() const noexcept { return plugins_; }
  // The same after asking each backend for its devices: one without a usable device is kUnavailable. Opens drivers, and
  // reads what nacelle-conformance has kept beside the files.
  std::vector<PluginRecord> probe_plugins() const;

  // The devices of all backends; one entry, not usable, for a backend without any or whose plugin was not loaded. Opens
  // drivers. Any thread.
  std::vector<DeviceRecord> devices() const;
  // "BACKEND" or "BACKEND:INDEX"; asks that backend only. Throws Error: kInvalidArgument for a malformed name,
  // kNotFound where there is none such (and says what there is), kUnavailable with the reason where it cannot be used.
  // Any thread.
  DeviceRecord find_device(std::string_view name) const;
  // The usable devices that may be chosen by themselves, best by kind and memory first: GPU, integrated GPU, CPU; more
  // free memory first. Emulated and reference devices are never among them. Opens the drivers of backends that see
  // hardware at a glance. Any thread.
  std::vector<DeviceRecord> candidates() const;
  // The first of them. Throws Error(kUnavailable) with each backend's reason where there is none. Any thread.
  DeviceRecord default_device() const;

  const nacelle_host* services() const noexcept;
  ThreadTeam& team() noexcept;
  // Of this process, with what plugins hold of it.
  const HostMemory& memory() const noexcept;
  // NUMA nodes that large blocks are spread over; one or none where memory is all alike.
  const std::vector<unsigned>& memory_nodes() const noexcept;

 private:
  std::vector<DeviceRecord> devices_of(const PluginRecord& plugin) const;

  HostServices* services_;  // never freed: plugins may keep its table
  std::vector<PluginRecord> plugins_;
  std::vector<void (*)()> shutdowns_;
  mutable std::mutex device_mutex_;  // device_count and device_info are init-serial
};

// Takes and frees `error`. Does nothing for NACELLE_OK; else throws Error with the plugin's message behind `what`
// ("cpu: prepare"): UNIMPLEMENTED -> kUnsupported, OUT_OF_MEMORY -> kResource, UNAVAILABLE, DEVICE_LOST and CANCELLED
// -> kUnavailable, INVALID_ARGUMENT and NOT_FOUND as they are, all else kInternal.
void check(const nacelle_host* services, nacelle_status status, nacelle_error* error, std::string_view what);

// That a call which answered NACELLE_OK left a handle; throws Error(kInternal) with `what` ("cpu: prepare") before it.
void check_made(const void* made, std::string_view what);

}  // namespace nacelle
