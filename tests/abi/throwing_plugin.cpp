// A plugin written without the C++ layer's guards: it throws across the ABI, from its query (THROW) or from
// device_count.
#include <nacelle/backend.h>

#include <stdexcept>

NACELLE_PLUGIN_MANIFEST(NACELLE_PLUGIN_BACKEND, BACKEND, "throwing", "1.0");

#ifdef THROW
NACELLE_EXPORT nacelle_status nacelle_plugin_query(const nacelle_host*, nacelle_plugin_info*, nacelle_error**) {
  throw THROW;
}
#else
namespace {
nacelle_status device_count(std::uint32_t*, nacelle_string*, nacelle_error**) { throw std::runtime_error("no guard"); }
nacelle_status unused() { return NACELLE_UNIMPLEMENTED; }
}  // namespace

NACELLE_EXPORT nacelle_status nacelle_plugin_query(const nacelle_host*, nacelle_plugin_info* info, nacelle_error**) {
  static nacelle_backend_api table;
  constexpr std::size_t kFirst = offsetof(nacelle_backend_api, hardware_present);
  auto* slots = reinterpret_cast<nacelle_status (**)()>(reinterpret_cast<char*>(&table) + kFirst);
  for (std::size_t i = 0; i < (sizeof table - kFirst) / sizeof *slots; ++i) slots[i] = unused;
  table.struct_size = sizeof table;
  table.device_count = device_count;
  info->kind = NACELLE_PLUGIN_BACKEND;
  info->abi_major = NACELLE_BACKEND_ABI_MAJOR;
  info->abi_minor = NACELLE_BACKEND_ABI_MINOR;
  info->name = {"throwing", 8};
  info->version = {"1.0", 3};
  info->api = &table;
  return NACELLE_OK;
}
#endif
