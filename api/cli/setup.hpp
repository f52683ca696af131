// From flags to a plugin host and loaded models: what all commands begin with.
#pragma once

#include <memory>
#include <string>

#include "api/cli/options.hpp"
#include "core/engine/model.hpp"
#include "core/plugin_host/plugin_host.hpp"

namespace nacelle::cli {

// INVALID: as the model would have it.
struct CacheTypes {
  nacelle_type key = NACELLE_TYPE_INVALID, value = NACELLE_TYPE_INVALID;
};
// "q8_0", "k=q8_0,v=q4_0", "v=q4_0" or nothing. Throws Error(kInvalidArgument) that names `flag`.
CacheTypes parse_cache_types(const std::string& text, const char* flag = "cache-type");
// The same text back.
std::string to_string(const CacheTypes& types);

// Sets the log up as well.
std::unique_ptr<PluginHost> make_host(const HostFlags& flags);

// Measures kernels where flags.tune_budget says so; `base.tune_again` also those that were measured before.
// `path` empty: the demo model that is a part of the program. Shows progress on standard error.
std::shared_ptr<Model> load_model(PluginHost& host, const ModelFlags& flags, const std::string& path,
                                  LoadOptions base = {});

}  // namespace nacelle::cli
