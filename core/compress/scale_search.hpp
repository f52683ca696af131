// The search behind the encoders: which scale (and minimum) makes the weighted squared error of a few elements least.
// Once the codes are fixed the best scale is a quotient of two sums (least squares), and once the scale is fixed the
// best codes come from rounding. So: try some scales around the one that just covers the largest element, keep the one
// whose codes explain most, then let codes and scale settle in turns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace nacelle::compress {

// Four floats; a vector register of every baseline.
using Lanes = float __attribute__((vector_size(16)));

inline Lanes all_lanes(float value) { return Lanes{value, value, value, value}; }
inline float sum_of(Lanes v) { return (v[0] + v[1]) + (v[2] + v[3]); }

// Some elements with their weights, a multiple of four; 16-byte aligned.
struct Elements {
  const Lanes* x;
  const Lanes* w;
  unsigned lanes;  // groups of four
};

// Values low..high in steps of one.
struct Steps {
  Lanes low, high;

  Steps(int lowest, int highest)
      : low(all_lanes(static_cast<float>(lowest))), high(all_lanes(static_cast<float>(highest))) {}
  // Above 2^22 neighbouring floats differ by 1: the addition itself rounds.
  Lanes operator()(Lanes t) const {
    const Lanes rounder = all_lanes(12582912.0f);
    t = t < low ? low : t;
    t = t > high ? high : t;
    return (t + rounder) - rounder;
  }
};

// The values of a codebook of up to 16 entries.
class Codebook {
 public:
  explicit Codebook(const std::int8_t* values) {
    std::int8_t sorted[16];
    std::copy_n(values, 16, sorted);
    std::sort(sorted, sorted + 16);
    count_ = static_cast<unsigned>(std::unique(sorted, sorted + 16) - sorted);
    lowest_ = all_lanes(sorted[0]);
    for (unsigned i = 1; i < count_; ++i) {
      border_[i] = all_lanes(0.5f * static_cast<float>(sorted[i - 1] + sorted[i]));
      rise_[i] = all_lanes(static_cast<float>(sorted[i] - sorted[i - 1]));
    }
    for (int code = 15; code >= 0; --code) code_of_[values[code] + 128] = static_cast<std::uint8_t>(code);
  }
  Lanes operator()(Lanes t) const {
    Lanes value = lowest_;
    const Lanes none = all_lanes(0);
    for (unsigned i = 1; i < count_; ++i) value += t > border_[i] ? rise_[i] : none;
    return value;
  }
  std::uint8_t code(float value) const { return code_of_[static_cast<int>(value) + 128]; }

 private:
  unsigned count_;
  Lanes lowest_, border_[16], rise_[16];
  std::uint8_t code_of_[256] = {};
};

// Of a choice of codes with values v: the sums of w x v and w v v. The best scale is xv / vv.
struct ScaleFit {
  float xv = 0, vv = 0;
  float scale() const { return vv > 0 ? xv / vv : 0; }
  float gain() const { return vv > 0 ? xv * xv / vv : 0; }  // the error is sum(w x x) - gain
};

template <class Nearest>
ScaleFit try_scale(const Elements& e, const Nearest& nearest, float inverse) {
  const Lanes factor = all_lanes(inverse);
  Lanes xv = {}, vv = {};
  for (unsigned i = 0; i < e.lanes; ++i) {
    const Lanes v = nearest(e.x[i] * factor), wv = e.w[i] * v;
    xv += wv * e.x[i];
    vv += wv * v;
  }
  return {sum_of(xv), sum_of(vv)};
}

inline float largest(const Elements& e) {
  Lanes most = {};
  const Lanes none = all_lanes(0);
  for (unsigned i = 0; i < e.lanes; ++i) {
    const Lanes x = e.x[i] < none ? -e.x[i] : e.x[i];
    most = x > most ? x : most;
  }
  return std::max(std::max(most[0], most[1]), std::max(most[2], most[3]));
}

// How far from "the largest element takes the largest value" scales are tried, as multiples of that value.
struct Reach {
  float low, high;
  unsigned steps;
};

// The best scale for values of up to `top` on both sides (one side may reach a step less: both signs are tried).
template <class Nearest>
ScaleFit search_scale(const Elements& e, const Nearest& nearest, float top, const Reach& reach) {
  const float most = largest(e);
  ScaleFit best;
  if (!(most > 0)) return best;
  const float step = (reach.high - reach.low) / static_cast<float>(reach.steps);
  for (unsigned i = 0; i <= reach.steps; ++i) {
    const float inverse = top * (reach.low + step * static_cast<float>(i)) / most;
    for (const float sign : {inverse, -inverse}) {
      const ScaleFit fit = try_scale(e, nearest, sign);
      if (fit.gain() > best.gain()) best = fit;
    }
  }
  for (int round = 0; round < 4 && best.xv != 0; ++round) {
    const ScaleFit fit = try_scale(e, nearest, best.vv / best.xv);
    if (!(fit.gain() > best.gain())) break;
    best = fit;
  }
  return best;
}

// Codes q for x ~ s q - m: the sums that the best s and m follow from, and their gain over s = m = 0.
struct AffineFit {
  float xq = 0, q = 0, qq = 0;
  float scale = 0, min = 0, gain = -1;

  // `x` and `w` are the sums of w x and w. `bounded`: m is not negative.
  void solve(float x, float w, bool bounded) {
    const float det = qq * w - q * q;
    if (det > 1e-6f * qq * w) {
      scale = (xq * w - q * x) / det;
      min = (q * xq - qq * x) / det;
    }
    if (!(det > 1e-6f * qq * w) || (bounded && min < 0)) {
      scale = qq > 0 ? xq / qq : 0;
      min = 0;
    }
    if (bounded && scale < 0) scale = 0;
    gain = 2 * (scale * xq - min * x) - (scale * scale * qq - 2 * scale * min * q + min * min * w);
  }
};

inline AffineFit try_affine(const Elements& e, const Steps& nearest, float inverse, float min) {
  const Lanes factor = all_lanes(inverse), shift = all_lanes(min);
  Lanes xq = {}, q = {}, qq = {};
  for (unsigned i = 0; i < e.lanes; ++i) {
    const Lanes code = nearest((e.x[i] + shift) * factor), wq = e.w[i] * code;
    xq += wq * e.x[i];
    q += wq;
    qq += wq * code;
  }
  return {.xq = sum_of(xq), .q = sum_of(q), .qq = sum_of(qq)};
}

struct Sums {
  float x = 0, w = 0, low = 0, high = 0;  // of w x and w; the least and the largest x
};

inline Sums sums_of(const Elements& e) {
  Lanes x = {}, w = {}, low = e.x[0], high = e.x[0];
  for (unsigned i = 0; i < e.lanes; ++i) {
    x += e.w[i] * e.x[i];
    w += e.w[i];
    low = e.x[i] < low ? e.x[i] : low;
    high = e.x[i] > high ? e.x[i] : high;
  }
  return {sum_of(x), sum_of(w), std::min(std::min(low[0], low[1]), std::min(low[2], low[3])),
          std::max(std::max(high[0], high[1]), std::max(high[2], high[3]))};
}

// The best scale and min for codes 0..top. `bounded`: the min is not negative, nor is the scale.
inline AffineFit search_affine(const Elements& e, const Sums& sums, int top, bool bounded, const Reach& reach) {
  const Steps nearest(0, top);
  const float low = bounded ? std::min(sums.low, 0.0f) : sums.low, span = sums.high - low;
  AffineFit best;
  if (!(span > 0)) {  // all alike
    best.min = -low;
    best.gain = 0;
    return best;
  }
  const auto consider = [&](float inverse, float min) {
    AffineFit fit = try_affine(e, nearest, inverse, min);
    fit.solve(sums.x, sums.w, bounded);
    const bool better = fit.gain > best.gain;
    if (better) best = fit;
    return better;
  };
  const float step = (reach.high - reach.low) / static_cast<float>(reach.steps), codes = static_cast<float>(top);
  for (unsigned i = 0; i <= reach.steps; ++i) {
    const float inverse = codes * (reach.low + step * static_cast<float>(i)) / span;
    consider(inverse, -low);                         // the least element keeps the code 0,
    consider(inverse, codes / inverse - sums.high);  // or the largest one the last code
  }
  for (int round = 0; round < 4 && best.scale != 0; ++round)
    if (!consider(1 / best.scale, best.min)) break;
  return best;
}

}  // namespace nacelle::compress
