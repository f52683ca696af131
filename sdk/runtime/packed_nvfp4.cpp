// NVFP4 as blocks of integers.
#include "sdk/runtime/packed_nvfp4.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <nacelle/block_formats.hpp>
#include <utility>

#include "sdk/runtime/checks.hpp"

namespace nacelle::sdk {
namespace {

constexpr std::int64_t kScaled = 16;  // columns that share a scale
constexpr std::int64_t kSuper = 256;  // columns of a Q6_K block
constexpr int kScales = kSuper / kScaled;
constexpr float kMostScale = 240;  // as 120 of the 127 that a Q6_K scale may be, with codes twice as large

// Twice the value of an E2M1 code: 12 at most.
int doubled(const std::byte* codes, std::int64_t index) {
  static constexpr const std::int8_t* kDoubled = block_format(NACELLE_TYPE_MXFP4)->codebook;
  const auto both = std::to_integer<unsigned>(codes[index / 2]);
  return kDoubled[index % 2 ? both >> 4 : both & 15];
}

// The scale of 16 codes; 0 where all of them are zeros, so that nothing is made room for.
E4m3 scale_of(const std::byte* codes, std::byte scale) {
  const bool zeros =
      std::all_of(codes, codes + kScaled / 2, [](std::byte both) { return (both & std::byte{0x77}) == std::byte{0}; });
  return zeros ? E4m3{} : e4m3_parts(scale);
}

// The scales of 16 times 16 columns in one unit, a power of two.
struct Scales {
  std::array<int, kScales> integers;
  int unit;  // its exponent
  bool are_numbers = true;
};

Scales common_scales(const std::byte* scales, const std::byte* codes) {
  Scales result{.integers = {}, .unit = 0};
  std::array<E4m3, kScales> parts{};
  float largest = 0;
  int unit = 99;  // above every exponent
  for (int i = 0; i < kScales; ++i) {
    E4m3& part = parts[static_cast<std::size_t>(i)] = scale_of(codes + i * kScaled / 2, scales[i]);
    result.are_numbers &= part.is_number;
    if (part.integer == 0) continue;
    for (; part.integer % 2 == 0; part.integer /= 2) ++part.exponent;
    unit = std::min(unit, part.exponent);
    largest = std::max(largest, std::ldexp(static_cast<float>(std::abs(part.integer)), part.exponent));
  }
  if (largest == 0) return result;
  while (std::ldexp(largest, -unit) > kMostScale) ++unit;
  result.unit = unit;
  for (std::size_t i = 0; i < kScales; ++i)
    result.integers[i] =
        static_cast<int>(std::nearbyint(std::ldexp(static_cast<float>(parts[i].integer), parts[i].exponent - unit)));
  return result;
}

// One block of 256 columns: scale * integer * doubled code. Source of the layout: block_formats.hpp.
void write_q6_k(const std::byte* codes, const std::byte* scales, double whole, std::byte* out) {
  std::fill_n(out, 192, std::byte{0});
  const Scales own = common_scales(scales, codes);
  for (int i = 0; i < kSuper; ++i) {
    const int scale = own.integers[static_cast<std::size_t>(i / kScaled)];
    const int times = std::abs(scale) > 127 ? 2 : 1;  // then it is even
    if (i % kScaled == 0) out[192 + i / kScaled] = static_cast<std::byte>(scale / times);
    const unsigned code = static_cast<unsigned>(doubled(codes, i) * times + 32);
    const int half = i / 128, at = i % 128;
    out[half * 64 + at % 64] |= static_cast<std::byte>((code & 15) << 4 * (at / 64));
    out[128 + half * 32 + at % 32] |= static_cast<std::byte>(code >> 4 << 2 * (at / 32));
  }
  const double unit = own.are_numbers ? std::ldexp(whole, own.unit - 1) : NAN;
  const std::uint16_t scale = float_to_half(static_cast<float>(unit));
  std::memcpy(out + 208, &scale, sizeof scale);
}

// One block of 32 columns: the larger scale's codes, ten times doubled, are exact.
void write_q8_0(const std::byte* codes, const std::byte* scales, double whole, std::byte* out) {
  constexpr int kTimes = 10;  // the largest integer is 120
  const float own[] = {value_of(scale_of(codes, scales[0])), value_of(scale_of(codes + kScaled / 2, scales[1]))};
  const float largest = std::max(std::abs(own[0]), std::abs(own[1]));
  const bool are_numbers = !std::isnan(own[0]) && !std::isnan(own[1]);
  const std::uint16_t scale = float_to_half(are_numbers ? static_cast<float>(largest * whole / (2 * kTimes)) : NAN);
  std::memcpy(out, &scale, sizeof scale);
  for (int i = 0; i < 2 * kScaled; ++i) {
    const float ratio = are_numbers && largest > 0 ? own[i / kScaled] / largest : 0;
    out[2 + i] = static_cast<std::byte>(std::lrint(static_cast<float>(kTimes * doubled(codes, i)) * ratio));
  }
}

}  // namespace

WeightNode nvfp4(WeightNode values, const std::string& scales_name, const std::string& whole_name, bool divides,
                 const TensorLookup& lookup) {
  auto scales = find_part(scales_name, lookup), whole = find_part(whole_name, lookup);
  const bool is_matrix = values.type == NACELLE_TYPE_U8 && values.shape.size() == 2 && values.shape[0] <= kMaxExtent &&
                         values.shape[1] <= kMaxExtent / 2 && values.shape[1] * 2 % 32 == 0;
  const std::int64_t rows = is_matrix ? values.shape[0] : 0, columns = is_matrix ? values.shape[1] * 2 : 0;
  const bool fits = is_matrix && scales && scales->type == NACELLE_TYPE_U8 && whole && is_float(whole->type) &&
                    scales->shape == std::vector<std::int64_t>{rows, columns / kScaled} &&
                    whole->shape == std::vector<std::int64_t>{1};
  if (!fits)
    refuse(part_text(values) + ", " + part_text(scales, scales_name) + " and " + part_text(whole, whole_name) +
           " are no NVFP4 matrix: expected U8 [N, K/2] with K a multiple of 32, F8_E4M3 [N, K/16] and F32 [1]");
  WeightNode node;
  node.kind = divides ? kWeightNvfp4Divided : kWeightNvfp4;
  node.type = columns % kSuper == 0 ? NACELLE_TYPE_Q6_K : NACELLE_TYPE_Q8_0;
  node.shape = {rows, columns};
  node.inputs = {std::move(values), *std::move(scales), *std::move(whole)};
  return node;
}

void read_nvfp4(const WeightNode& node, const PackedParts& parts, std::uint64_t offset, std::uint64_t size,
                std::byte* out) {
  const TypeInfo& type = *type_info(node.type);
  const double given = scale_at(node.inputs[2], parts[2], 0);
  const double whole = node.kind == kWeightNvfp4Divided ? 1 / given : given;
  const std::uint64_t first = offset / type.block_bytes, count = size / type.block_bytes;
  for (std::uint64_t block = first; block < first + count; ++block, out += type.block_bytes) {
    const std::uint64_t element = block * type.block_elements;  // rows are whole blocks
    const std::byte *codes = parts[0] + element / 2, *scales = parts[1] + element / kScaled;
    (node.type == NACELLE_TYPE_Q6_K ? write_q6_k : write_q8_0)(codes, scales, whole, out);
  }
}

}  // namespace nacelle::sdk
