#include "sdk/conformance/plugin.hpp"

#include <dlfcn.h>
#include <nacelle/architecture.h>
#include <nacelle/backend.h>

#include <cstring>
#include <nacelle/plugin.hpp>
#include <stdexcept>

#include "sdk/conformance/host.hpp"
#include "sdk/conformance/rules.hpp"
#include "sdk/runtime/abi_rule.hpp"
#include "sdk/runtime/names.hpp"

namespace nacelle::conformance {
namespace {

struct Kind {
  std::uint32_t id;
  const char* name;
  sdk::AbiVersion abi;
  std::uint32_t floor;
  std::uint32_t first_function, table_size;
};
constexpr Kind kKinds[] = {
    {NACELLE_PLUGIN_BACKEND, "backend", sdk::kBackendAbi, sdk::kBackendFloor,
     offsetof(nacelle_backend_api, hardware_present), sizeof(nacelle_backend_api)},
    {NACELLE_PLUGIN_ARCHITECTURE, "architecture", sdk::kArchitectureAbi, sdk::kArchitectureFloor,
     offsetof(nacelle_architecture_api, match), sizeof(nacelle_architecture_api)},
};

const Kind& kind_of(std::uint32_t id) { return kKinds[id == NACELLE_PLUGIN_BACKEND ? 0 : 1]; }

void* open(const std::filesystem::path& path) { return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL); }

// A struct with room behind it that nobody may touch.
struct Guarded {
  nacelle_plugin_info info{};
  unsigned char guard[64];
  explicit Guarded(std::uint32_t size) {
    std::memset(guard, 0x5a, sizeof guard);
    info.struct_size = size;
  }
  bool intact() const {
    for (const unsigned char byte : guard)
      if (byte != 0x5a) return false;
    return true;
  }
};

void same_answer(const Plugin& plugin, const nacelle_plugin_info& info) {
  expect(info.kind == plugin.manifest.kind, "the query says another kind than the manifest");
  expect(info.abi_major == plugin.manifest.abi_major && info.abi_minor == plugin.manifest.abi_minor,
         "the query says another ABI version than the manifest");
  expect(sdk::view(info.name) == plugin.manifest.name, "the query says another name than the manifest");
  expect(sdk::view(info.version) == plugin.manifest.version, "the query says another version than the manifest");
}

void answers(const Plugin& plugin) { same_answer(plugin, plugin.info); }

void platform(const Plugin& plugin) {
  expect(plugin.manifest.platform == NACELLE_PLATFORM,
         "built for " + plugin.manifest.platform + ", this program for " NACELLE_PLATFORM);
  for (const char c : plugin.manifest.name)
    expect((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-',
           "the name '" + plugin.manifest.name + "' may hold a-z, 0-9, '_' and '-' only");
}

void complete_table(const Plugin& plugin) {
  const Kind& kind = kind_of(plugin.manifest.kind);
  expect(plugin.info.api, "the query gives no function table");
  std::uint32_t size = 0;
  std::memcpy(&size, plugin.info.api, sizeof size);
  expect(size >= kind.first_function && size <= 16 * kind.table_size && size % sizeof(void*) == 0,
         "the function table says that it has " + std::to_string(size) + " bytes");
  for (std::uint32_t at = kind.first_function; at < std::min(size, kind.table_size); at += sizeof(void*)) {
    const void* function = nullptr;
    std::memcpy(&function, static_cast<const char*>(plugin.info.api) + at, sizeof function);
    expect(function, "function " + std::to_string((at - kind.first_function) / sizeof(void*)) +
                         " of the table, counted from 0, is NULL");
  }
}

void asked_again(const Plugin& plugin) {
  for (int i = 0; i < 3; ++i) {
    auto info = sdk::make<nacelle_plugin_info>();
    expect_status(plugin.query(conformance_host(), &info, nullptr), NACELLE_OK, "a later query, without an error");
    same_answer(plugin, info);
    expect(info.api == plugin.info.api, "a later query gives another function table");
  }
}

void loaded_twice(const Plugin& plugin) {
  void* again = open(plugin.path);
  expect(again, "a second dlopen fails");
  const bool same = dlsym(again, "nacelle_plugin_query") == reinterpret_cast<void*>(plugin.query);
  dlclose(again);  // one of two
  expect(same, "a second dlopen gives another library");
  asked_again(plugin);
}

void older_host(const Plugin& plugin) {
  Guarded of(offsetof(nacelle_plugin_info, shutdown));
  of.info.shutdown = reinterpret_cast<void (*)()>(1);
  expect_status(plugin.query(conformance_host(), &of.info, nullptr), NACELLE_OK, "a query with a shorter info");
  expect(of.info.shutdown == reinterpret_cast<void (*)()>(1) && of.intact(), "the query writes beyond struct_size");
  expect(of.info.struct_size <= offsetof(nacelle_plugin_info, shutdown), "the query raises struct_size");
  same_answer(plugin, of.info);
}

void newer_host(const Plugin& plugin) {
  Guarded of(sizeof of);
  expect_status(plugin.query(conformance_host(), &of.info, nullptr), NACELLE_OK, "a query with a longer info");
  expect(of.info.struct_size >= offsetof(nacelle_plugin_info, shutdown) && of.info.struct_size <= sizeof of,
         "the query does not lower struct_size to what it knows");
  expect(of.info.struct_size > sizeof(nacelle_plugin_info) || of.intact(),
         "the query writes what it does not announce");
  same_answer(plugin, of.info);
}

constexpr Rule<const Plugin&> kQueryRules[] = {
    {"the manifest fits this machine", platform},
    {"the query answers what the manifest says", answers},
    {"the function table is complete", complete_table},
    {"the query may be called again", asked_again},
    {"the library may be loaded twice", loaded_twice},
    {"an info of an older host", older_host},
    {"an info of a newer host", newer_host},
};

}  // namespace

Plugin load_plugin(const std::filesystem::path& path, std::uint32_t wanted) {
  const auto fail = [&](const std::string& what) { throw std::runtime_error(path.string() + ": " + what); };
  Plugin plugin;
  plugin.path = path;
  plugin.manifest = sdk::read_manifest(path);
  const sdk::Manifest& manifest = plugin.manifest;
  const Kind& kind = kind_of(manifest.kind);
  if (wanted && manifest.kind != wanted) fail("'" + manifest.name + "' is no " + kind_of(wanted).name);
  if (manifest.sanitizer != NACELLE_SANITIZER)
    fail("built with another sanitizer than this program: '" + manifest.sanitizer + "', here '" NACELLE_SANITIZER "'");
  const std::string refusal =
      sdk::abi_refusal(kind.name, {manifest.abi_major, manifest.abi_minor}, kind.abi, kind.floor);
  if (!refusal.empty()) fail(refusal);
  void* library = open(path.is_absolute() ? path : std::filesystem::absolute(path));
  if (!library) throw std::runtime_error(dlerror());
  plugin.query = reinterpret_cast<nacelle_plugin_query_function>(dlsym(library, "nacelle_plugin_query"));
  if (!plugin.query) fail("exports no nacelle_plugin_query");
  plugin.info = sdk::make<nacelle_plugin_info>();
  nacelle_error* error = nullptr;
  if (plugin.query(conformance_host(), &plugin.info, &error) != NACELLE_OK) fail(take_message(error));
  if (!NACELLE_HAS(&plugin.info, nacelle_plugin_info, api) || !plugin.info.api) fail("gives no function table");
  return plugin;
}

void check_query(const Plugin& plugin, Report& report) { check_rules("plugin", kQueryRules, report, plugin); }

void check_shutdown(const Plugin& plugin, unsigned threads, Report& report) {
  check_rule("plugin", "errors belong to whoever got them: none is left", report, [] {
    expect(live_errors() == 0, std::to_string(live_errors()) + " errors were made and never handed over or destroyed");
  });
  check_rule("plugin", "shutdown gives everything back", report, [&] {
    if (NACELLE_HAS(&plugin.info, nacelle_plugin_info, shutdown) && plugin.info.shutdown) plugin.info.shutdown();
    expect(allocated_bytes() == 0, std::to_string(allocated_bytes()) + " bytes of the host are not given back");
    expect(thread_count() <= threads,
           std::to_string(thread_count() - threads) + " threads of the plugin still run after shutdown");
  });
}

unsigned thread_count() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<unsigned>(std::distance(begin(tasks), end(tasks)));
}

}  // namespace nacelle::conformance
