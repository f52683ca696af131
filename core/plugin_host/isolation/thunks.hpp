// The functions of an isolated backend's table, as the host calls them.
#pragma once

#include <nacelle/backend.h>

#include <cstdint>

namespace nacelle::isolation {

class IsolatedBackend;

// Those whose arguments do not say whose they are.
std::uint32_t hardware_present(IsolatedBackend& backend);
nacelle_status device_count(IsolatedBackend& backend, std::uint32_t* count, nacelle_string* reason,
                            nacelle_error** error);
nacelle_status device_info(IsolatedBackend& backend, std::uint32_t index, nacelle_device_info* info,
                           nacelle_error** error);
nacelle_status device_open(IsolatedBackend& backend, std::uint32_t index, nacelle_device** device,
                           nacelle_error** error);

// Sets all others.
void fill_table(nacelle_backend_api& api);

}  // namespace nacelle::isolation
