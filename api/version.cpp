#include "api/version.hpp"

namespace nacelle {

const char* version() noexcept { return NACELLE_VERSION; }

}  // namespace nacelle
