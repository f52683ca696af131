// The text of openapi.json, apart from its reader: a source that names a file is compiled alone.
#include "sdk/runtime/embedded_file.hpp"

NACELLE_EMBED_FILE(nacelle_openapi, NACELLE_OPENAPI);
