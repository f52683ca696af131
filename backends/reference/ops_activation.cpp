// Element by element: activations and arithmetic.
#include <algorithm>
#include <cmath>

#include "backends/reference/ops.hpp"

namespace nacelle::reference {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

// log(1 + e^x), without overflow.
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

// SiLU: Elfwing et al., arXiv 1702.03118 (alpha: gpt-oss). GELU, its tanh and its sigmoid approximation: Hendrycks and
// Gimpel, arXiv 1606.08415, section 2.
double activate(std::uint32_t activation, double x, double alpha) {
  switch (activation) {
    case NACELLE_ACT_SILU: return x * sigmoid(alpha * x);
    case NACELLE_ACT_GELU_ERF: return 0.5 * x * (1 + std::erf(x * M_SQRT1_2));
    case NACELLE_ACT_GELU_TANH: return 0.5 * x * (1 + std::tanh(M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x)));
    case NACELLE_ACT_GELU_QUICK: return x * sigmoid(1.702 * x);
    case NACELLE_ACT_RELU: return std::max(x, 0.0);
    case NACELLE_ACT_TANH: return std::tanh(x);
    default: return sigmoid(x);
  }
}

namespace {

// y = op(a, b), with b like a, or one row for all.
template <class Op>
void combine(const Call& call, Op&& op) {
  const Matrix a = call.in(0), b = call.in(1), y = call.out();
  for (std::uint64_t r = 0; r < y.rows; ++r)
    for (std::uint64_t i = 0; i < y.width; ++i) y.at(r, i) = op(a.at(r, i), b.at(b.rows == a.rows ? r : 0, i));
}

}  // namespace

// y = act(x).
void unary(Call& call) {
  const auto attributes = call.attributes<nacelle_activation_attributes>();
  const Matrix x = call.in(0), y = call.out();
  for (std::uint64_t i = 0; i < y.rows * y.width; ++i)
    y.data[i] = static_cast<float>(activate(attributes.activation, x.data[i], 1));
}

// y = act(min(gate, c)) (max(-c, min(up, c)) + offset), without the cuts where c is 0. Gated linear units: Shazeer,
// arXiv 2002.05202; clamp, alpha and offset as gpt-oss's swiglu has them.
void gated(Call& call) {
  const auto attributes = call.attributes<nacelle_activation_attributes>();
  const Matrix gates = call.in(0), ups = call.in(1), y = call.out();
  const float limit = attributes.clamp;
  for (std::uint64_t i = 0; i < y.rows * y.width; ++i) {
    const float gate = limit > 0 ? std::min(gates.data[i], limit) : gates.data[i];
    const float up = limit > 0 ? std::clamp(ups.data[i], -limit, limit) : ups.data[i];
    y.data[i] = static_cast<float>(activate(attributes.activation, gate, attributes.alpha) *
                                   (static_cast<double>(up) + attributes.up_offset));
  }
}

// y = a + b.
void add(Call& call) {
  combine(call, [](float a, float b) { return a + b; });
}

// y = a b.
void mul(Call& call) {
  combine(call, [](float a, float b) { return a * b; });
}

// y = scale x + shift, then cap tanh(y / cap) where there is a cap (Gemma 2's final logits).
void scale(Call& call) {
  const auto attributes = call.attributes<nacelle_scale_attributes>();
  const Matrix x = call.in(0), y = call.out();
  const double cap = attributes.soft_cap;
  for (std::uint64_t i = 0; i < y.rows * y.width; ++i) {
    const double scaled = static_cast<double>(x.data[i]) * attributes.scale + attributes.shift;
    y.data[i] = static_cast<float>(cap != 0 ? cap * std::tanh(scaled / cap) : scaled);
  }
}

// y = x (1 + strength ln(1 + floor((position + offset) / length))): Llama 4's temperature of attention.
void position_scale(Call& call) {
  const auto attributes = call.attributes<nacelle_position_scale_attributes>();
  const Matrix x = call.in(0), y = call.out();
  const Indices positions = call.in_indices(1);
  for (std::uint64_t r = 0; r < y.rows; ++r) {
    const std::uint64_t steps = (std::uint64_t{positions.data[r]} + attributes.offset) / attributes.length;
    const double factor = 1 + attributes.strength * std::log1p(static_cast<double>(steps));
    for (std::uint64_t i = 0; i < y.width; ++i) y.at(r, i) = static_cast<float>(x.at(r, i) * factor);
  }
}

// y = a x^2 + b x above 0, c (e^min(x, epsilon) - 1 - x) + b x elsewhere, with a = softplus(p) and c = b + softplus(n).
// xIELU: Huang and Schlag, arXiv 2411.13010.
void xielu(Call& call) {
  const Matrix x = call.in(0), parameters = call.in(1), y = call.out();
  const double rise = softplus(parameters.data[0]), slope = parameters.data[2], epsilon = parameters.data[3];
  const double fall = slope + softplus(parameters.data[1]);
  for (std::uint64_t i = 0; i < y.rows * y.width; ++i) {
    const double at = x.data[i];
    const double bent = at > 0 ? rise * at * at : fall * (std::expm1(std::min(at, epsilon)) - at);
    y.data[i] = static_cast<float>(bent + slope * at);
  }
}

}  // namespace nacelle::reference
