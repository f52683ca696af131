// What brings the columns of a row to a common measure. A norm with `group` g treats every g columns as a row of their
// own (the query and key norms of Qwen3 and Gemma 3, one a head); its weight then has g elements.
#include <algorithm>
#include <cmath>

#include "backends/reference/ops.hpp"

namespace nacelle::reference {
namespace {

// Calls body(x, y) for each run of columns that is normalised together.
template <class Body>
void for_each_group(const Matrix& x, const Matrix& y, std::uint64_t group, Body&& body) {
  const std::uint64_t width = group ? group : x.width;
  for (std::uint64_t r = 0; r < x.rows; ++r)
    for (std::uint64_t first = 0; first + width <= x.width; first += width)
      body(x.row(r).subspan(first, width), y.row(r).subspan(first, width));
}

// The weight of column i of a group; 1 where there is none.
float weight_at(const Matrix& weight, std::uint64_t i, float offset) {
  return weight.data ? weight.data[i] + offset : 1;
}

}  // namespace

// y_i = (w_i + offset) x_i / sqrt(mean(x^2) + epsilon).  Zhang and Sennrich, arXiv 1910.07467, equation 4.
void rms_norm(Call& call) {
  const auto norm = call.attributes<nacelle_norm_attributes>();
  const Matrix weight = call.has(1) ? call.in(1) : Matrix{};
  for_each_group(call.in(0), call.out(), norm.group, [&](std::span<const float> x, std::span<float> y) {
    const double mean_square = dot(x, x) / static_cast<double>(x.size());
    const double factor = 1 / std::sqrt(mean_square + norm.epsilon);
    for (std::size_t i = 0; i < x.size(); ++i)
      y[i] = static_cast<float>(x[i] * factor * weight_at(weight, i, norm.weight_offset));
  });
}

// y_i = (w_i + offset) (x_i - mean(x)) / sqrt(variance(x) + epsilon) + b_i, the variance over n, not n - 1.
// Ba et al., arXiv 1607.06450, section 3.
void layer_norm(Call& call) {
  const auto norm = call.attributes<nacelle_norm_attributes>();
  const Matrix weight = call.has(1) ? call.in(1) : Matrix{};
  const Matrix bias = call.has(2) ? call.in(2) : Matrix{};
  for_each_group(call.in(0), call.out(), norm.group, [&](std::span<const float> x, std::span<float> y) {
    double mean = 0, variance = 0;
    for (const float value : x) mean += value;
    mean /= static_cast<double>(x.size());
    for (const float value : x) variance += (value - mean) * (value - mean);
    variance /= static_cast<double>(x.size());
    const double factor = 1 / std::sqrt(variance + norm.epsilon);
    for (std::size_t i = 0; i < x.size(); ++i)
      y[i] = static_cast<float>((x[i] - mean) * factor * weight_at(weight, i, norm.weight_offset) +
                                (bias.data ? bias.data[i] : 0));
  });
}

// y = x / |x|, and 0 for the zero vector. What sentence-embedding models do last.
void normalise(Call& call) {
  for_each_group(call.in(0), call.out(), 0, [](std::span<const float> x, std::span<float> y) {
    const double length = std::sqrt(dot(x, x));
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = length > 0 ? static_cast<float>(x[i] / length) : 0;
  });
}

// y_i = exp(x_i - max) / sum_j exp(x_j - max); the shift by the largest changes nothing but the overflow.
void softmax(Call& call) {
  for_each_group(call.in(0), call.out(), 0, [](std::span<const float> x, std::span<float> y) {
    const double largest = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (const float value : x) sum += std::exp(value - largest);
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = static_cast<float>(std::exp(x[i] - largest) / sum);
  });
}

}  // namespace nacelle::reference
