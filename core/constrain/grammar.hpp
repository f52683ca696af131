// What a Grammar holds.
#pragma once

#include <mutex>

#include "core/constrain/constraint.hpp"
#include "core/constrain/machine.hpp"

namespace nacelle::constrain {

struct Grammar::State {
  std::shared_ptr<const Program> program;
  bool is_composition = false;
  mutable std::mutex mutex;
  mutable std::shared_ptr<Machine> machine;  // under the mutex
};

// The network of a spec. Throws Error without param.
std::unique_ptr<Network> build_network(const ConstraintSpec& spec, const GrammarLimits& limits);

}  // namespace nacelle::constrain
