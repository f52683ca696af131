#include "core/engine/host_adapter.hpp"

#include <cmath>
#include <vector>

namespace nacelle {

void add_embedding(const AdapterPart& part, TokenId token, std::span<float> row) {
  const float* b = part.b.data() + static_cast<std::size_t>(token) * part.rank;
  for (std::uint32_t r = 0; r < part.rank; ++r) {
    const float* a = part.a.data() + r * row.size();
    for (std::size_t i = 0; i < row.size(); ++i) row[i] += b[r] * a[i];
  }
}

void add_head(const AdapterPart& part, float soft_cap, std::span<const float> hidden, std::span<float> logits) {
  std::vector<float> low(part.rank);
  for (std::uint32_t r = 0; r < part.rank; ++r) {
    const float* a = part.a.data() + r * hidden.size();
    float sum = 0;
    for (std::size_t i = 0; i < hidden.size(); ++i) sum += a[i] * hidden[i];
    low[r] = sum;
  }
  for (std::size_t id = 0; id < logits.size(); ++id) {
    const float* b = part.b.data() + id * part.rank;
    float change = 0;
    for (std::uint32_t r = 0; r < part.rank; ++r) change += b[r] * low[r];
    if (soft_cap == 0) {
      logits[id] += change;
      continue;
    }
    // cap tanh(x / cap) is what is known of x: tanh(x + y) = (tanh x + tanh y) / (1 + tanh x tanh y).
    const float before = logits[id] / soft_cap, more = std::tanh(change / soft_cap);
    logits[id] = soft_cap * (before + more) / (1 + before * more);
  }
}

}  // namespace nacelle
