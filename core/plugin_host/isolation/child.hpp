// The program that an isolated plugin runs in: this one, started anew with the argument kChildArgument. It loads the
// plugin for real, with host services of its own, and does what the host calls.
#pragma once

namespace nacelle::isolation {

inline constexpr const char* kChildArgument = "plugin-host";

// Serves on the descriptors kArenaFd and kControlFd until the host closes them or dies. Returns the process's exit
// code.
int serve_plugin();

}  // namespace nacelle::isolation
