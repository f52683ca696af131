// Embedding and matrix products.
#include <algorithm>
#include <string>

#include "backends/reference/ops.hpp"

namespace nacelle::reference {

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// y[r] = scale * table[token[r]]. Gemma's scale is sqrt(width); for most models it is 1.
void embedding(Call& call) {
  const auto attributes = call.attributes<nacelle_embedding_attributes>();
  const Indices tokens = call.in_indices(0);
  const Matrix table = call.in(1), y = call.out();
  for (std::uint64_t r = 0; r < y.rows; ++r) {
    const std::uint32_t token = tokens.data[r];
    if (token >= table.rows)
      throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "token " + std::to_string(token) + " is outside the " +
                                                       std::to_string(table.rows) + " rows of its table");
    for (std::uint64_t i = 0; i < y.width; ++i) y.at(r, i) = attributes.scale * table.at(token, i);
  }
}

// y[r][n] = sum_k x[r][k] w[n][k] + bias[n]. Weights are stored one output a row, as in PyTorch's Linear.
void matmul(Call& call) {
  const Matrix x = call.in(0), w = call.in(1), y = call.out();
  const Matrix bias = call.has(2) ? call.in(2) : Matrix{};
  for (std::uint64_t r = 0; r < y.rows; ++r)
    for (std::uint64_t n = 0; n < y.width; ++n)
      y.at(r, n) = static_cast<float>(dot(x.row(r), w.row(n)) + (bias.data ? bias.data[n] : 0));
}

void add_low_rank(const sdk::LowRankPair& pair, std::uint64_t matrix, std::span<const float> x, std::span<float> y,
                  std::vector<float>& low) {
  const auto a = std::span(pair.a).subspan(matrix * pair.rank * x.size());
  const auto b = std::span(pair.b).subspan(matrix * pair.rank * y.size());
  low.resize(pair.rank);
  for (std::uint64_t i = 0; i < pair.rank; ++i) low[i] = static_cast<float>(dot(x, a.subspan(i * x.size(), x.size())));
  for (std::uint64_t n = 0; n < y.size(); ++n)
    y[n] = static_cast<float>(y[n] + pair.scale * dot(low, b.subspan(n * pair.rank, pair.rank)));
}

// y'[r] = y[r] + scale (x[r] A^T) B^T with the adapter in the row's slot; rows without one pass unchanged.
// LoRA: Hu et al., arXiv 2106.09685, section 4.1; `scale` is its alpha / rank.
void adapter_matmul(Call& call) {
  const std::uint32_t target = call.attributes<nacelle_adapter_attributes>().target;
  const Matrix base = call.in(0), x = call.in(1), y = call.out();
  const Indices slots = call.in_indices(2);
  for (std::uint64_t r = 0; r < y.rows; ++r) {
    std::ranges::copy(base.row(r), y.row(r).begin());
    if (const auto* pair = call.frame().weights->adapters().find(target, slots.data[r]))
      add_low_rank(*pair, 0, x.row(r), y.row(r), call.frame().keys);
  }
}

}  // namespace nacelle::reference
