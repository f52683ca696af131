// The steps of loading. Nothing of a plugin runs before its manifest was read from the file and found acceptable; what
// its query then says is held against that manifest.
#include "core/plugin_host/plugin_loader.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <boost/dll/shared_library.hpp>
#include <memory>
#include <nacelle/plugin.hpp>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/plugin_host/isolation/backend.hpp"
#include "core/plugin_host/sha256.hpp"
#include "core/plugin_host/trust.hpp"
#include "sdk/runtime/abi_rule.hpp"
#include "sdk/runtime/manifest.hpp"

namespace nacelle {
namespace {

namespace fs = std::filesystem;
namespace dll = boost::dll;

using Query = nacelle_status(const nacelle_host*, nacelle_plugin_info*, nacelle_error**);

// Ends the loading of a plugin. `status` is kRefused or kUnavailable.
struct Stop {
  PluginStatus status;
  std::string reason;
};

[[noreturn]] void refuse(std::string reason) { throw Stop{PluginStatus::kRefused, std::move(reason)}; }
void refuse_if(std::string reason) {
  if (!reason.empty()) refuse(std::move(reason));
}

// What differs between the two kinds. `functions` name the table's slots, which all are function pointers.
struct Kind {
  std::uint32_t id;
  const char* name;
  sdk::AbiVersion abi;
  std::uint32_t floor;     // the oldest minor that is still served
  std::uint32_t api_size;  // bytes of the table that this host calls
  std::vector<const char*> functions;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> table = {
      {NACELLE_PLUGIN_BACKEND,
       "backend",
       sdk::kBackendAbi,
       sdk::kBackendFloor,
       sizeof(nacelle_backend_api),
       {"hardware_present",
        "device_count",
        "device_info",
        "device_open",
        "device_close",
        "supports",
        "prepare",
        "weights_destroy",
        "weights_bytes",
        "cache_block_bytes",
        "cache_create",
        "cache_destroy",
        "copy_blocks",
        "compile",
        "bind",
        "plan_destroy",
        "blocks",
        "run",
        "read_logits",
        "read_value",
        "write_value",
        "plan_statistics",
        "stream_create",
        "stream_destroy",
        "stream_synchronize",
        "event_create",
        "event_destroy",
        "event_record",
        "event_wait",
        "event_query",
        "event_synchronize",
        "adapter_write",
        "kernels",
        "tune",
        "ceilings"}},
      {NACELLE_PLUGIN_ARCHITECTURE,
       "architecture",
       sdk::kArchitectureAbi,
       sdk::kArchitectureFloor,
       sizeof(nacelle_architecture_api),
       {"match", "describe", "build"}},
  };
  return table;
}

constexpr std::size_t kFirstSlot = offsetof(nacelle_backend_api, hardware_present);
static_assert(kFirstSlot == offsetof(nacelle_architecture_api, match), "both tables start behind the header");
static_assert(sizeof(nacelle_backend_api) == kFirstSlot + 35 * sizeof(void*), "functions of kinds() is complete");
static_assert(sizeof(nacelle_architecture_api) == kFirstSlot + 3 * sizeof(void*), "functions of kinds() is complete");

const char* or_none(const std::string& sanitizer) { return sanitizer.empty() ? "none" : sanitizer.c_str(); }

// A backend's name is half of a device's ("cuda:1") and of configuration keys.
bool is_plain_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

// Reads the manifest into the record and judges it. Returns the kind.
const Kind& judge_manifest(const std::string& path, PluginRecord& record) {
  sdk::Manifest manifest;
  try {
    manifest = sdk::read_manifest(record.path);
  } catch (const sdk::Failure& failure) {
    refuse(failure.what());
  }
  const auto& all = kinds();
  const auto kind = std::find_if(all.begin(), all.end(), [&](const Kind& k) { return k.id == manifest.kind; });
  if (kind == all.end()) refuse(fmt::format("{}: a plugin of unknown kind {}", path, manifest.kind));
  record.kind = kind->name;
  record.name = manifest.name;
  record.version = manifest.version;
  record.build_id = manifest.build_id;
  record.abi = to_string(sdk::AbiVersion{manifest.abi_major, manifest.abi_minor});
  if (!is_plain_name(manifest.name))
    refuse(fmt::format("{}: its name '{}' may hold a-z, 0-9, '_' and '-' only", path, manifest.name));
  if (manifest.platform != NACELLE_PLATFORM)
    refuse(fmt::format("{}: built for {}, this host is {}", path, manifest.platform, NACELLE_PLATFORM));
  if (manifest.sanitizer != NACELLE_SANITIZER)
    refuse(fmt::format("{}: built with sanitizer {}, this host with {}: build both alike", path,
                       or_none(manifest.sanitizer), or_none(NACELLE_SANITIZER)));
  const std::string wrong =
      sdk::abi_refusal(kind->name, {manifest.abi_major, manifest.abi_minor}, kind->abi, kind->floor);
  if (!wrong.empty()) refuse(path + ": " + wrong);
  return *kind;
}

void check_allowed(const std::set<std::string>& allowed, PluginRecord& record) {
  if (allowed.empty()) return;
  record.sha256 = sha256_of_file(record.path);
  if (!allowed.contains(*record.sha256))
    refuse(fmt::format("{}: its SHA-256 {} is not on the allow-list", record.path.string(), *record.sha256));
}

// dlopen with all symbols bound now and none of them visible to other libraries.
std::shared_ptr<dll::shared_library> open_library(const std::string& path) {
  std::error_code code;
  auto library = std::make_shared<dll::shared_library>();
  try {
    library->load(fs::path(path), dll::load_mode::rtld_now | dll::load_mode::rtld_local);
  } catch (const std::exception& error) {
    const std::string text = error.what();
    // The file itself was just read: what cannot be opened is a library that it needs, a driver most often.
    const bool missing = text.find("cannot open shared object file") != std::string::npos;
    throw Stop{missing ? PluginStatus::kUnavailable : PluginStatus::kRefused, path + ": cannot be loaded: " + text};
  }
  return library;
}

std::string take_message(HostServices& services, nacelle_status status, nacelle_error* error) {
  try {
    check(services.table(), status, error, "its query failed");
  } catch (const Error& failure) {
    return failure.what();
  }
  return {};
}

nacelle_plugin_info query(const std::string& path, dll::shared_library& library, HostServices& services) {
  if (!library.has("nacelle_plugin_query")) refuse(path + ": exports no symbol nacelle_plugin_query");
  auto info = sdk::make<nacelle_plugin_info>();
  nacelle_error* error = nullptr;
  nacelle_status status = NACELLE_INTERNAL;
  try {
    status = library.get<Query>("nacelle_plugin_query")(services.table(), &info, &error);
  } catch (const std::exception& thrown) {
    refuse(fmt::format("{}: its query threw an exception, which must not cross the ABI: {}", path, thrown.what()));
  } catch (...) {
    refuse(path + ": its query threw an exception of unknown type, which must not cross the ABI");
  }
  if (status != NACELLE_OK)
    throw Stop{status == NACELLE_UNAVAILABLE ? PluginStatus::kUnavailable : PluginStatus::kRefused,
               path + ": " + take_message(services, status, error)};
  if (info.struct_size > sizeof info || !NACELLE_HAS(&info, nacelle_plugin_info, api))
    refuse(fmt::format("{}: its query answered with a struct of {} bytes, {} to {} were expected", path,
                       info.struct_size, offsetof(nacelle_plugin_info, api) + sizeof info.api, sizeof info));
  return info;
}

// The answer of the query must be what the manifest promised.
void check_answer(const std::string& path, const nacelle_plugin_info& info, const Kind& kind,
                  const PluginRecord& record) {
  if (info.kind != kind.id)
    refuse(fmt::format("{}: its manifest says {}, its query says kind {}", path, kind.name, info.kind));
  const std::string abi = to_string(sdk::AbiVersion{info.abi_major, info.abi_minor});
  if (abi != record.abi) refuse(fmt::format("{}: its manifest says ABI {}, its query says {}", path, record.abi, abi));
  const bool readable = info.name.data && info.name.size <= sizeof(nacelle_manifest::name);
  if (!readable || sdk::view(info.name) != record.name)
    refuse(fmt::format("{}: its manifest says '{}', its query says '{}'", path, record.name,
                       readable ? sdk::view(info.name) : "(unreadable)"));
}

void check_table(const std::string& path, const void* api, const Kind& kind) {
  if (!api) refuse(path + ": its query gave no function table");
  std::uint32_t size = 0;
  std::memcpy(&size, api, sizeof size);  // struct_size is the first field of either table
  if (size < kind.api_size)
    refuse(fmt::format("{}: its function table has {} bytes, {} were expected", path, size, kind.api_size));
  for (std::size_t i = 0; i < kind.functions.size(); ++i) {
    const void* function = nullptr;
    std::memcpy(&function, static_cast<const char*>(api) + kFirstSlot + i * sizeof function, sizeof function);
    if (!function) refuse(fmt::format("{}: its function table has no {}", path, kind.functions[i]));
  }
}

// The file was judged; the rest happens in its own process.
void load_isolated(LoadedPlugin& plugin, HostServices& services, const IsolationPlan& plan) {
  PluginRecord& record = plugin.record;
  isolation::ProcessOptions options = plan.process;
  options.plugin = record.name;
  isolation::IsolatedBackend& backend = isolation::IsolatedBackend::create(
      *services.table(), std::move(options), {record.path, plan.setup, log::level(), log::format()});
  plugin.shutdown = backend.shutdown();
  record.losses = &backend.losses();
  if (backend.status() != PluginStatus::kLoaded) throw Stop{backend.status(), backend.reason()};
  record.backend = backend.table();
  record.status = PluginStatus::kLoaded;
}

void load(LoadedPlugin& plugin, const std::set<std::string>& allowed, HostServices& services,
          const std::vector<PluginRecord>& earlier, const IsolationPlan* isolation) {
  PluginRecord& record = plugin.record;
  const std::string path = record.path.string();
  refuse_if(distrust(record.path));
  const Kind& kind = judge_manifest(path, record);
  for (const PluginRecord& other : earlier)
    if (other.status == PluginStatus::kLoaded && other.kind == record.kind && other.name == record.name)
      refuse(
          fmt::format("{}: {} '{}' was already loaded from {}", path, record.kind, record.name, other.path.string()));
  check_allowed(allowed, record);
  refuse_if(truncated_segments(record.path));
  if (isolation && kind.id == NACELLE_PLUGIN_BACKEND && isolation->names.contains(record.name))
    return load_isolated(plugin, services, *isolation);

  auto library = open_library(path);
  services.keep(library);
  const nacelle_plugin_info info = query(path, *library, services);
  check_answer(path, info, kind, record);
  check_table(path, info.api, kind);
  if (kind.id == NACELLE_PLUGIN_BACKEND)
    record.backend = static_cast<const nacelle_backend_api*>(info.api);
  else
    record.architecture = static_cast<const nacelle_architecture_api*>(info.api);
  if (NACELLE_HAS(&info, nacelle_plugin_info, shutdown)) plugin.shutdown = info.shutdown;
  record.status = PluginStatus::kLoaded;
}

// "libnacelle_backend_cpu.so" -> "cpu": what to call a file whose manifest could not be read.
std::string name_of(const fs::path& file) {
  std::string name = file.stem().string();
  for (const std::string_view prefix : {"libnacelle_backend_", "libnacelle_arch_", "lib"})
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  return name;
}

}  // namespace

LoadedPlugin load_plugin(const fs::path& file, const std::set<std::string>& allowed, HostServices& services,
                         const std::vector<PluginRecord>& earlier, const IsolationPlan* isolation) {
  LoadedPlugin plugin;
  PluginRecord& record = plugin.record;
  record.name = name_of(file);
  record.path = file;
  try {
    load(plugin, allowed, services, earlier, isolation);
    log::debug("plugin {} {} {} loaded from {}", record.kind, record.name, record.version, file.string());
  } catch (const Stop& stop) {
    record.status = stop.status;
    record.reason = stop.reason;
  } catch (const std::exception& error) {
    record.reason = file.string() + ": " + error.what();
  }
  // A missing driver is the normal state of most machines; a refusal is somebody's mistake.
  if (record.status == PluginStatus::kUnavailable) log::info("plugin unavailable: {}", record.reason);
  if (record.status == PluginStatus::kRefused) log::warning("plugin refused: {}", record.reason);
  return plugin;
}

}  // namespace nacelle
