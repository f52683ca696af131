// Cases of the operations that carry a state along each sequence, in shapes that kernels find awkward, and a decoder
// made of them.
#include <cmath>
#include <nacelle/plugin.hpp>

#include "sdk/conformance/grown_cases.hpp"

namespace nacelle::conformance {
namespace {

struct ScanShape {
  std::uint32_t heads, groups, keys, values;
  std::int64_t states() const { return std::int64_t{heads} * keys * values; }
};

// What there is beside q, k, v, step and rate.
struct ScanInputs {
  std::uint32_t rule;
  bool per_key, bias, strength, skip, rate_per_key = false;
};

sdk::Attributes scan_of(const ScanShape& shape, std::uint32_t rule, std::uint32_t group) {
  auto a = sdk::make<nacelle_scan_attributes>();
  a.cache_group = group;
  a.rule = rule;
  a.head_count = shape.heads;
  a.group_count = shape.groups;
  a.key_width = shape.keys;
  a.value_width = shape.values;
  a.scale = 0.5f;
  return sdk::Attributes(a);
}

sdk::Attributes convolution_of(std::uint32_t length, std::uint32_t activation, std::uint32_t group) {
  auto a = sdk::make<nacelle_convolution_attributes>();
  a.cache_group = group;
  a.length = length;
  a.activation = activation;
  return sdk::Attributes(a);
}

sdk::Attributes activated_by(std::uint32_t activation) {
  auto a = sdk::make<nacelle_activation_attributes>();
  a.activation = activation;
  a.alpha = 1;
  return sdk::Attributes(a);
}

Case scan_case(const ScanShape& shape, const ScanInputs& has) {
  Case of("state_scan " + std::string(has.rule == NACELLE_SCAN_ADD ? "add" : "delta") +
          (has.per_key        ? " by key "
           : has.rate_per_key ? " of a rate a key "
                              : " ") +
          std::to_string(shape.heads) + "/" + std::to_string(shape.groups) + " " + std::to_string(shape.keys) + "x" +
          std::to_string(shape.values));
  const std::int64_t heads = shape.heads, keys = std::int64_t{shape.groups} * shape.keys;
  const std::int64_t steps = has.per_key ? heads * shape.keys : heads;
  const std::int64_t rates = has.rate_per_key ? heads * shape.keys : heads;
  // Keys are shorter than 1: by longer ones the delta rule grows.
  const float unit = 1 / std::sqrt(static_cast<float>(shape.keys));
  std::vector<std::uint32_t> inputs = {of.rows(keys, 1), of.rows(keys, 2, unit), of.rows(heads * shape.values, 3),
                                       of.rows(steps, 4), of.weight(NACELLE_TYPE_F32, {rates}, 5, 0.25f, -0.5f)};
  inputs.push_back(has.bias ? of.weight(NACELLE_TYPE_F32, {steps}, 6) : NACELLE_NO_VALUE);
  inputs.push_back(has.strength ? of.op(NACELLE_OP_UNARY, {of.rows(heads, 7)}, activated_by(NACELLE_ACT_SIGMOID))[0]
                                : NACELLE_NO_VALUE);
  inputs.push_back(has.skip ? of.weight(NACELLE_TYPE_F32, {heads}, 8) : NACELLE_NO_VALUE);
  const std::uint32_t group = of.state_group(static_cast<std::uint32_t>(shape.states()));
  of.set_result(of.op(NACELLE_OP_STATE_SCAN, inputs, scan_of(shape, has.rule, group))[0]);
  return of;
}

Case convolution_case(std::uint32_t width, std::uint32_t length, bool biased, std::uint32_t activation) {
  Case of("convolution " + std::to_string(width) + " of " + std::to_string(length) + (biased ? " with bias" : "") +
          (activation ? " and activation" : ""));
  std::vector<std::uint32_t> inputs = {of.rows(width, 1), of.weight(NACELLE_TYPE_F32, {width, length}, 2)};
  if (biased) inputs.push_back(of.weight(NACELLE_TYPE_F32, {width}, 3));
  const std::uint32_t group = of.state_group((length - 1) * width);
  of.set_result(of.op(NACELLE_OP_CONVOLUTION, inputs, convolution_of(length, activation, group))[0]);
  return of;
}

// A layer of the Mamba-2 kind, or with the delta rule of the Gated DeltaNet kind, on rows of 32: x, and its output
// beside it.
std::uint32_t add_mixer(Case& of, std::uint32_t x, std::uint32_t layer) {
  constexpr ScanShape kShape{4, 2, 12, 20};
  constexpr std::int64_t kWidth = 32, kKeys = 2 * 12, kValues = 4 * 20, kMixed = 2 * kKeys + kValues, kHeads = 4;
  const bool delta = layer % 2 == 1;
  const std::uint64_t seed = 100 * (layer + 1);
  const auto linear = [&](std::uint32_t from, std::int64_t n, std::int64_t k, std::uint64_t offset) {
    return of.op(NACELLE_OP_MATMUL, {from, of.weight(NACELLE_TYPE_F32, {n, k}, seed + offset, 0.25f)})[0];
  };
  const auto vector = [&](std::int64_t n, std::uint64_t offset, float base) {
    return of.weight(NACELLE_TYPE_F32, {n}, seed + offset, 0.25f, base);
  };
  auto norm = sdk::make<nacelle_norm_attributes>();
  norm.epsilon = 1e-5f;
  const std::uint32_t h = of.op(NACELLE_OP_RMS_NORM, {x, vector(kWidth, 1, 1)}, sdk::Attributes(norm))[0];
  const std::uint32_t window = of.state_group(3 * kMixed);
  const std::uint32_t mixed = of.op(
      NACELLE_OP_CONVOLUTION,
      {linear(h, kMixed, kWidth, 2), of.weight(NACELLE_TYPE_F32, {kMixed, 4}, seed + 3, 0.5f), vector(kMixed, 4, 0)},
      convolution_of(4, NACELLE_ACT_SILU, window))[0];
  const auto parts = of.op(NACELLE_OP_SPLIT, {mixed}, {}, {kKeys, kKeys, kValues}, 3);
  norm.group = kShape.keys;
  std::uint32_t keys = parts[1];
  if (delta) keys = of.op(NACELLE_OP_RMS_NORM, {keys, vector(kShape.keys, 5, 0)}, sdk::Attributes(norm))[0];
  std::uint32_t strength = NACELLE_NO_VALUE;
  if (delta) strength = of.op(NACELLE_OP_UNARY, {linear(h, kHeads, kWidth, 6)}, activated_by(NACELLE_ACT_SIGMOID))[0];
  const std::uint32_t skip = delta ? NACELLE_NO_VALUE : vector(kHeads, 7, 1);
  const std::uint32_t state = of.state_group(static_cast<std::uint32_t>(kShape.states()));
  const std::uint32_t y = of.op(NACELLE_OP_STATE_SCAN,
                                {parts[0], keys, parts[2], linear(h, kHeads, kWidth, 8), vector(kHeads, 9, -0.5f),
                                 vector(kHeads, 10, 0), strength, skip},
                                scan_of(kShape, delta ? NACELLE_SCAN_DELTA : NACELLE_SCAN_ADD, state))[0];
  const std::uint32_t gated =
      of.op(NACELLE_OP_GATED, {linear(h, kValues, kWidth, 11), y}, activated_by(NACELLE_ACT_SILU))[0];
  return of.op(NACELLE_OP_ADD, {x, linear(gated, kWidth, kValues, 12)})[0];
}

}  // namespace

std::vector<Case> recurrent_cases() {
  constexpr ScanInputs kAdd{NACELLE_SCAN_ADD, false, true, false, true},
      kDelta{NACELLE_SCAN_DELTA, false, true, true, false}, kByKey{NACELLE_SCAN_DELTA, true, true, true, false},
      kAddByKey{NACELLE_SCAN_ADD, true, false, true, true}, kBare{NACELLE_SCAN_DELTA, false, false, false, false},
      kAddByRate{NACELLE_SCAN_ADD, false, true, false, true, true};
  std::vector<Case> cases;
  for (const ScanShape& shape :
       {ScanShape{1, 1, 1, 1}, {6, 3, 17, 33}, {3, 1, 64, 64}, {2, 2, 128, 130}, {2, 1, 129, 16}})
    for (const ScanInputs& has : {kAdd, kDelta, kByKey, kAddByKey}) cases.push_back(scan_case(shape, has));
  cases.push_back(scan_case({4, 2, 5, 3}, kBare));
  cases.push_back(scan_case({2, 1, 128, 128}, kDelta));
  cases.push_back(scan_case({8, 1, 128, 64}, kAdd));
  for (const ScanShape& shape : {ScanShape{1, 1, 2, 1}, {33, 1, 16, 1}, {6, 3, 129, 1}, {130, 2, 17, 1}})
    cases.push_back(scan_case(shape, kAddByRate));
  for (const std::uint32_t width : {1u, 3u, 33u, 130u, 1200u})
    for (const std::uint32_t length : {2u, 3u, 4u, 5u})
      cases.push_back(convolution_case(width, length, length % 2 == 0, width == 33 ? 0 : NACELLE_ACT_SILU));
  for (Case& of : cases) {
    of.context = 640;
    of.block_tokens = 1024;  // a block a sequence: there are as many states as blocks
    of.steps = {{{0, 0, 7}}, {{0, 7, 1}, {1, 0, 30}}, {{1, 30, 1}, {2, 0, 5}, {0, 8, 21}}};
  }
  return cases;
}

Case recurrent_decoder() {
  Case of("decoder with states");
  of.block_tokens = 16;
  of.context = 640;
  const std::uint32_t tokens = of.input(NACELLE_INPUT_TOKENS);
  auto embedding = sdk::make<nacelle_embedding_attributes>();
  embedding.scale = 1;
  const std::uint32_t table = of.weight(NACELLE_TYPE_F32, {kVocabulary, 32}, 1);
  std::uint32_t x = of.op(NACELLE_OP_EMBEDDING, {tokens, table}, sdk::Attributes(embedding))[0];
  for (std::uint32_t layer = 0; layer < 2; ++layer) x = add_mixer(of, x, layer);
  x = of.op(NACELLE_OP_GATHER, {x, of.input(NACELLE_INPUT_OUTPUT_ROWS)})[0];
  const std::uint32_t logits = of.op(NACELLE_OP_MATMUL, {x, of.weight(NACELLE_TYPE_F32, {kVocabulary, 32}, 3)})[0];
  of.set_result(logits, NACELLE_OUTPUT_LOGITS);
  of.op(NACELLE_OP_LOGITS_SELECT, {logits}, {}, {}, 0);
  of.subject = kDecoder;
  of.steps = in_chunks(70, 35);
  return of;
}

}  // namespace nacelle::conformance
