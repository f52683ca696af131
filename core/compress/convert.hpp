// Any model that can be written as GGUF: GGUF files, and safetensors of all families that the architecture plugins know
// in both formats.
#pragma once

#include "core/compress/source.hpp"
#include "core/plugin_host/plugin_host.hpp"

namespace nacelle::compress {

// `files` must outlive it. What a file made of safetensors would say is read once more, and refused where it would be
// another model. Throws Error: kUnsupported with the reason for what GGUF cannot say.
SourceModel open_source(PluginHost& host, const ModelFiles& files);

}  // namespace nacelle::compress
