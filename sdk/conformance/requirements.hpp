// What every backend must run: the operations, with the options, that the architectures of this tree emit, over the
// types that most model files have. All else may be refused, softly and by name.
#pragma once

#include <string>

#include "sdk/conformance/case.hpp"

namespace nacelle::conformance {

// The operation as an in-tree architecture may emit it. `graph` holds it; its weights may be of any type.
bool is_emitted(const sdk::GraphRecord& graph, const sdk::OpRecord& op);
// All operations of the case are emitted, none of them came after ABI 1.0, and its weights and cache have types that
// must be read.
bool is_required(const Case& of);

}  // namespace nacelle::conformance
