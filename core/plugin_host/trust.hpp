// May a file be loaded into this process at all? Decided from the file system, before a byte of it is believed.
#pragma once

#include <filesystem>
#include <string>

namespace nacelle {

// Empty when `file` is a regular file whose folder, and where it is a symbolic link the target and the target's folder
// too, belong to root or to us and can be written by nobody else. Else one line that names the path, its owner or mode
// and the command that mends it.
std::string distrust(const std::filesystem::path& file);

// Empty when every loadable segment of the ELF file lies inside the file. The dynamic linker does not look: it maps
// what the headers say, and the process dies of SIGBUS in a truncated library.
std::string truncated_segments(const std::filesystem::path& file);

}  // namespace nacelle
