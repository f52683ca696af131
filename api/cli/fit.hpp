// `inspect --fit`: what a model would take of each device's memory, whether it fits, and if not what would.
#pragma once

#include "api/cli/options.hpp"
#include "api/cli/output.hpp"
#include "core/formats/model_files.hpp"
#include "core/plugin_host/plugin_host.hpp"

namespace nacelle::cli {

// An array with one object a device (or one for the --device or --split that is named). Throws Error for a model that
// no plugin can build, or flags that load would refuse.
Json fit_model(PluginHost& host, const ModelFiles& files, const ModelFlags& flags);

// For people.
void print_fit(const Json& fit);
bool fits_anywhere(const Json& fit);

}  // namespace nacelle::cli
