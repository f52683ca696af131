// How a backend that is built on this one brings in functions of its own.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>

namespace nacelle::reference {

class Call;
using OpFunction = void (*)(Call&);

// A backend's own function for a kind of operation, in the place of this folder's. It runs where `takes` says yes (or
// is nullptr), and the plain one where it says no.
struct Replacement {
  std::uint32_t kind;  // NACELLE_OP_*
  OpFunction run;
  bool (*takes)(const nacelle_graph&, const nacelle_op&) = nullptr;
};

}  // namespace nacelle::reference
