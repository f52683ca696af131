// The program's version, from the project() line of CMake.
#pragma once

namespace nacelle {

const char* version() noexcept;  // "0.1.0"

}  // namespace nacelle
