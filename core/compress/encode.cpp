// One encoder a shape of format: a scale a block, scale and min a block, and both with a second level of integer
// scales. They share the search; formats differ by their entry in nacelle/block_formats.hpp.
#include "core/compress/encode.hpp"

#include <cmath>
#include <nacelle/block_formats.hpp>

#include "core/compress/pack_block.hpp"
#include "core/compress/scale_search.hpp"

namespace nacelle::compress {
namespace {

constexpr unsigned kMostElements = 256, kMostSubs = 16;
constexpr float kMostHalf = 65504;

float to_half(float value) { return half_to_float(float_to_half(std::clamp(value, -kMostHalf, kMostHalf))); }

// A block's elements and weights, aligned, and the format that it shall take.
struct Block {
  alignas(16) Lanes x[kMostElements / 4];
  alignas(16) Lanes w[kMostElements / 4];
  const BlockFormat* format;
  Reach reach;

  unsigned subs() const { return format->elements / format->sub_elements; }
  Elements sub(unsigned s) const {
    const unsigned lanes = format->sub_elements / 4;
    return {x + s * lanes, w + s * lanes, lanes};
  }
};

// Clipping pays the more the fewer values there are: about two steps at the most.
Reach reach_of(const BlockFormat& format) {
  const float top = format.codebook ? 8 : static_cast<float>(1u << (format.code_bits - 1));
  return {1 - 2 / (top + 1), 1 + 1 / top, top > 16 ? 12u : 24u};
}

// What the values of a symmetric format are, and how a value is stored.
struct StepValues : Steps {
  int offset;
  // Q8_0 leaves -128 out, as all writers do: kernels may take a code's magnitude.
  explicit StepValues(const BlockFormat& format)
      : Steps(format.code_bits == 8 ? -127 : -format.offset, (1 << format.code_bits) - 1 - format.offset),
        offset(format.offset) {}
  std::uint8_t code(float value) const { return static_cast<std::uint8_t>(static_cast<int>(value) + offset); }
};

// Codes for a scale that is fixed; the weighted squared error that they make.
template <class Values>
float round_codes(const Elements& e, const Values& values, float scale, std::uint8_t* codes) {
  const Lanes inverse = all_lanes(scale != 0 ? 1 / scale : 0), factor = all_lanes(scale);
  Lanes error = {};
  for (unsigned i = 0; i < e.lanes; ++i) {
    const Lanes v = values(e.x[i] * inverse), difference = e.x[i] - factor * v;
    error += e.w[i] * difference * difference;
    if (codes)
      for (unsigned k = 0; k < 4; ++k) codes[4 * i + k] = values.code(v[k]);
  }
  return sum_of(error);
}

float round_affine(const Elements& e, const Steps& nearest, float scale, float min, std::uint8_t* codes) {
  const Lanes inverse = all_lanes(scale != 0 ? 1 / scale : 0), factor = all_lanes(scale), shift = all_lanes(min);
  Lanes error = {};
  for (unsigned i = 0; i < e.lanes; ++i) {
    const Lanes raised = e.x[i] + shift, q = nearest(raised * inverse), difference = raised - factor * q;
    error += e.w[i] * difference * difference;
    if (codes)
      for (unsigned k = 0; k < 4; ++k) codes[4 * i + k] = static_cast<std::uint8_t>(q[k]);
  }
  return sum_of(error);
}

template <class Values>
void encode_scale(const Block& block, const Values& values, float top, BlockParts& parts) {
  const Elements e = block.sub(0);
  parts.scale = to_half(search_scale(e, values, top, block.reach).scale());
  round_codes(e, values, parts.scale, parts.codes);
}

void encode_scale_and_min(const Block& block, BlockParts& parts) {
  const Elements e = block.sub(0);
  const int top = (1 << block.format->code_bits) - 1;
  const AffineFit fit = search_affine(e, sums_of(e), top, false, block.reach);
  parts.scale = to_half(fit.scale);
  parts.min = to_half(fit.min);
  round_affine(e, Steps(0, top), parts.scale, parts.min, parts.codes);
}

// Only powers of two: those around the one with which the largest element still fits.
void encode_mxfp4(const Block& block, const Codebook& values, BlockParts& parts) {
  const Elements e = block.sub(0);
  const int middle = static_cast<int>(std::ceil(std::log2(std::max(largest(e) / 12, 1e-37f))));
  float least = INFINITY;
  for (int exponent = middle - 2; exponent <= middle; ++exponent) {
    const float scale = std::ldexp(1.0f, std::clamp(exponent, -127, 126));
    const float error = round_codes(e, values, scale, nullptr);
    if (error >= least) continue;
    least = error;
    parts.scale = scale;
  }
  round_codes(e, values, parts.scale, parts.codes);
}

// The unit of the integer scales: `wanted` are the scales, of which one more unit costs `curvature`. Tries units with
// which the largest scale takes one of the last few integers of either side.
float search_unit(const float* wanted, const float* curvature, unsigned count, int low, int high) {
  float most = 0;
  for (unsigned s = 0; s < count; ++s)
    if (std::abs(wanted[s]) > std::abs(most)) most = wanted[s];
  float best = 0, least = INFINITY;
  if (most == 0) return 0;
  const auto consider = [&](int last) {
    const float unit = to_half(most / static_cast<float>(last));
    if (unit == 0) return;
    float loss = 0;
    for (unsigned s = 0; s < count; ++s) {
      const float integer =
          std::clamp(std::nearbyint(wanted[s] / unit), static_cast<float>(low), static_cast<float>(high));
      const float difference = wanted[s] - unit * integer;
      loss += curvature[s] * difference * difference;
    }
    if (loss < least) least = loss, best = unit;
  };
  const int from = std::max(1, high - high / 3);
  for (int last = from; last <= high; ++last) consider(last);
  for (int last = low; last < 0 && last <= -from; ++last) consider(last);
  return best;
}

int to_scale(float value, float unit, int low, int high) {
  return unit == 0 ? 0
                   : static_cast<int>(
                         std::clamp(std::nearbyint(value / unit), static_cast<float>(low), static_cast<float>(high)));
}

// Integer scales over a unit. After a first choice each scale looks at its neighbours, with codes rounded anew, then
// the unit follows from all codes; once more while that helps.
template <class Values>
void encode_scales(const Block& block, const Values& values, float top, BlockParts& parts) {
  const unsigned subs = block.subs();
  const ScaleRange range = scale_range(block.format->type);
  float wanted[kMostSubs], curvature[kMostSubs];
  for (unsigned s = 0; s < subs; ++s) {
    const ScaleFit fit = search_scale(block.sub(s), values, top, block.reach);
    wanted[s] = fit.scale();
    curvature[s] = fit.vv;
  }
  float unit = search_unit(wanted, curvature, subs, range.low, range.high), least = INFINITY;
  parts.scale = unit;
  std::fill_n(parts.scales, subs, std::int8_t{0});
  for (int round = 0; round < 3 && unit != 0; ++round) {
    float error = 0, xv = 0, vv = 0;
    std::int8_t scales[kMostSubs];
    for (unsigned s = 0; s < subs; ++s) {
      const Elements e = block.sub(s);
      const int middle = to_scale(wanted[s], unit, range.low, range.high);
      float best = INFINITY;
      for (int scale = std::max(range.low, middle - 1); scale <= std::min(range.high, middle + 1); ++scale) {
        const float some = round_codes(e, values, unit * static_cast<float>(scale), nullptr);
        if (some < best) best = some, scales[s] = static_cast<std::int8_t>(scale);
      }
      error += best;
      const float scale = scales[s];
      const ScaleFit fit = try_scale(e, values, scale != 0 ? 1 / (unit * scale) : 0);
      xv += scale * fit.xv;
      vv += scale * scale * fit.vv;
    }
    if (!(error < least)) break;
    least = error;
    parts.scale = unit;
    std::copy_n(scales, subs, parts.scales);
    if (vv > 0) unit = to_half(xv / vv);
  }
  for (unsigned s = 0; s < subs; ++s)
    round_codes(block.sub(s), values, parts.scale * parts.scales[s], parts.codes + s * block.format->sub_elements);
}

// The same with a min beside each scale.
class ScalesAndMins {
 public:
  ScalesAndMins(const Block& block, BlockParts& parts)
      : block_(block),
        parts_(parts),
        subs_(block.subs()),
        top_((1 << block.format->code_bits) - 1),
        nearest_(0, top_),
        range_(scale_range(block.format->type)) {}

  void run() {
    start();
    float least = INFINITY;
    float unit = parts_.scale, min_unit = parts_.min;
    for (int round = 0; round < 4; ++round) {
      BlockParts tried;
      const float error = choose(unit, min_unit, tried);
      if (!(error < least)) break;
      least = error;
      std::copy_n(tried.scales, subs_, parts_.scales);
      std::copy_n(tried.mins, subs_, parts_.mins);
      parts_.scale = unit, parts_.min = min_unit;
      follow(unit, min_unit);
    }
    for (unsigned s = 0; s < subs_; ++s)
      round_affine(block_.sub(s), nearest_, parts_.scale * parts_.scales[s], parts_.min * parts_.mins[s],
                   parts_.codes + s * block_.format->sub_elements);
  }

 private:
  void start() {
    float scale_curvature[kMostSubs], min_curvature[kMostSubs];
    for (unsigned s = 0; s < subs_; ++s) {
      sums_[s] = sums_of(block_.sub(s));
      const AffineFit fit = search_affine(block_.sub(s), sums_[s], top_, true, block_.reach);
      wanted_[s] = fit.scale, wanted_min_[s] = fit.min;
      scale_curvature[s] = fit.qq, min_curvature[s] = sums_[s].w;
    }
    parts_.scale = search_unit(wanted_, scale_curvature, subs_, 0, range_.high);
    parts_.min = search_unit(wanted_min_, min_curvature, subs_, 0, range_.most_min);
  }

  // The best pair of each sub-block near the wanted one; returns the block's error.
  float choose(float unit, float min_unit, BlockParts& to) const {
    float total = 0;
    for (unsigned s = 0; s < subs_; ++s) {
      const Elements e = block_.sub(s);
      const int scale = to_scale(wanted_[s], unit, 0, range_.high);
      const int min = to_scale(wanted_min_[s], min_unit, 0, range_.most_min);
      float best = INFINITY;
      for (int i = std::max(0, scale - 1); i <= std::min(range_.high, scale + 1); ++i)
        for (int k = std::max(0, min - 1); k <= std::min(range_.most_min, min + 1); ++k) {
          const float error =
              round_affine(e, nearest_, unit * static_cast<float>(i), min_unit * static_cast<float>(k), nullptr);
          if (!(error < best)) continue;
          best = error;
          to.scales[s] = static_cast<std::int8_t>(i), to.mins[s] = static_cast<std::uint8_t>(k);
        }
      total += best;
    }
    return total;
  }

  // Both units by least squares over the block, for the codes of the chosen scales.
  void follow(float& unit, float& min_unit) const {
    double qq = 0, q = 0, w = 0, xq = 0, x = 0;
    for (unsigned s = 0; s < subs_; ++s) {
      const float i = parts_.scales[s], k = parts_.mins[s];
      const float scale = unit * i;
      const AffineFit fit = try_affine(block_.sub(s), nearest_, scale != 0 ? 1 / scale : 0, min_unit * k);
      qq += i * i * fit.qq, q += i * k * fit.q, w += k * k * sums_[s].w;
      xq += i * fit.xq, x += k * sums_[s].x;
    }
    const double det = qq * w - q * q;
    if (det > 1e-9 * qq * w) {
      const double new_unit = (xq * w - q * x) / det, new_min = (q * xq - qq * x) / det;
      if (new_unit > 0 && new_min >= 0) {
        unit = to_half(static_cast<float>(new_unit)), min_unit = to_half(static_cast<float>(new_min));
        return;
      }
    }
    if (qq > 0) unit = to_half(static_cast<float>((xq + min_unit * q) / qq));
  }

  const Block& block_;
  BlockParts& parts_;
  unsigned subs_;
  int top_;
  Steps nearest_;
  ScaleRange range_;
  Sums sums_[kMostSubs];
  float wanted_[kMostSubs], wanted_min_[kMostSubs];
};

template <class Values>
void encode_symmetric(const Block& block, const Values& values, float top, BlockParts& parts) {
  block.format->integer_scales ? encode_scales(block, values, top, parts) : encode_scale(block, values, top, parts);
}

void encode_block(const Block& block, BlockParts& parts) {
  static const Codebook iq4(block_detail::kIq4Values), mxfp4(block_detail::kMxfp4Values);
  const BlockFormat& format = *block.format;
  if (format.type == NACELLE_TYPE_MXFP4) return encode_mxfp4(block, mxfp4, parts);
  if (format.codebook) return encode_symmetric(block, iq4, 127, parts);
  if (!format.has_min) return encode_symmetric(block, StepValues(format), -StepValues(format).low[0], parts);
  format.integer_scales ? ScalesAndMins(block, parts).run() : encode_scale_and_min(block, parts);
}

// A channel that the calibration text never woke still counts for something.
constexpr float kLeastImportance = 1e-3f;

void load(Block& block, const float* x, const float* importance) {
  const unsigned count = block.format->elements;
  std::memcpy(block.x, x, count * sizeof(float));
  if (!importance) {
    std::fill_n(block.w, count / 4, all_lanes(1));
    return;
  }
  float mean = 0;
  for (unsigned i = 0; i < count; ++i) mean += importance[i] / static_cast<float>(count);
  if (!(mean > 0)) return std::fill_n(block.w, count / 4, all_lanes(1)), void();
  for (unsigned i = 0; i < count; ++i) block.w[i / 4][i % 4] = importance[i] / mean + kLeastImportance;
}

void encode_plain(nacelle_type type, std::span<const float> row, std::uint8_t* out) {
  if (type == NACELLE_TYPE_F32) {
    std::memcpy(out, row.data(), row.size_bytes());
    return;
  }
  for (const float value : row) {
    const std::uint16_t bits =
        type == NACELLE_TYPE_F16 ? float_to_half(std::clamp(value, -kMostHalf, kMostHalf)) : float_to_bfloat16(value);
    std::memcpy(out, &bits, sizeof bits);
    out += sizeof bits;
  }
}

// The most that an element may miss by, over the largest magnitude (with a min: the spread) of its block: a whole step
// where rounding costs half of one, since one end of the values may be a step short, and half a unit of the integer
// scales.
float error_bound(nacelle_type type) {
  const BlockFormat* format = block_format(type);
  if (!format) return type == NACELLE_TYPE_F32 ? 0 : type == NACELLE_TYPE_F16 ? 0x1p-11f : 0x1p-8f;
  if (type == NACELLE_TYPE_MXFP4) return 0.25f;
  float bound = 0.15f;  // of IQ4's codebook
  if (format->has_min)
    bound = 1 / static_cast<float>((1u << format->code_bits) - 1);
  else if (!format->codebook)
    bound = 1 / static_cast<float>(format->offset);
  if (format->integer_scales) bound += 1.5f / static_cast<float>(scale_range(type).high);
  return 1.1f * bound;
}

}  // namespace

bool can_encode(nacelle_type type) noexcept {
  return block_format(type) || type == NACELLE_TYPE_F32 || type == NACELLE_TYPE_F16 || type == NACELLE_TYPE_BF16;
}

void encode_row(nacelle_type type, std::span<const float> row, std::span<const float> importance,
                std::uint8_t* out) noexcept {
  const BlockFormat* format = block_format(type);
  if (!format) return encode_plain(type, row, out);
  Block block;
  block.format = format;
  block.reach = reach_of(*format);
  for (std::size_t at = 0; at + format->elements <= row.size(); at += format->elements) {
    BlockParts parts{};
    load(block, row.data() + at, importance.empty() ? nullptr : importance.data() + at);
    encode_block(block, parts);
    put_together(type, parts, out);
    out += type_info(type)->block_bytes;
  }
}

RowError& RowError::operator+=(const RowError& other) noexcept {
  error += other.error;
  limit += other.limit;
  plain += other.plain;
  power += other.power;
  return *this;
}

RowError row_error(nacelle_type type, std::span<const float> row, std::span<const float> decoded,
                   std::span<const float> importance) noexcept {
  const BlockFormat* format = block_format(type);
  const std::size_t length = format ? format->elements : row.size();
  const double bound = error_bound(type);
  RowError sum;
  Block block{};
  block.format = format;
  for (std::size_t at = 0; at < row.size(); at += length) {
    if (format) load(block, row.data() + at, importance.empty() ? nullptr : importance.data() + at);
    double weight = 0, low = 0, high = 0;
    for (std::size_t i = 0; i < length; ++i) {
      const double x = row[at + i], difference = x - decoded[at + i], w = format ? block.w[i / 4][i % 4] : 1;
      sum.error += w * difference * difference;
      sum.plain += difference * difference;
      sum.power += x * x;
      weight += w;
      low = std::min(low, x), high = std::max(high, x);
    }
    const double range = (format && format->has_min ? high - low : std::max(high, -low)) * bound;
    sum.limit += weight * (range * range + 1e-14);  // halves end at 6e-8
  }
  return sum;
}

}  // namespace nacelle::compress
