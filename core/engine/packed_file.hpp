// The file of the packed cache: blocks of bytes under a key, checked and then mapped, so that a start copies nothing.
#pragma once

#include <nacelle/backend.h>

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "core/base/thread_team.hpp"
#include "core/engine/settling_map.hpp"

namespace nacelle {

// Lines "name=value". Throws Error(kResource) that says what could not be written; `path` then is as it was.
void write_packed_file(const std::filesystem::path& path, std::string_view key,
                       std::span<const nacelle_packed_block> blocks);

// Maps the file and points the blocks, whose sizes the caller sets, into it. Null where there is no such file.
// Throws Error: kUnsupported where the key or the sizes are others, and names the first line that differs; kCorrupt
// where the bytes are not those that were written: the whole file is read, on all threads, against its checksums. They
// find damage, not malice: who may write to the folder may change the answers, as who may write to the model.
std::unique_ptr<SettlingMap> open_packed_file(const std::filesystem::path& path, std::string_view key,
                                              std::span<nacelle_packed_block> blocks, ThreadTeam& team);

}  // namespace nacelle
