// Rotary position embedding.
#include <cmath>

#include "backends/reference/ops.hpp"

namespace nacelle::reference {

// Turns each pair of a head's first rotary_width columns by position * frequency, times the magnitude; the other
// columns pass unchanged. Pair i is (i, i + rotary_width / 2) in the half style (GPT-NeoX, Hugging Face's Llama) and
// (2i, 2i + 1) in the interleaved one (the paper, GGUF's llama). Frequencies and magnitude: nacelle/rope.hpp.
void rope(Call& call) {
  const auto attributes = call.attributes<nacelle_rope_attributes>();
  const RopeTable& table = call.frame().weights->rope_table(&call.op());
  const Matrix x = call.in(0), y = call.out();
  const Indices positions = call.in_indices(1);
  const bool half = attributes.style == NACELLE_ROPE_HALF;
  const std::uint64_t pairs = attributes.rotary_width / 2;
  for (std::uint64_t r = 0; r < y.rows; ++r) {
    for (std::uint64_t head = 0; head + attributes.head_width <= x.width; head += attributes.head_width) {
      const auto from = x.row(r).subspan(head, attributes.head_width);
      const auto to = y.row(r).subspan(head, attributes.head_width);
      for (std::uint64_t i = 0; i < pairs; ++i) {
        const std::uint64_t first = half ? i : 2 * i, second = half ? i + pairs : 2 * i + 1;
        const double angle = static_cast<double>(positions.data[r]) * table.frequencies[i];
        const double cosine = std::cos(angle) * table.magnitude, sine = std::sin(angle) * table.magnitude;
        to[first] = static_cast<float>(from[first] * cosine - from[second] * sine);
        to[second] = static_cast<float>(from[second] * cosine + from[first] * sine);
      }
      for (std::uint64_t i = 2 * pairs; i < attributes.head_width; ++i) to[i] = from[i];
    }
  }
}

}  // namespace nacelle::reference
