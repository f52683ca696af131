// Decodes the matrices of quantized checkpoints.
#include "sdk/runtime/packed_weights.hpp"

#include <cmath>
#include <cstring>
#include <nacelle/half.hpp>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>

#include "sdk/runtime/checks.hpp"
#include "sdk/runtime/names.hpp"

namespace nacelle::sdk {
namespace {

constexpr std::int64_t kBlock = 32;       // of Q8_0
constexpr std::int64_t kFp8Square = 128;  // rows and columns that share a scale

std::optional<WeightNode> find(const std::string& name, const TensorLookup& lookup) {
  WeightNode node;
  node.tensor = name;
  std::uint32_t rank = 0;
  std::array<std::int64_t, NACELLE_MAX_RANK> shape{};
  if (!lookup(name, &node.type, &rank, shape.data())) return std::nullopt;
  node.shape.assign(shape.begin(), shape.begin() + rank);
  if (rank == 0) node.shape = {1};
  return node;
}

std::string text(const WeightNode& node) {
  return "tensor '" + node.tensor + "' (" + type_name(node.type) + " " + shape_text(node.shape) + ")";
}

WeightNode part(const std::string& name, nacelle_type type, std::size_t rank, const TensorLookup& lookup) {
  auto node = find(name, lookup);
  if (!node) throw Failure(NACELLE_NOT_FOUND, "tensor '" + name + "' is missing from the model file");
  for (const std::int64_t extent : node->shape)
    if (extent < 1 || extent > kMaxExtent) refuse(text(*node) + " has an extent out of range");
  if (node->type != type || node->shape.size() != rank)
    refuse(text(*node) + " is not " + type_name(type) + " of " + std::to_string(rank) +
           " axes, as a packed matrix has it");
  return *std::move(node);
}

WeightNode four_bits(const std::string& stem, const TensorLookup& lookup) {
  WeightNode node;
  const WeightNode& q = node.inputs.emplace_back(part(stem + ".qweight", NACELLE_TYPE_I32, 2, lookup));
  const std::int64_t rows = q.shape[0], columns = q.shape[1];
  const WeightNode zeros = part(stem + ".qzeros", NACELLE_TYPE_I32, 2, lookup);
  const WeightNode scales = part(stem + ".scales", NACELLE_TYPE_F16, 2, lookup);
  const std::int64_t outputs = scales.shape[1], groups = scales.shape[0];
  node.kind = columns == outputs ? kWeightGptq : kWeightAwq;
  const std::int64_t inputs = node.kind == kWeightGptq ? rows * 8 : rows;
  const bool fits = (columns == outputs || columns * 8 == outputs) && zeros.shape[0] == groups &&
                    zeros.shape[1] * 8 == outputs && inputs % groups == 0 && inputs / groups % kBlock == 0;
  if (!fits)
    refuse(text(node.inputs[0]) + ", " + text(zeros) + " and " + text(scales) +
           " are no matrix of 4 bits with groups of a multiple of 32");
  node.type = NACELLE_TYPE_Q8_0;
  node.shape = {outputs, inputs};
  node.inputs.push_back(zeros);
  node.inputs.push_back(scales);
  return node;
}

bool is_float(const WeightNode& scales) {
  return scales.type == NACELLE_TYPE_F32 || scales.type == NACELLE_TYPE_BF16 || scales.type == NACELLE_TYPE_F16;
}

// Rows of integers as compressed-tensors stores them; `values`: packed I32, or I8.
WeightNode integer_rows(WeightNode values, WeightNode scales, std::optional<WeightNode> zeros) {
  WeightNode node;
  const bool packed = values.type == NACELLE_TYPE_I32;
  node.kind = packed ? kWeightPackedRows : kWeightInt8;
  node.type = NACELLE_TYPE_Q8_0;
  if (values.shape.size() != 2) refuse(text(values) + " is no matrix");
  node.shape = {values.shape[0], values.shape[1] * (packed ? 8 : 1)};
  const std::int64_t outputs = node.shape[0], inputs = node.shape[1];
  scales.shape.resize(2, 1);
  const std::int64_t rows = scales.shape[0], groups = scales.shape[1];
  if (!is_float(scales) || (rows != outputs && rows != 1) || inputs % groups != 0 || inputs / groups % kBlock != 0)
    refuse(text(scales) + " is no scale of " + text(values) +
           ": expected one, one a row, or one a row for each group of a multiple of 32 columns");
  if (zeros && !(packed && zeros->type == NACELLE_TYPE_I32 && zeros->shape.size() == 2 && outputs % 8 == 0 &&
                 zeros->shape[0] * 8 == outputs && zeros->shape[1] == groups))
    refuse(text(*zeros) + " are no packed zero points of " + text(values));
  node.inputs = {std::move(values), std::move(scales)};
  if (zeros) node.inputs.push_back(*std::move(zeros));
  return node;
}

WeightNode packed_rows(const std::string& stem, const TensorLookup& lookup) {
  if (const auto order = find(stem + ".weight_g_idx", lookup))
    refuse(text(*order) + " orders columns by their activations, which is not supported");
  WeightNode values = part(stem + ".weight_packed", NACELLE_TYPE_I32, 2, lookup);
  auto scales = find(stem + ".weight_scale", lookup);
  if (!scales) throw Failure(NACELLE_NOT_FOUND, "tensor '" + stem + ".weight_scale' is missing from the model file");
  return integer_rows(std::move(values), *std::move(scales), find(stem + ".weight_zero_point", lookup));
}

WeightNode fp8(const WeightNode& values, WeightNode scales) {
  WeightNode node;
  node.kind = kWeightFp8;
  node.type = NACELLE_TYPE_F16;
  node.shape = values.shape;
  scales.shape.resize(2, 1);
  const auto squares = [](std::int64_t extent) { return (extent + kFp8Square - 1) / kFp8Square; };
  const auto fits = [&](std::size_t axis) {
    const std::int64_t count = scales.shape[axis];
    return count == 1 || count == squares(node.shape[axis]) || (axis == 0 && count == node.shape[0]);
  };
  if (values.shape.size() != 2 || !is_float(scales) || !fits(0) || !fits(1))
    refuse(text(scales) + " is no scale of " + text(values) +
           ": expected one, one a row, or one for 128 x 128 elements");
  node.inputs = {values, std::move(scales)};
  return node;
}

std::uint32_t word(const std::byte* from, std::int64_t index) {
  std::uint32_t value;
  std::memcpy(&value, from + index * 4, sizeof value);
  return value;
}

std::uint16_t half_word(const std::byte* from, std::int64_t index) {
  std::uint16_t value;
  std::memcpy(&value, from + index * 2, sizeof value);
  return value;
}

void read_four_bits(const WeightNode& node, const std::array<const std::byte*, 3>& parts, std::uint64_t offset,
                    std::uint64_t size, std::byte* out) {
  constexpr std::uint32_t kAwqShift[] = {0, 16, 4, 20, 8, 24, 12, 28};  // of each of eight columns
  constexpr std::uint64_t kBytes = 2 + kBlock;
  const std::int64_t outputs = node.shape[0], inputs = node.shape[1], blocks = inputs / kBlock;
  const std::int64_t group = inputs / node.inputs[2].shape[0];
  const bool awq = node.kind == kWeightAwq;
  const auto first = static_cast<std::int64_t>(offset / kBytes);
  for (std::int64_t block = first; block < first + static_cast<std::int64_t>(size / kBytes); ++block) {
    const std::int64_t n = block / blocks, begin = block % blocks * kBlock, at = begin / group;
    const std::uint32_t shift = awq ? kAwqShift[n % 8] : 4 * static_cast<std::uint32_t>(n % 8);
    const auto zero = static_cast<int>(word(parts[1], at * (outputs / 8) + n / 8) >> shift & 15) + !awq;
    const std::uint16_t scale = half_word(parts[2], at * outputs + n);
    std::memcpy(out, &scale, sizeof scale);
    out += sizeof scale;
    for (std::int64_t k = begin; k < begin + kBlock; ++k) {
      const std::uint32_t packed =
          awq ? word(parts[0], k * (outputs / 8) + n / 8) >> shift : word(parts[0], k / 8 * outputs + n) >> 4 * (k % 8);
      *out++ = static_cast<std::byte>(static_cast<int>(packed & 15) - zero);
    }
  }
}

float scale_at(const WeightNode& scales, const std::byte* data, std::int64_t index) {
  if (scales.type == NACELLE_TYPE_F16) return half_to_float(half_word(data, index));
  if (scales.type == NACELLE_TYPE_BF16) return bfloat16_to_float(half_word(data, index));
  float value;
  std::memcpy(&value, data + index * 4, sizeof value);
  return value;
}

void read_integer_rows(const WeightNode& node, const std::array<const std::byte*, 3>& parts, std::uint64_t offset,
                       std::uint64_t size, std::byte* out) {
  constexpr std::uint64_t kBytes = 2 + kBlock;
  const std::int64_t inputs = node.shape[1], blocks = inputs / kBlock;
  const WeightNode& scales = node.inputs[1];
  const std::int64_t groups = scales.shape[1], group = inputs / groups;
  const bool one_row = scales.shape[0] == 1, has_zeros = node.inputs.size() > 2;
  const auto first = static_cast<std::int64_t>(offset / kBytes);
  for (std::int64_t block = first; block < first + static_cast<std::int64_t>(size / kBytes); ++block) {
    const std::int64_t n = block / blocks, begin = block % blocks * kBlock, at = begin / group;
    const std::uint16_t scale = float_to_half(scale_at(scales, parts[1], (one_row ? 0 : n) * groups + at));
    std::memcpy(out, &scale, sizeof scale);
    out += sizeof scale;
    if (node.kind == kWeightInt8) {
      std::memcpy(out, parts[0] + n * inputs + begin, kBlock);
      out += kBlock;
      continue;
    }
    const int zero = has_zeros ? static_cast<int>(word(parts[2], n / 8 * groups + at) >> 4 * (n % 8) & 15) : 8;
    for (std::int64_t k = begin; k < begin + kBlock; ++k) {
      const std::uint32_t packed = word(parts[0], (n * inputs + k) / 8) >> 4 * (k % 8);
      *out++ = static_cast<std::byte>(static_cast<int>(packed & 15) - zero);
    }
  }
}

// OCP 8-bit Floating Point Specification 1.0: 4 bits of exponent with a bias of 7, 3 of mantissa; no infinities.
float e4m3(std::byte byte) {
  const auto bits = std::to_integer<unsigned>(byte);
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  const float value = exponent == 15 && mantissa == 7 ? NAN
                      : exponent == 0                 ? std::ldexp(static_cast<float>(mantissa), -9)
                                                      : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return bits & 128 ? -value : value;
}

void read_fp8(const WeightNode& node, const std::array<const std::byte*, 3>& parts, std::uint64_t offset,
              std::uint64_t size, std::byte* out) {
  const std::int64_t columns = node.shape[1];
  const WeightNode& scales = node.inputs[1];
  const std::int64_t across = scales.shape[1], rows_a_scale = scales.shape[0] == node.shape[0] ? 1 : kFp8Square;
  const auto first = static_cast<std::int64_t>(offset / 2);
  for (std::int64_t i = first; i < first + static_cast<std::int64_t>(size / 2); ++i) {
    const std::int64_t row = i / columns, column = i % columns;
    const std::int64_t down = scales.shape[0] == 1 ? 0 : row / rows_a_scale;
    const std::int64_t right = across == 1 ? 0 : column / kFp8Square;
    const std::uint16_t half = float_to_half(e4m3(parts[0][i]) * scale_at(scales, parts[1], down * across + right));
    std::memcpy(out, &half, sizeof half);
    out += sizeof half;
  }
}

std::optional<WeightNode> resolve(const std::string& tensor, const TensorLookup& lookup) {
  constexpr std::string_view kSuffix = ".weight";
  if (!tensor.ends_with(kSuffix)) return std::nullopt;
  const auto values = find(tensor, lookup);
  if (!values) {
    const std::string stem = tensor.substr(0, tensor.size() - kSuffix.size());
    if (find(stem + ".qweight", lookup)) return four_bits(stem, lookup);
    if (find(stem + ".weight_packed", lookup)) return packed_rows(stem, lookup);
    return std::nullopt;
  }
  if (values->type != NACELLE_TYPE_U8 && values->type != NACELLE_TYPE_I8) return std::nullopt;
  for (const char* name : {"_scale_inv", "_scale"})
    if (auto scales = find(tensor + name, lookup))
      return values->type == NACELLE_TYPE_U8
                 ? fp8(*values, *std::move(scales))
                 : integer_rows(*values, *std::move(scales), find(tensor + "_zero_point", lookup));
  return std::nullopt;
}

}  // namespace

std::optional<WeightNode> resolve_packed(const std::string& tensor, const TensorLookup& lookup) {
  auto node = resolve(tensor, lookup);
  if (node) node->tensor = tensor;
  return node;
}

void read_packed(const WeightNode& node, const std::array<const std::byte*, 3>& parts, std::uint64_t offset,
                 std::uint64_t size, std::byte* out) {
  switch (node.kind) {
    case kWeightGptq:
    case kWeightAwq: return read_four_bits(node, parts, offset, size, out);
    case kWeightFp8: return read_fp8(node, parts, offset, size, out);
    default: return read_integer_rows(node, parts, offset, size, out);
  }
}

}  // namespace nacelle::sdk
