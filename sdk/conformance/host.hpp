// The host services that a plugin gets of the conformance program: as small as the contract allows, and unfriendly
// where it may be. Fresh memory is filled with NaNs, and what a plugin does not give back can be counted.
#pragma once

#include <nacelle/plugin.h>

#include <cstdint>
#include <string>

namespace nacelle::conformance {

// The one table of the process; it lives for ever.
const nacelle_host* conformance_host();

// What config_get answers for a key: "backend.cpu.isa". Before a plugin is loaded.
void set_config(const std::string& key, const std::string& value);
// Threads of every later team_run. Not while one is under way.
void set_team_size(unsigned threads);
// NACELLE_NUMERICS_* that models are prepared with; stable unless set.
void set_numerics(std::uint32_t numerics);
std::uint32_t numerics();
// Bytes that plugins hold now.
std::uint64_t allocated_bytes();
// Errors that were made and not destroyed.
std::int64_t live_errors();
// The latest line that was logged at error level; empty when there was none since the last call.
std::string take_logged_error();
// The message of an error, which is destroyed.
std::string take_message(nacelle_error* error);

}  // namespace nacelle::conformance
