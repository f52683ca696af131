// What GGUF's tensors are made of where a model comes from safetensors: its architecture says of each weight where it
// is in either format, so the one is undone and the other put in its place. No table of names is kept here.
#pragma once

#include <vector>

#include "core/compress/source.hpp"
#include "sdk/runtime/graph.hpp"

namespace nacelle::compress {

// Of the graph of `files`, in Hugging Face layout, without adapters; in the order of the layers. `architecture` is
// GGUF's name for it. A norm's offset (Gemma's 1) goes into its weight. Throws Error(kUnsupported) for what has no
// place.
std::vector<SourceTensor> gguf_tensors(const sdk::GraphRecord& graph, const ModelFiles& files,
                                       std::string_view architecture);

// xIELU's parameters, which GGUF has as metadata.
bool is_key(const sdk::WeightRecord& weight);

}  // namespace nacelle::compress
