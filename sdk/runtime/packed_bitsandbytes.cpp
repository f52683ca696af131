// bitsandbytes' 4 bits as blocks of integers. Source of both tables:
// https://github.com/bitsandbytes-foundation/bitsandbytes (NF4: arXiv 2305.14314, appendix E).
#include "sdk/runtime/packed_bitsandbytes.hpp"

#include <array>
#include <nacelle/types.hpp>
#include <utility>

#include "sdk/runtime/checks.hpp"

namespace nacelle::sdk {
namespace {

constexpr std::int64_t kRun = 32;  // columns of a Q8_0 block

// value(code) = integer / steps, nearly.
struct FourBitTable {
  std::array<std::int8_t, 16> integers;
  float steps;
};

// The step is the one of least squares for codes of normal weights, blocks of 64.
constexpr FourBitTable kNf4 = {{-124, -86, -65, -49, -35, -23, -11, 0, 10, 20, 31, 42, 55, 70, 90, 124}, 124.114f};
// 12ths, but for one code: 1 / 192 where 1 / 120 stands.
constexpr FourBitTable kFp4 = {{0, 1, 80, 120, 40, 60, 20, 30, 0, -1, -80, -120, -40, -60, -20, -30}, 120};

struct NamedKind {
  const char* name;
  std::uint32_t kind;
};
constexpr NamedKind kNamedKinds[] = {{"nf4", kWeightNf4}, {"fp4", kWeightFp4}};

std::int64_t pieces(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

std::uint64_t bytes_of(const WeightNode& node) {
  std::uint64_t bytes = row_bytes(node.type, 1);
  for (const std::int64_t extent : node.shape) bytes *= static_cast<std::uint64_t>(extent);
  return bytes;
}

// `tensor` + `suffix`, of `count` elements in one row.
WeightNode list(const std::string& tensor, const char* suffix, nacelle_type type, std::int64_t count,
                const TensorLookup& lookup) {
  const std::string name = tensor + suffix;
  auto node = find_part(name, lookup);
  if (!node || node->type != type || node->shape != std::vector<std::int64_t>{count})
    refuse(part_text(node, name) + " does not fit '" + tensor + "': expected " + type_name(type) + " [" +
           std::to_string(count) + "]");
  return *std::move(node);
}

void check_state(const std::string& name, const FourBitState& state) {
  const bool is_matrix = state.shape.size() == 2 && state.shape[0] >= 1 && state.shape[1] >= 1 &&
                         state.shape[0] <= kMaxExtent && state.shape[1] <= kMaxExtent && state.shape[1] % kRun == 0;
  if (!is_matrix)
    refuse("tensor '" + name + "': 'shape' is " + shape_text(state.shape) +
           ", expected two extents, the second a multiple of 32");
  if (state.block < kRun || state.block > kMaxExtent || state.block % kRun)
    refuse("tensor '" + name + "': 'blocksize' is " + std::to_string(state.block) +
           ", expected 64 or another multiple of 32");
}

}  // namespace

std::optional<WeightNode> four_bit_blocks(const std::string& tensor, const TensorLookup& lookup,
                                          const StateLookup& states) {
  for (const NamedKind& known : kNamedKinds) {
    const std::string name = tensor + ".quant_state.bitsandbytes__" + known.name;
    const auto state = states ? states(name) : std::nullopt;
    if (!state) continue;
    check_state(name, *state);
    const std::int64_t codes = state->shape[0] * state->shape[1], blocks = pieces(codes, state->block);
    auto values = find_part(tensor, lookup);
    if (!values || bytes_of(*values) * 2 != static_cast<std::uint64_t>(codes))
      refuse(part_text(values, tensor) + " does not fit its quant_state: expected " + std::to_string(codes / 2) +
             " bytes, for 4 bits of " + shape_text(state->shape));
    WeightNode node;
    node.kind = known.kind;
    node.type = NACELLE_TYPE_Q8_0;
    node.shape = state->shape;
    node.begin = state->block;
    node.inputs.push_back(*std::move(values));
    const auto absmax = find_part(tensor + ".absmax", lookup);
    const bool nested = absmax && absmax->type == NACELLE_TYPE_U8;
    node.inputs.push_back(list(tensor, ".absmax", nested ? NACELLE_TYPE_U8 : NACELLE_TYPE_F32, blocks, lookup));
    if (nested) {
      if (state->nested_block < 1 || state->nested_block > kMaxExtent)
        refuse("tensor '" + name + "': 'nested_blocksize' is " + std::to_string(state->nested_block) +
               ", expected at least 1, as '" + tensor + ".absmax' is U8");
      node.nested_block = state->nested_block;
      node.constant = state->nested_offset;
      node.inputs.push_back(
          list(tensor, ".nested_absmax", NACELLE_TYPE_F32, pieces(blocks, state->nested_block), lookup));
      node.inputs.push_back(list(tensor, ".nested_quant_map", NACELLE_TYPE_F32, 256, lookup));
    }
    return node;
  }
  return std::nullopt;
}

void read_four_bit_blocks(const WeightNode& node, const PackedParts& parts, std::uint64_t offset, std::uint64_t size,
                          std::byte* out) {
  constexpr std::uint64_t kBytes = 2 + kRun;
  const FourBitTable& table = node.kind == kWeightNf4 ? kNf4 : kFp4;
  const bool nested = node.inputs.size() > 2;
  const auto absmax_of = [&](std::int64_t block) {  // in f32, in the order of bitsandbytes
    if (!nested) return scale_at(node.inputs[1], parts[1], block);
    const auto code = std::to_integer<std::int64_t>(parts[1][block]);
    return scale_at(node.inputs[3], parts[3], code) * scale_at(node.inputs[2], parts[2], block / node.nested_block) +
           static_cast<float>(node.constant);
  };
  const auto first = static_cast<std::int64_t>(offset / kBytes), count = static_cast<std::int64_t>(size / kBytes);
  for (std::int64_t run = first; run < first + count; ++run) {
    const std::uint16_t scale = float_to_half(absmax_of(run * kRun / node.begin) / table.steps);
    std::memcpy(out, &scale, sizeof scale);
    out += sizeof scale;
    const std::byte* codes = parts[0] + run * kRun / 2;
    for (std::int64_t i = 0; i < kRun; ++i) {
      const auto both = std::to_integer<unsigned>(codes[i / 2]);
      *out++ = static_cast<std::byte>(table.integers[i % 2 ? both & 15 : both >> 4]);
    }
  }
}

}  // namespace nacelle::sdk
