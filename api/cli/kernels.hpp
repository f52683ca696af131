// The kernels of a loaded model, as a table for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/cli/output.hpp"
#include "api/manage/inventory.hpp"
#include "core/engine/model.hpp"

namespace nacelle::cli {

using manage::Kernel;
using manage::kernels_of;
using manage::to_json;

// The chosen ones, one line a case; then the others and why not.
void print_kernels(const std::vector<Kernel>& kernels);

}  // namespace nacelle::cli
