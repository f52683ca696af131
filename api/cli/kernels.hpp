// The kernels of a loaded model, as a table for people and as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/cli/output.hpp"
#include "core/engine/model.hpp"

namespace nacelle::cli {

// nacelle_kernel_info, owned.
struct Kernel {
  std::string op, pattern, rows, variant, reason;
  std::uint32_t revision = 0, state = 0, bound = 0, chosen_by = 0;
  double static_cost = 0, seconds = 0, spread = 0, floor_seconds = 0, bytes = 0, operations = 0;
};

std::vector<Kernel> kernels_of(const Model& model);

Json to_json(const std::vector<Kernel>& kernels);
// The chosen ones, one line a case; then the others and why not.
void print_kernels(const std::vector<Kernel>& kernels);

}  // namespace nacelle::cli
