// What a request may ask of a model, before it takes a place in the queue.
#pragma once

#include "core/engine/model.hpp"
#include "core/engine/request.hpp"

namespace nacelle {

// Throws Error(kInvalidArgument) with the field at fault, or Error(kUnsupported) for what the model cannot do. Any
// thread.
void check_request(const GenerationRequest& request, Model& model);

}  // namespace nacelle
