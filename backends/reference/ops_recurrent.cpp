// Operations that carry a state along each sequence: the linear recurrence and the causal convolution. A state is read
// from the cache before the sequence's first row of the step and written back after its last, in f32 after each row:
// what a row gives never depends on which step it came with.
#include <algorithm>
#include <cmath>

#include "backends/reference/ops.hpp"

namespace nacelle::reference {
namespace {

// Calls body(sequence's state, its first row, the row behind its last) for each sequence that has rows; the state is
// all zeros where the sequence begins.
template <class Body>
void for_each_sequence(Call& call, std::uint32_t group, std::uint32_t layer, Body&& body) {
  const Step& step = call.step();
  for (std::uint32_t s = 0; s < step.sequence_count; ++s) {
    const std::uint32_t begin = step.sequence_starts[s], end = step.sequence_starts[s + 1];
    if (begin == end) continue;
    const auto state = call.frame().cache->state(group, layer, step.block_table(group, s));
    if (step.positions[begin] == 0) std::fill(state.begin(), state.end(), 0.0f);
    body(state, begin, end);
  }
}

// One head of one row, as nacelle_scan_attributes has it. `steps` and `rates` have one element, or one for each row of
// the state.
struct HeadRow {
  std::span<const float> q, k, v;
  std::span<const double> steps;
  std::span<const float> rates;
  double strength, skip;
};

template <class T>
T of_row(std::span<const T> all, std::size_t row) {
  return all[all.size() == 1 ? 0 : row];
}

void scan_head(const nacelle_scan_attributes& of, const HeadRow& row, std::span<float> state, std::span<float> y) {
  const std::size_t keys = of.key_width, values = of.value_width;
  for (std::size_t d = 0; d < keys; ++d) {
    const double decay = std::exp(of_row(row.rates, d) * of_row(row.steps, d));
    for (std::size_t e = 0; e < values; ++e) state[d * values + e] = static_cast<float>(state[d * values + e] * decay);
  }
  for (std::size_t e = 0; e < values; ++e) {
    double known = 0;  // what the state already gives for this key
    if (of.rule == NACELLE_SCAN_DELTA)
      for (std::size_t d = 0; d < keys; ++d) known += static_cast<double>(state[d * values + e]) * row.k[d];
    const double change = row.strength * (row.v[e] - known);
    double sum = 0;
    for (std::size_t d = 0; d < keys; ++d) {
      float& element = state[d * values + e];
      element = static_cast<float>(element + row.k[d] * change);
      sum += static_cast<double>(element) * row.q[d];
    }
    y[e] = static_cast<float>(of.scale * sum + row.skip * row.v[e]);
  }
}

}  // namespace

// The state space duality of Mamba-2 (Dao and Gu, arXiv 2405.21060, equation 16, step by step) and the gated delta rule
// (Yang et al., arXiv 2412.06464, equation 10), in one formula: see nacelle_scan_attributes.
void state_scan(Call& call) {
  const auto of = call.attributes<nacelle_scan_attributes>();
  const Matrix q = call.in(0), k = call.in(1), v = call.in(2), step = call.in(3), rate = call.in(4), y = call.out();
  const Matrix bias = call.has(5) ? call.in(5) : Matrix{}, strength = call.has(6) ? call.in(6) : Matrix{};
  const Matrix skip = call.has(7) ? call.in(7) : Matrix{};
  const std::uint64_t keys = of.key_width, values = of.value_width, per_head = step.width / of.head_count;
  const std::uint64_t rates = rate.width / of.head_count;
  std::vector<double>& steps = call.frame().scores;
  steps.resize(per_head);
  for_each_sequence(
      call, of.cache_group, of.cache_layer, [&](std::span<float> state, std::uint32_t r, std::uint32_t end) {
        for (; r < end; ++r)
          for (std::uint64_t h = 0; h < of.head_count; ++h) {
            const std::uint64_t group = h / (of.head_count / of.group_count);
            for (std::uint64_t i = 0; i < per_head; ++i) {
              const std::uint64_t column = h * per_head + i;
              steps[i] = softplus(static_cast<double>(step.at(r, column)) + (bias.data ? bias.data[column] : 0));
            }
            const HeadRow row{q.row(r).subspan(group * keys, keys), k.row(r).subspan(group * keys, keys),
                              v.row(r).subspan(h * values, values), steps,
                              {rate.data + h * rates, rates},       strength.data ? strength.at(r, h) : steps[0],
                              skip.data ? skip.data[h] : 0};
            scan_head(of, row, state.subspan(h * keys * values, keys * values), y.row(r).subspan(h * values, values));
          }
      });
}

// y_t[c] = act(bias[c] + sum_i w[c][i] x_{t-L+1+i}[c]); x before the sequence's beginning is 0. The state is a window
// that moves along: its rows are the last L - 1 of x.
void convolution(Call& call) {
  const auto of = call.attributes<nacelle_convolution_attributes>();
  const Matrix x = call.in(0), w = call.in(1), y = call.out();
  const Matrix bias = call.has(2) ? call.in(2) : Matrix{};
  const std::uint64_t before = of.length - 1;
  for_each_sequence(call, of.cache_group, of.cache_layer,
                    [&](std::span<float> state, std::uint32_t r, std::uint32_t end) {
                      const Matrix window{state.data(), before, x.width};
                      for (; r < end; ++r) {
                        for (std::uint64_t c = 0; c < x.width; ++c) {
                          double sum = bias.data ? bias.data[c] : 0;
                          for (std::uint64_t i = 0; i < before; ++i)
                            sum += static_cast<double>(w.at(c, i)) * window.at(i, c);
                          sum += static_cast<double>(w.at(c, before)) * x.at(r, c);
                          y.at(r, c) = static_cast<float>(of.activation ? activate(of.activation, sum, 1) : sum);
                        }
                        std::copy(window.data + x.width, window.data + before * x.width, window.data);
                        std::copy(x.row(r).begin(), x.row(r).end(), window.row(before - 1).begin());
                      }
                    });
}

}  // namespace nacelle::reference
