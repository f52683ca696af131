// What goes into a model's matrix products, laid open for whoever measures it (nacelle imatrix).
#pragma once

#include <cstdint>
#include <vector>

#include "sdk/runtime/graph.hpp"

namespace nacelle {

// The activation that a weight's product reads, of every row of a step.
struct ProductInput {
  const sdk::WeightRecord* weight;
  std::uint32_t value;                       // f32 [rows, width], or [rows, used * width] where `per_expert`
  std::uint32_t width;                       // columns of the weight
  std::uint32_t experts = NACELLE_NO_VALUE;  // of a mixture: u32 [rows, used], whom each row goes to
  std::uint32_t expert_count = 1, used = 1;
  bool per_expert = false;
};

// In the order of the operations. `graph` must outlive what is returned. The head of a decoder is left out: it reads
// output rows alone.
std::vector<ProductInput> product_inputs(const sdk::GraphRecord& graph);

// Marks the values of product_inputs as ones that the host reads after a step (DeviceModel::read_value): a backend
// then keeps them, and fuses nothing across them.
void expose_product_inputs(sdk::GraphRecord& graph);

}  // namespace nacelle
