// Any model that can be written as GGUF: GGUF files, and safetensors of all families that the architecture plugins know in
// both formats.
#pragma once

#include "core/compress/source.hpp"
#include "core/plugin_host/plugin_host.hpp"

namespace nacelle::compress {

// As open_source(files), which it is for GGUF, and which knows a few families without their plugins. What the file would
// say is read once more, and refused where it would be another model. Throws Error: kUnsupported with the reason for what
// GGUF cannot say.
SourceModel open_source(PluginHost& host, const ModelFiles& files);

}  // namespace nacelle::compress
