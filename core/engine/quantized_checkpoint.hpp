// Which quantized checkpoints in Hugging Face's layout are read, by what their configuration says, and what they
// become.
#pragma once

#include "core/formats/model_files.hpp"
#include "sdk/runtime/graph.hpp"

namespace nacelle {

// Returns where the tensors are what the host decodes (sdk/runtime/packed_weights.hpp), what their architecture does
// (mxfp4), or not quantized. Throws Error(kUnsupported) that names the file and the key for all else.
void check_quantized_checkpoint(const ModelFiles& files);

// A line in the log of what the weights that the host decodes take, in the files and in memory; none where there are
// none.
void tell_of_decoded_weights(const ModelFiles& files, const sdk::GraphRecord& graph);

}  // namespace nacelle
