// Vector kernels against the formulas in float64, at lengths around every vector width.
#include <nacelle/graph.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "tests/unit/cpu/kernel_levels.hpp"

using namespace nacelle::cpu;
using namespace nacelle::cpu::test;

namespace {

constexpr std::uint32_t kLengths[] = {1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 100};

// expected(i) against what `kernel(out)` writes; what lies past the end must stay.
template <class Expected, class Kernel>
void check(std::uint32_t n, double limit, Expected expected, Kernel kernel) {
  std::vector<float> out(n + 1, 77.0f);
  kernel(out.data());
  CHECK(out[n] == 77.0f);
  out.pop_back();
  std::vector<double> want;
  for (std::uint32_t i = 0; i < n; ++i) want.push_back(expected(i));
  CHECK(worst(want, out) < limit);
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double activate(std::uint32_t activation, double x) {
  switch (activation) {
    case NACELLE_ACT_SILU: return x * sigmoid(x);
    case NACELLE_ACT_GELU_ERF: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case NACELLE_ACT_GELU_TANH: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case NACELLE_ACT_GELU_QUICK: return x * sigmoid(1.702 * x);
    case NACELLE_ACT_RELU: return x > 0 ? x : 0;
    case NACELLE_ACT_TANH: return std::tanh(x);
    default: return sigmoid(x);
  }
}

}  // namespace

TEST_CASE("norms and softmax") {
  for (const KernelTable* table : vector_tables())
    for (const std::uint32_t n : kLengths) {
      INFO(to_string(table->isa) << " n " << n);
      const VectorKernels& kernels = *table->vectors;
      const auto x = random_floats(n, n), w = random_floats(n, n + 1), b = random_floats(n, n + 2);
      double mean = 0, square = 0, total = 0;
      for (const float value : x) {
        mean += value / n;
        square += double(value) * value;
        total += std::exp(double(value));
      }
      const double variance = square / n - mean * mean;
      check(
          n, 2e-6, [&](auto i) { return x[i] / std::sqrt(square / n + 1e-5) * (w[i] + 1); },
          [&](float* out) { kernels.rms_norm(x.data(), w.data(), 1.0f, 1e-5f, n, out); });
      check(
          n, 1e-4, [&](auto i) { return (x[i] - mean) / std::sqrt(variance + 1e-5) * w[i] + b[i]; },
          [&](float* out) { kernels.layer_norm(x.data(), w.data(), b.data(), 0.0f, 1e-5f, n, out); });
      check(
          n, 2e-6, [&](auto i) { return x[i] / std::sqrt(square); },
          [&](float* out) { kernels.normalise(x.data(), n, out); });
      check(
          n, 2e-6, [&](auto i) { return std::exp(double(x[i])) / total; },
          [&](float* out) { kernels.softmax(x.data(), n, out); });
    }
}

TEST_CASE("activations, gates and scales") {
  for (const KernelTable* table : vector_tables())
    for (const std::uint32_t n : kLengths) {
      const VectorKernels& kernels = *table->vectors;
      const auto x = random_floats(n, n, 3.0f), u = random_floats(n, n + 1, 3.0f);
      for (std::uint32_t act = NACELLE_ACT_SILU; act <= NACELLE_ACT_SIGMOID; ++act) {
        INFO(to_string(table->isa) << " n " << n << " activation " << act);
        check(
            n, 3e-6, [&](auto i) { return activate(act, x[i]); },
            [&](float* out) { kernels.unary(act, x.data(), n, out); });
        check(
            n, 3e-6, [&](auto i) { return activate(act, x[i]) * u[i]; },
            [&](float* out) {
              kernels.gated({act, 0, 1, 0}, x.data(), u.data(), n, out);
            });
      }
      const auto cut = [](double v, double low, double high) { return std::fmin(std::fmax(v, low), high); };
      check(
          n, 3e-6,
          [&](auto i) {
            const double g = cut(x[i], -1e9, 2);
            return g * sigmoid(1.702 * g) * (cut(u[i], -2, 2) + 1);
          },
          [&](float* out) {
            kernels.gated({NACELLE_ACT_SILU, 2, 1.702f, 1}, x.data(), u.data(), n, out);
          });
      check(
          n, 3e-6, [&](auto i) { return 5 * std::tanh((2 * x[i] + 1) / 5); },
          [&](float* out) { kernels.scale(x.data(), 2, 1, 5, n, out); });
      const auto xielu = [](double v) {
        return v > 0 ? 0.8 * v * v + 0.5 * v : 1.3 * (std::expm1(std::fmin(v, -1e-6)) - v) + 0.5 * v;
      };
      for (const float range : {1.0f, 1e-4f, 20.0f}) {  // around 0, where what is left of e^x - 1 - x is small
        std::vector<float> wide = x;
        for (float& one : wide) one *= range;
        check(
            n, 3e-6, [&](auto i) { return xielu(wide[i]); },
            [&](float* out) {
              kernels.xielu({0.8f, 1.3f, 0.5f, -1e-6f}, wide.data(), n, out);
            });
      }
    }
}

TEST_CASE("exponentials keep to the ends of their range") {
  for (const KernelTable* table : vector_tables()) {
    INFO(to_string(table->isa));
    const std::vector<float> x = {-INFINITY, -1e30f, -200, -87.4f, -80, 0, 80, 200, 1e30f};
    std::vector<float> out(x.size());
    table->vectors->unary(NACELLE_ACT_SIGMOID, x.data(), static_cast<std::uint32_t>(x.size()), out.data());
    CHECK(out[0] == Approx(0).margin(1e-30));
    CHECK(out[2] < 1e-30f);
    CHECK(out[5] == 0.5f);
    CHECK(out[8] == 1.0f);
    table->vectors->softmax(x.data(), static_cast<std::uint32_t>(x.size()), out.data());
    CHECK(out[8] == 1.0f);
    CHECK(out[7] == 0.0f);
  }
}

TEST_CASE("rotations of both styles") {
  for (const KernelTable* table : vector_tables())
    for (const std::uint32_t pairs : {1u, 5u, 16u, 33u}) {
      INFO(to_string(table->isa) << " pairs " << pairs);
      const auto x = random_floats(2 * pairs, pairs), c = random_floats(pairs, pairs + 1),
                 s = random_floats(pairs, pairs + 2);
      const auto turned = [&](double a, double b, std::uint32_t i, bool second) {
        return second ? b * c[i] + a * s[i] : a * c[i] - b * s[i];
      };
      check(
          2 * pairs, 1e-6, [&](auto i) { return turned(x[i % pairs], x[i % pairs + pairs], i % pairs, i >= pairs); },
          [&](float* out) { table->vectors->rotate_half(x.data(), c.data(), s.data(), pairs, out); });
      check(
          2 * pairs, 1e-6, [&](auto i) { return turned(x[i / 2 * 2], x[i / 2 * 2 + 1], i / 2, i % 2); },
          [&](float* out) { table->vectors->rotate_interleaved(x.data(), c.data(), s.data(), pairs, out); });
    }
}

TEST_CASE("logits: peaks, sums, masks and the search, with a NaN that counts as nothing") {
  for (const KernelTable* table : vector_tables())
    for (const std::uint32_t n : {1u, 31u, 256u, 257u, 700u}) {
      INFO(to_string(table->isa) << " n " << n);
      const VectorKernels& kernels = *table->vectors;
      auto x = random_floats(n, n, 4.0f);
      if (n > 31) x[30] = NAN;
      std::vector<float> peaks((n + kPeakColumns - 1) / kPeakColumns);
      const LogitSummary summary = kernels.summarise(x.data(), n, peaks.data());
      float top = -INFINITY;
      double sum = 0;
      for (const float value : x) top = std::isnan(value) ? top : std::fmax(top, value);
      for (const float value : x) sum += std::isnan(value) ? 0 : std::exp(double(value) - top);
      CHECK(summary.highest == top);
      CHECK(summary.sum == Approx(sum).epsilon(1e-5));
      for (std::uint32_t p = 0; p < peaks.size(); ++p)
        for (std::uint32_t i = p * kPeakColumns; i < std::min(n, (p + 1) * kPeakColumns); ++i)
          CHECK(!(x[i] > peaks[p]));

      std::vector<std::uint32_t> mask((n + 31) / 32, 0xa5a5f00fu), found(n);
      std::vector<float> masked(n);
      kernels.mask(x.data(), mask.data(), n, masked.data());
      for (std::uint32_t i = 0; i < n; ++i) {
        const bool allowed = mask[i / 32] >> i % 32 & 1;
        CHECK((allowed ? masked[i] == x[i] || std::isnan(x[i]) : masked[i] == -INFINITY));
      }
      std::vector<std::uint32_t> expected;
      for (std::uint32_t i = 0; i < n; ++i)
        if (x[i] >= 2.0f) expected.push_back(i);
      found.resize(kernels.find(x.data(), n, 2.0f, found.data(), n));
      CHECK(found == expected);
    }
}
