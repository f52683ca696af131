// Rows and columns moved about.
#include <algorithm>
#include <string>

#include "backends/reference/ops.hpp"

namespace nacelle::reference {

// Output i takes the next columns of x, as many as it is wide.
void split(Call& call) {
  const Matrix x = call.in(0);
  std::uint64_t first = 0;
  for (std::uint32_t i = 0; i < call.op().output_count; ++i) {
    const Matrix y = call.out(i);
    for (std::uint64_t r = 0; r < y.rows; ++r) std::copy_n(x.row(r).begin() + first, y.width, y.row(r).begin());
    first += y.width;
  }
}

// The inputs' columns side by side, in order.
void concat(Call& call) {
  const Matrix y = call.out();
  std::uint64_t first = 0;
  for (std::uint32_t i = 0; i < call.op().input_count; ++i) {
    const Matrix x = call.in(i);
    for (std::uint64_t r = 0; r < y.rows; ++r) std::copy_n(x.row(r).begin(), x.width, y.row(r).begin() + first);
    first += x.width;
  }
}

// y[m] = x[indices[m]].
void gather(Call& call) {
  const Matrix x = call.in(0), y = call.out();
  const Indices indices = call.in_indices(1);
  for (std::uint64_t m = 0; m < y.rows; ++m) {
    if (indices.data[m] >= x.rows)
      throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "gather: there is no row " + std::to_string(indices.data[m]));
    std::copy_n(x.row(indices.data[m]).begin(), y.width, y.row(m).begin());
  }
}

// One row a sequence: the mean of its rows, its first (BERT's CLS), or its last.
void pool(Call& call) {
  const auto pooling = call.attributes<nacelle_pool_attributes>().pooling;
  const Matrix x = call.in(0), y = call.out();
  for (std::uint64_t s = 0; s < y.rows; ++s) {
    std::uint64_t begin = call.step().sequence_starts[s], end = call.step().sequence_starts[s + 1];
    if (pooling == NACELLE_POOL_FIRST) end = std::min(begin + 1, end);
    if (pooling == NACELLE_POOL_LAST && end > begin) begin = end - 1;
    for (std::uint64_t i = 0; i < y.width; ++i) {
      double sum = 0;
      for (std::uint64_t r = begin; r < end; ++r) sum += x.at(r, i);
      y.at(s, i) = begin < end ? static_cast<float>(sum / static_cast<double>(end - begin)) : 0;
    }
  }
}

}  // namespace nacelle::reference
