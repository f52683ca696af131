// Decodes the matrices of quantized checkpoints.
#include "sdk/runtime/packed_weights.hpp"

#include <cstring>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>

#include "sdk/runtime/checks.hpp"
#include "sdk/runtime/names.hpp"
#include "sdk/runtime/packed_bitsandbytes.hpp"
#include "sdk/runtime/packed_nvfp4.hpp"

namespace nacelle::sdk {
namespace {

constexpr std::int64_t kBlock = 32;       // of Q8_0
constexpr std::int64_t kFp8Square = 128;  // rows and columns that share a scale

WeightNode part(const std::string& name, nacelle_type type, std::size_t rank, const TensorLookup& lookup) {
  auto node = find_part(name, lookup);
  if (!node) throw Failure(NACELLE_NOT_FOUND, "tensor '" + name + "' is missing from the model file");
  if (node->type != type || node->shape.size() != rank)
    refuse(part_text(*node) + " is not " + type_name(type) + " of " + std::to_string(rank) +
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
    refuse(part_text(node.inputs[0]) + ", " + part_text(zeros) + " and " + part_text(scales) +
           " are no matrix of 4 bits with groups of a multiple of 32");
  node.type = NACELLE_TYPE_Q8_0;
  node.shape = {outputs, inputs};
  node.inputs.push_back(zeros);
  node.inputs.push_back(scales);
  return node;
}

// Rows of integers as compressed-tensors stores them; `values`: packed I32, or I8.
WeightNode integer_rows(WeightNode values, WeightNode scales, std::optional<WeightNode> zeros) {
  WeightNode node;
  const bool packed = values.type == NACELLE_TYPE_I32;
  node.kind = packed ? kWeightPackedRows : kWeightInt8;
  node.type = NACELLE_TYPE_Q8_0;
  if (values.shape.size() != 2) refuse(part_text(values) + " is no matrix");
  node.shape = {values.shape[0], values.shape[1] * (packed ? 8 : 1)};
  const std::int64_t outputs = node.shape[0], inputs = node.shape[1];
  scales.shape.resize(2, 1);
  const std::int64_t rows = scales.shape[0], groups = scales.shape[1];
  if (!is_float(scales.type) || (rows != outputs && rows != 1) || inputs % groups != 0 || inputs / groups % kBlock != 0)
    refuse(part_text(scales) + " is no scale of " + part_text(values) +
           ": expected one, one a row, or one a row for each group of a multiple of 32 columns");
  if (zeros && !(packed && zeros->type == NACELLE_TYPE_I32 && zeros->shape.size() == 2 && outputs % 8 == 0 &&
                 zeros->shape[0] * 8 == outputs && zeros->shape[1] == groups))
    refuse(part_text(*zeros) + " are no packed zero points of " + part_text(values));
  node.inputs = {std::move(values), std::move(scales)};
  if (zeros) node.inputs.push_back(*std::move(zeros));
  return node;
}

WeightNode packed_rows(const std::string& stem, const TensorLookup& lookup) {
  if (const auto order = find_part(stem + ".weight_g_idx", lookup))
    refuse(part_text(*order) + " orders columns by their activations, which is not supported");
  WeightNode values = part(stem + ".weight_packed", NACELLE_TYPE_I32, 2, lookup);
  auto scales = find_part(stem + ".weight_scale", lookup);
  if (!scales) throw Failure(NACELLE_NOT_FOUND, "tensor '" + stem + ".weight_scale' is missing from the model file");
  return integer_rows(std::move(values), *std::move(scales), find_part(stem + ".weight_zero_point", lookup));
}

WeightNode fp8(const WeightNode& values, WeightNode scales) {
  WeightNode node;
  node.kind = kWeightFp8;
  node.type = NACELLE_TYPE_F16;
  node.shape = values.shape;
  const bool is_matrix = scales.shape.size() <= 2;
  scales.shape.resize(2, 1);
  const auto squares = [](std::int64_t extent) { return (extent + kFp8Square - 1) / kFp8Square; };
  const auto fits = [&](std::size_t axis) {
    const std::int64_t count = scales.shape[axis];
    return count == 1 || count == squares(node.shape[axis]) || (axis == 0 && count == node.shape[0]);
  };
  if (values.shape.size() != 2 || !is_matrix || !is_float(scales.type) || !fits(0) || !fits(1))
    refuse(part_text(scales) + " is no scale of " + part_text(values) +
           ": expected one, one a row, or one for 128 x 128 elements");
  node.inputs = {values, std::move(scales)};
  return node;
}

std::uint32_t word(const std::byte* from, std::int64_t index) {
  std::uint32_t value;
  std::memcpy(&value, from + index * 4, sizeof value);
  return value;
}

void read_four_bits(const WeightNode& node, const PackedParts& parts, std::uint64_t offset, std::uint64_t size,
                    std::byte* out) {
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

void read_integer_rows(const WeightNode& node, const PackedParts& parts, std::uint64_t offset, std::uint64_t size,
                       std::byte* out) {
  constexpr std::uint64_t kBytes = 2 + kBlock;
  const std::int64_t inputs = node.shape[1], blocks = inputs / kBlock;
  const WeightNode& scales = node.inputs[1];
  const std::int64_t groups = scales.shape[1], group = inputs / groups;
  const bool one_row = scales.shape[0] == 1, has_zeros = node.inputs.size() > 2;
  const float divisor = node.kind == kWeightInt8Absmax ? 127 : 1;
  const auto first = static_cast<std::int64_t>(offset / kBytes);
  for (std::int64_t block = first; block < first + static_cast<std::int64_t>(size / kBytes); ++block) {
    const std::int64_t n = block / blocks, begin = block % blocks * kBlock, at = begin / group;
    const std::uint16_t scale = float_to_half(scale_at(scales, parts[1], (one_row ? 0 : n) * groups + at) / divisor);
    std::memcpy(out, &scale, sizeof scale);
    out += sizeof scale;
    if (node.kind != kWeightPackedRows) {
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

void read_fp8(const WeightNode& node, const PackedParts& parts, std::uint64_t offset, std::uint64_t size,
              std::byte* out) {
  const std::int64_t columns = node.shape[1];
  const WeightNode& scales = node.inputs[1];
  const std::int64_t across = scales.shape[1], rows_a_scale = scales.shape[0] == node.shape[0] ? 1 : kFp8Square;
  const auto first = static_cast<std::int64_t>(offset / 2);
  for (std::int64_t i = first; i < first + static_cast<std::int64_t>(size / 2); ++i) {
    const std::int64_t row = i / columns, column = i % columns;
    const std::int64_t down = scales.shape[0] == 1 ? 0 : row / rows_a_scale;
    const std::int64_t right = across == 1 ? 0 : column / kFp8Square;
    const std::uint16_t half =
        float_to_half(value_of(e4m3_parts(parts[0][i])) * scale_at(scales, parts[1], down * across + right));
    std::memcpy(out, &half, sizeof half);
    out += sizeof half;
  }
}

// bitsandbytes' 8 bits: what a scale is given as is the largest value of its row.
WeightNode absmax_rows(const WeightNode& values, WeightNode largest) {
  WeightNode node = integer_rows(values, std::move(largest), std::nullopt);
  node.kind = kWeightInt8Absmax;
  return node;
}

// `values` of one byte; nullopt where nothing beside them says what they mean.
std::optional<WeightNode> bytes(const WeightNode& values, const std::string& stem, const TensorLookup& lookup) {
  const std::string tensor = stem + ".weight";
  if (values.type == NACELLE_TYPE_I8)
    if (auto largest = find_part(stem + ".SCB", lookup)) return absmax_rows(values, *std::move(largest));
  if (values.type == NACELLE_TYPE_U8 && find_part(tensor + "_scale_2", lookup))
    return nvfp4(values, tensor + "_scale", tensor + "_scale_2", false, lookup);
  if (values.type == NACELLE_TYPE_U8 && find_part(tensor + ".absmax", lookup))
    refuse("tensor '" + tensor + ".quant_state.bitsandbytes__nf4' is missing from the model file: it tells how " +
           part_text(values) + " is packed");
  for (const char* name : {"_scale_inv", "_scale"}) {
    auto scales = find_part(tensor + name, lookup);
    if (!scales) continue;
    if (values.type == NACELLE_TYPE_I8)
      return integer_rows(values, *std::move(scales), find_part(tensor + "_zero_point", lookup));
    // Scales of one byte are NVFP4's.
    return scales->type == NACELLE_TYPE_U8 ? nvfp4(values, tensor + "_scale", tensor + "_scale_2", false, lookup)
                                           : fp8(values, *std::move(scales));
  }
  return std::nullopt;
}

std::optional<WeightNode> resolve(const std::string& tensor, const TensorLookup& lookup, const StateLookup& states) {
  constexpr std::string_view kSuffix = ".weight";
  if (!tensor.ends_with(kSuffix)) return std::nullopt;
  const std::string stem = tensor.substr(0, tensor.size() - kSuffix.size());
  if (auto node = four_bit_blocks(tensor, lookup, states)) return node;
  if (const auto values = find_part(tensor, lookup)) {
    const bool one_byte = values->type == NACELLE_TYPE_U8 || values->type == NACELLE_TYPE_I8;
    return one_byte ? bytes(*values, stem, lookup) : std::nullopt;
  }
  if (find_part(stem + ".qweight", lookup)) return four_bits(stem, lookup);
  const auto packed = find_part(tensor + "_packed", lookup);
  if (!packed) return std::nullopt;
  if (packed->type == NACELLE_TYPE_U8) return nvfp4(*packed, tensor + "_scale", tensor + "_global_scale", true, lookup);
  return packed_rows(stem, lookup);
}

}  // namespace

std::optional<WeightNode> find_part(const std::string& name, const TensorLookup& lookup) {
  WeightNode node;
  node.tensor = name;
  std::uint32_t rank = 0;
  std::array<std::int64_t, NACELLE_MAX_RANK> shape{};
  if (!lookup(name, &node.type, &rank, shape.data())) return std::nullopt;
  if (rank > NACELLE_MAX_RANK) refuse("tensor '" + name + "' has more than 4 axes");
  node.shape.assign(shape.begin(), shape.begin() + rank);
  if (rank == 0) node.shape = {1};
  for (const std::int64_t extent : node.shape)
    if (extent < 1 || extent > kMaxExtent)
      refuse("tensor '" + name + "' of shape " + shape_text(node.shape) + " has an extent out of range");
  return node;
}

std::string part_text(const WeightNode& node) {
  return "tensor '" + node.tensor + "' (" + type_name(node.type) + " " + shape_text(node.shape) + ")";
}

std::string part_text(const std::optional<WeightNode>& node, const std::string& name) {
  return node ? part_text(*node) : "tensor '" + name + "' (missing)";
}

std::optional<WeightNode> resolve_packed(const std::string& tensor, const TensorLookup& lookup,
                                         const StateLookup& states) {
  auto node = resolve(tensor, lookup, states);
  if (!node) return node;
  node->tensor = tensor;
  const std::string inputs = tensor.substr(0, tensor.rfind('.')) + ".pre_quant_scale";
  if (const auto scales = find_part(inputs, lookup))
    refuse(part_text(*scales) + " scales what '" + tensor + "' is applied to, which is not supported");
  return node;
}

void read_packed(const WeightNode& node, const PackedParts& parts, std::uint64_t offset, std::uint64_t size,
                 std::byte* out) {
  switch (node.kind) {
    case kWeightGptq:
    case kWeightAwq: return read_four_bits(node, parts, offset, size, out);
    case kWeightFp8: return read_fp8(node, parts, offset, size, out);
    case kWeightNvfp4:
    case kWeightNvfp4Divided: return read_nvfp4(node, parts, offset, size, out);
    case kWeightNf4:
    case kWeightFp4: return read_four_bit_blocks(node, parts, offset, size, out);
    default: return read_integer_rows(node, parts, offset, size, out);
  }
}

}  // namespace nacelle::sdk
