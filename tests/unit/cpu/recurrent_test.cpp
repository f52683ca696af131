// The recurrence and the convolution against their formulas in float64, at shapes around every vector width; and their
// bits, which depend neither on how rows come in steps nor on how columns are cut.
#include <nacelle/graph.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/unit/cpu/kernel_levels.hpp"

using namespace nacelle::cpu;
using namespace nacelle::cpu::test;

namespace {

constexpr float kBeside = 77.0f;
constexpr std::uint32_t kGap = 3;  // columns beside those that are worked on, which must stay

double soft_plus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }

// One head of a sequence, with a gap behind every row of its state, its values and its output.
struct Scan {
  std::uint32_t rule, rows, keys, values;
  bool per_key;
  std::vector<float> q, k, v, decays, strengths, state, out;

  Scan(std::uint32_t of_rule, std::uint32_t of_rows, std::uint32_t of_keys, std::uint32_t of_values, bool decay_per_key)
      : rule(of_rule), rows(of_rows), keys(of_keys), values(of_values), per_key(decay_per_key) {
    // Keys of length 1 or less: the delta rule of longer ones runs away.
    const float unit = 0.7f / std::sqrt(static_cast<float>(keys));
    q = random_floats(std::size_t{rows} * keys, 1);
    k = random_floats(std::size_t{rows} * keys, 2, unit);
    v = random_floats(std::size_t{rows} * stride(), 3);
    decays = random_floats(std::size_t{rows} * factors(), 4);
    for (float& decay : decays) decay = std::exp(-0.3f * std::fabs(decay));
    strengths = random_floats(rows, 5);
    for (float& strength : strengths) strength = 1 / (1 + std::exp(-strength));
    state = random_floats(std::size_t{keys} * stride(), 6);
    for (std::uint32_t d = 0; d < keys; ++d) std::fill_n(&state[d * stride() + values], kGap, kBeside);
    out.assign(std::size_t{rows} * stride(), kBeside);
  }

  std::uint32_t stride() const { return values + kGap; }
  std::uint32_t factors() const { return per_key ? keys : 1; }

  // Rows [first, first + count) of columns [column, column + width).
  void run(const RecurrentKernels& kernels, std::uint32_t first, std::uint32_t count, std::uint32_t column,
           std::uint32_t width) {
    std::vector<float> scratch(scan_scratch(keys) + 16);
    void* aligned = scratch.data();
    std::size_t room = scratch.size() * sizeof(float);
    ScanCall call{};
    call.rule = rule;
    call.rows = count;
    call.key_width = keys;
    call.columns = width;
    call.q = &q[first * keys];
    call.k = &k[first * keys];
    call.v = &v[first * stride() + column];
    call.decays = &decays[first * factors()];
    call.strengths = &strengths[first];
    call.decay_step = per_key;
    call.scale = 0.25f;
    call.skip = 1.5f;
    call.state = &state[column];
    call.out = &out[first * stride() + column];
    call.next = column == 0 ? call.state : nullptr;
    call.scratch = static_cast<float*>(std::align(64, scan_scratch(keys) * sizeof(float), aligned, room));
    call.q_stride = call.k_stride = keys;
    call.v_stride = call.state_stride = call.out_stride = stride();
    call.decay_stride = factors();
    call.strength_stride = 1;
    kernels.scan(call);
  }

  // The outputs, then the state, as the formula has them.
  std::vector<double> expected() const {
    std::vector<double> s(state.begin(), state.end()), y;
    for (std::uint32_t r = 0; r < rows; ++r)
      for (std::uint32_t e = 0; e < values; ++e) {
        double known = 0, sum = 0;
        for (std::uint32_t d = 0; d < keys; ++d) {
          double& element = s[d * stride() + e];
          element *= decays[r * factors() + (per_key ? d : 0)];
          known += element * k[r * keys + d];
        }
        if (rule != NACELLE_SCAN_DELTA) known = 0;
        for (std::uint32_t d = 0; d < keys; ++d) {
          double& element = s[d * stride() + e];
          element += k[r * keys + d] * strengths[r] * (v[r * stride() + e] - known);
          sum += element * q[r * keys + d];
        }
        y.push_back(0.25 * sum + 1.5 * v[r * stride() + e]);
      }
    return without_gaps(y, s);
  }
  std::vector<float> actual() const {
    std::vector<float> y;
    for (std::uint32_t r = 0; r < rows; ++r) y.insert(y.end(), &out[r * stride()], &out[r * stride()] + values);
    return without_gaps(y, state);
  }
  bool kept_gaps() const {
    for (const auto* rows_of : {&state, &out})
      for (std::size_t i = 0; i < rows_of->size(); ++i)
        if (i % stride() >= values && (*rows_of)[i] != kBeside) return false;
    return true;
  }

 private:
  template <class T>
  std::vector<T> without_gaps(std::vector<T> y, const std::vector<T>& s) const {
    for (std::uint32_t d = 0; d < keys; ++d) y.insert(y.end(), &s[d * stride()], &s[d * stride()] + values);
    return y;
  }
};

// Heads of one column, each value of whose state has a rate of its own.
struct Channels {
  std::uint32_t rows, keys, heads;
  std::vector<float> q, k, v, steps, rates, skip, state, out;

  Channels(std::uint32_t of_rows, std::uint32_t of_keys, std::uint32_t of_heads)
      : rows(of_rows), keys(of_keys), heads(of_heads) {
    q = random_floats(std::size_t{rows} * keys, 1);
    k = random_floats(std::size_t{rows} * keys, 2);
    v = random_floats(std::size_t{rows} * stride(), 3);
    steps = random_floats(std::size_t{rows} * heads, 4);
    for (float& step : steps) step = std::fabs(step);
    rates = random_floats(std::size_t{heads} * keys, 5);
    for (float& rate : rates) rate = -std::fabs(rate);
    skip = random_floats(heads, 6);
    state = random_floats(std::size_t{heads} * keys, 7);
    out.assign(std::size_t{rows} * stride(), kBeside);
  }
  std::uint32_t stride() const { return heads + kGap; }

  void run(const RecurrentKernels& kernels, std::uint32_t first, std::uint32_t count, std::uint32_t head,
           std::uint32_t width, bool skips) {
    ChannelScanCall call{};
    call.rows = count;
    call.key_width = keys;
    call.heads = width;
    call.q = &q[first * keys];
    call.k = &k[first * keys];
    call.v = &v[first * stride() + head];
    call.steps = &steps[first * heads + head];
    call.rates = &rates[head * keys];
    call.skip = skips ? &skip[head] : nullptr;
    call.scale = 0.25f;
    call.state = &state[head * keys];
    call.out = &out[first * stride() + head];
    call.q_stride = call.k_stride = keys;
    call.v_stride = call.out_stride = stride();
    call.step_stride = heads;
    kernels.scan_channels(call);
  }

  // The outputs, then the state, as the formula has them.
  std::vector<double> expected(bool skips) const {
    std::vector<double> s(state.begin(), state.end()), y;
    for (std::uint32_t r = 0; r < rows; ++r)
      for (std::uint32_t h = 0; h < heads; ++h) {
        const double step = steps[r * heads + h], value = v[r * stride() + h];
        double sum = 0;
        for (std::uint32_t d = 0; d < keys; ++d) {
          double& element = s[h * keys + d];
          element = element * std::exp(rates[h * keys + d] * step) + k[r * keys + d] * step * value;
          sum += element * q[r * keys + d];
        }
        y.push_back(0.25 * sum + (skips ? skip[h] * value : 0));
      }
    y.insert(y.end(), s.begin(), s.end());
    return y;
  }
  std::vector<float> actual() const {
    std::vector<float> y;
    for (std::uint32_t r = 0; r < rows; ++r) y.insert(y.end(), &out[r * stride()], &out[r * stride()] + heads);
    y.insert(y.end(), state.begin(), state.end());
    return y;
  }
};

struct Convolution {
  std::uint32_t rows, columns, length, activation;
  std::vector<float> x, filters, bias, state, out;

  Convolution(std::uint32_t of_rows, std::uint32_t of_columns, std::uint32_t of_length, std::uint32_t of_activation)
      : rows(of_rows), columns(of_columns), length(of_length), activation(of_activation) {
    x = random_floats(std::size_t{rows} * stride(), 1);
    filters = random_floats(std::size_t{length} * columns, 2);
    bias = random_floats(columns, 3);
    state = random_floats(std::size_t{length - 1} * columns, 4);
    out.assign(std::size_t{rows} * stride(), kBeside);
  }
  std::uint32_t stride() const { return columns + kGap; }

  void run(const RecurrentKernels& kernels, std::uint32_t first, std::uint32_t count, std::uint32_t column,
           std::uint32_t width, bool biased) {
    ConvolutionCall call{};
    call.rows = count;
    call.columns = width;
    call.length = length;
    call.activation = activation;
    call.x = &x[first * stride() + column];
    call.bias = biased ? &bias[column] : nullptr;
    call.filters = &filters[column];
    call.state = &state[column];
    call.out = &out[first * stride() + column];
    call.x_stride = call.out_stride = stride();
    call.filter_stride = call.state_stride = columns;
    kernels.convolve(call);
  }
};

template <class T>
bool equal_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

constexpr std::uint32_t kRules[] = {NACELLE_SCAN_ADD, NACELLE_SCAN_DELTA};
constexpr std::pair<std::uint32_t, std::uint32_t> kStateShapes[] = {
    {1, 1}, {2, 3}, {3, 17}, {5, 130}, {16, 64}, {33, 31}, {64, 96}, {129, 68}, {7, 300}, {128, 128}};

}  // namespace

TEST_CASE("steps and decays, with NaN that stays and infinities that end") {
  for (const KernelTable* table : vector_tables())
    for (const std::uint32_t n : {1u, 5u, 16u, 37u}) {
      INFO(to_string(table->isa) << " n " << n);
      const auto step = random_floats(n, n, 6.0f), bias = random_floats(n, n + 1);
      auto rate = random_floats(n, n + 2);
      for (float& of : rate) of = -std::fabs(of);
      std::vector<float> steps(n), decays(n);
      std::vector<double> want_steps, want_decays, want_alike;
      for (std::uint32_t i = 0; i < n; ++i) {
        want_steps.push_back(soft_plus(double(step[i]) + bias[i]));
        want_decays.push_back(std::exp(rate[i] * want_steps[i]));
        want_alike.push_back(std::exp(rate[0] * soft_plus(step[i])));
      }
      table->recurrent->scan_steps(step.data(), bias.data(), rate.data(), false, n, steps.data(), decays.data());
      CHECK(worst(want_steps, steps) < 1e-6);
      CHECK(worst(want_decays, decays) < 2e-6);
      table->recurrent->scan_steps(step.data(), nullptr, rate.data(), true, n, steps.data(), decays.data());
      CHECK(worst(want_alike, decays) < 2e-6);
    }
  for (const KernelTable* table : vector_tables()) {
    INFO(to_string(table->isa));
    const float far = std::numeric_limits<float>::infinity(), step[] = {NAN, far, -far, 90, -90, 1e-3f, -20};
    const float rate = -1;
    float steps[7], decays[7];
    table->recurrent->scan_steps(step, nullptr, &rate, true, 7, steps, decays);
    CHECK((std::isnan(steps[0]) && std::isnan(decays[0])));
    CHECK((steps[1] == far && decays[1] == 0));
    CHECK((steps[2] == 0 && decays[2] == 1));
    CHECK((steps[3] == 90 && decays[3] < 1e-37f));
    CHECK((steps[4] >= 0 && steps[4] < 1e-36f && decays[4] == 1));
    CHECK(steps[5] == Approx(soft_plus(1e-3f)).epsilon(1e-6));
    CHECK(steps[6] == Approx(soft_plus(-20)).epsilon(1e-6));
  }
}

TEST_CASE("the recurrence by both rules") {
  for (const KernelTable* table : vector_tables())
    for (const std::uint32_t rule : kRules)
      for (const auto& [keys, values] : kStateShapes)
        for (const std::uint32_t rows : {1u, 2u, 19u})
          for (const bool per_key : {false, true}) {
            INFO(to_string(table->isa) << " rule " << rule << " D " << keys << " E " << values << " rows " << rows
                                       << (per_key ? " a decay a key" : ""));
            Scan scan(rule, rows, keys, values, per_key);
            const std::vector<double> expected = scan.expected();
            scan.run(*table->recurrent, 0, rows, 0, values);
            CHECK(worst(expected, scan.actual()) < 4e-6);
            CHECK(scan.kept_gaps());
          }
}

TEST_CASE("the recurrence's bits depend neither on chunks nor on how columns are cut") {
  for (const KernelTable* table : vector_tables())
    for (const std::uint32_t rule : kRules)
      for (const auto& [keys, values] : kStateShapes) {
        INFO(to_string(table->isa) << " rule " << rule << " D " << keys << " E " << values);
        const RecurrentKernels& kernels = *table->recurrent;
        constexpr std::uint32_t kRows = 20;
        Scan whole(rule, kRows, keys, values, true);
        whole.run(kernels, 0, kRows, 0, values);
        for (const std::uint32_t chunk : {1u, 2u, 17u}) {
          Scan cut = Scan(rule, kRows, keys, values, true);
          for (std::uint32_t row = 0; row < kRows; row += chunk)
            for (std::uint32_t column = 0; column < values; column += 48)
              cut.run(kernels, row, std::min(chunk, kRows - row), column, std::min(48u, values - column));
          CHECK(equal_bits(whole.actual(), cut.actual()));
        }
      }
}

TEST_CASE("a NaN of one column of values stays in that column") {
  for (const KernelTable* table : vector_tables())
    for (const std::uint32_t rule : kRules)
      for (const std::uint32_t rows : {1u, 11u}) {
        INFO(to_string(table->isa) << " rule " << rule << " rows " << rows);
        Scan scan(rule, rows, 6, 35, false);
        scan.v[4] = NAN;
        scan.run(*table->recurrent, 0, rows, 0, 35);
        const std::vector<float> all = scan.actual();
        for (std::size_t i = 0; i < all.size(); ++i) CHECK(std::isnan(all[i]) == (i % 35 == 4));
      }
}

TEST_CASE("the convolution, its window, and its bits in chunks and pieces") {
  for (const KernelTable* table : vector_tables())
    for (const std::uint32_t length : {2u, 3u, 4u, 5u, 9u})
      for (const std::uint32_t columns : {1u, 3u, 16u, 33u, 100u})
        for (const std::uint32_t activation : {0u, std::uint32_t{NACELLE_ACT_SILU}}) {
          INFO(to_string(table->isa) << " L " << length << " C " << columns << " activation " << activation);
          constexpr std::uint32_t kRows = 7;
          const bool biased = columns % 2 == 1;
          Convolution whole(kRows, columns, length, activation);
          std::vector<double> want, window;
          std::vector<float> got;
          // Rows of the sequence from its window on.
          const auto row_of = [before = whole](std::uint32_t n, std::uint32_t c) {
            const std::uint32_t kept = before.length - 1;
            return n < kept ? before.state[n * before.columns + c] : before.x[(n - kept) * before.stride() + c];
          };
          whole.run(*table->recurrent, 0, kRows, 0, columns, biased);
          for (std::uint32_t r = 0; r < kRows; ++r)
            for (std::uint32_t c = 0; c < columns; ++c) {
              double sum = biased ? whole.bias[c] : 0;
              for (std::uint32_t i = 0; i < length; ++i)
                sum += double(whole.filters[i * columns + c]) * row_of(r + i, c);
              want.push_back(activation ? sum / (1 + std::exp(-sum)) : sum);
              got.push_back(whole.out[r * whole.stride() + c]);
            }
          CHECK(worst(want, got) < 2e-6);
          for (std::uint32_t i = 0; i + 1 < length; ++i)
            for (std::uint32_t c = 0; c < columns; ++c) CHECK(whole.state[i * columns + c] == row_of(kRows + i, c));
          for (const std::uint32_t chunk : {1u, 2u, 3u}) {
            Convolution cut(kRows, columns, length, activation);
            for (std::uint32_t row = 0; row < kRows; row += chunk)
              for (std::uint32_t column = 0; column < columns; column += 48)
                cut.run(*table->recurrent, row, std::min(chunk, kRows - row), column, std::min(48u, columns - column),
                        biased);
            CHECK(equal_bits(whole.out, cut.out));
            CHECK(equal_bits(whole.state, cut.state));
          }
        }
}

TEST_CASE("a recurrence of heads of one column is the formula's, in whatever pieces") {
  for (const KernelTable* table : vector_tables())
    for (const auto& [keys, heads] : {std::pair{1u, 5u}, {7u, 3u}, {16u, 33u}, {37u, 4u}, {128u, 2u}})
      for (const bool skips : {false, true}) {
        INFO(to_string(table->isa) << " keys " << keys << " heads " << heads << (skips ? " with skip" : ""));
        Channels whole(9, keys, heads), pieces = whole;
        const auto want = whole.expected(skips);
        whole.run(*table->recurrent, 0, 9, 0, heads, skips);
        CHECK(worst(want, whole.actual()) < 1e-5);
        for (std::uint32_t r = 0; r < 9; ++r) CHECK(whole.out[r * whole.stride() + heads] == kBeside);
        const std::uint32_t cut = heads / 2;
        for (const auto& [first, count] : {std::pair{0u, 4u}, {4u, 1u}, {5u, 4u}}) {
          pieces.run(*table->recurrent, first, count, cut, heads - cut, skips);
          if (cut) pieces.run(*table->recurrent, first, count, 0, cut, skips);
        }
        CHECK(equal_bits(pieces.actual(), whole.actual()));
      }
}
