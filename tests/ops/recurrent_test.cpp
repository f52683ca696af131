// Operations that carry a state along each sequence, on the plugin that the including target names: held against the
// reference in shapes that fill no tile, and against themselves bit by bit in other chunks, batches and buckets.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <nacelle/plugin.hpp>

#include "sdk/conformance/bounds.hpp"
#include "sdk/conformance/grown_cases.hpp"
#include "sdk/conformance/host.hpp"
#include "sdk/conformance/session.hpp"

namespace nacelle::conformance {
namespace {

Backend& tested() {
  static Backend backend(NACELLE_TESTED_PLUGIN, 0);
  return backend;
}
Backend& defining() {
  static Backend backend(NACELLE_REFERENCE_PLUGIN, 0);
  return backend;
}

std::uint32_t state_group(Case& of, std::uint32_t values, std::uint32_t layers = 1) {
  const std::uint32_t group = of.cache_group(values, 0, layers);
  of.set_group_kind(group, NACELLE_CACHE_STATE);
  return group;
}

struct Scan {
  const char* name;
  std::uint32_t rule, heads, groups, keys, values;
  bool step_a_key, bias, strength, skip, rate_a_key = false;
};
// Of lanes, warps and tiles none is full; and the most keys that a head may have.
constexpr Scan kScans[] = {
    {"Mamba-2", NACELLE_SCAN_ADD, 4, 2, 16, 24, false, true, false, true},
    {"gated delta rule", NACELLE_SCAN_DELTA, 4, 2, 40, 33, false, true, true, false},
    {"delta rule, a decay a key", NACELLE_SCAN_DELTA, 3, 1, 130, 5, true, true, true, false},
    {"nothing that may be left out", NACELLE_SCAN_ADD, 2, 2, 1, 1, false, false, false, false},
    {"delta rule, the step for its strength", NACELLE_SCAN_DELTA, 1, 1, 256, 65, false, false, false, true},
    {"a decay a key, two tiles", NACELLE_SCAN_ADD, 2, 1, 70, 34, true, false, true, true},
    {"Mamba", NACELLE_SCAN_ADD, 70, 1, 16, 1, false, true, false, true, true},
    {"Mamba, of two groups and little else", NACELLE_SCAN_ADD, 6, 2, 37, 1, false, false, false, false, true},
};

// Keys of length 1 or so and strengths below 1, as models have them: else the delta rule's state would explode.
std::uint32_t add_scan(Case& of, const Scan& scan, std::uint32_t group, std::uint32_t layer, std::uint64_t seed) {
  const auto unit = static_cast<float>(std::sqrt(3.0 / scan.keys));
  const std::int64_t steps = scan.step_a_key ? scan.heads * scan.keys : scan.heads;
  const std::int64_t rates = scan.rate_a_key ? scan.heads * scan.keys : scan.heads;
  std::vector<std::uint32_t> inputs = {of.rows(scan.groups * scan.keys, seed, unit),
                                       of.rows(scan.groups * scan.keys, seed + 1, unit),
                                       of.rows(scan.heads * scan.values, seed + 2), of.rows(steps, seed + 3),
                                       of.weight(NACELLE_TYPE_F32, {rates}, seed + 4, 0.9f, -1)};
  auto sigmoid = sdk::make<nacelle_activation_attributes>();
  sigmoid.activation = NACELLE_ACT_SIGMOID;
  if (scan.bias || scan.strength || scan.skip) {
    inputs.push_back(scan.bias ? of.weight(NACELLE_TYPE_F16, {steps}, seed + 5) : NACELLE_NO_VALUE);
    inputs.push_back(scan.strength
                         ? of.op(NACELLE_OP_UNARY, {of.rows(scan.heads, seed + 6)}, sdk::Attributes(sigmoid))[0]
                         : NACELLE_NO_VALUE);
    inputs.push_back(scan.skip ? of.weight(NACELLE_TYPE_F32, {scan.heads}, seed + 7) : NACELLE_NO_VALUE);
  }
  auto a = sdk::make<nacelle_scan_attributes>();
  a.cache_group = group;
  a.cache_layer = layer;
  a.rule = scan.rule;
  a.head_count = scan.heads;
  a.group_count = scan.groups;
  a.key_width = scan.keys;
  a.value_width = scan.values;
  a.scale = 0.75f;
  return of.op(NACELLE_OP_STATE_SCAN, inputs, sdk::Attributes(a))[0];
}

std::uint32_t add_convolution(Case& of, std::uint32_t x, std::uint32_t width, std::uint32_t length,
                              std::uint32_t activation, bool bias, std::uint32_t group, std::uint32_t layer,
                              std::uint64_t seed) {
  auto a = sdk::make<nacelle_convolution_attributes>();
  a.cache_group = group;
  a.cache_layer = layer;
  a.length = length;
  a.activation = activation;
  const std::uint32_t filters = of.weight(NACELLE_TYPE_F32, {width, length}, seed);
  std::vector<std::uint32_t> inputs = {x, filters};
  if (bias) inputs.push_back(of.weight(NACELLE_TYPE_F32, {width}, seed + 1));
  return of.op(NACELLE_OP_CONVOLUTION, inputs, sdk::Attributes(a))[0];
}

Case scan_case(const Scan& scan, std::uint32_t layers = 1) {
  Case of(scan.name);
  of.subject = NACELLE_OP_STATE_SCAN;
  const std::uint32_t group = state_group(of, scan.heads * scan.keys * scan.values, layers);
  of.set_result(add_scan(of, scan, group, layers - 1, 1));
  return of;
}

Case convolution_case(std::uint32_t width, std::uint32_t length, std::uint32_t activation, bool bias) {
  Case of("convolution " + std::to_string(width) + " x " + std::to_string(length));
  of.subject = NACELLE_OP_CONVOLUTION;
  const std::uint32_t group = state_group(of, width * (length - 1));
  of.set_result(add_convolution(of, of.rows(width, 1), width, length, activation, bias, group, 0, 2));
  return of;
}

// A convolution, a recurrence of two layers, and attention beside them: groups of both kinds in one cache.
Case hybrid_case() {
  constexpr std::uint32_t kWidth = 24;
  const Scan scan{"", NACELLE_SCAN_DELTA, 2, 1, 12, 12, false, true, true, false};
  Case of("hybrid");
  const std::uint32_t windows = state_group(of, 2 * kWidth), paged = of.cache_group(12, 12);
  const std::uint32_t states = state_group(of, 2 * 12 * 12, 2);
  std::uint32_t x = add_convolution(of, of.rows(kWidth, 1), kWidth, 3, NACELLE_ACT_SILU, true, windows, 0, 20);
  auto a = sdk::make<nacelle_attention_attributes>();
  a.head_count = 2;
  a.kv_head_count = a.causal = 1;
  a.key_width = a.value_width = 12;
  a.scale = 0.5f;
  a.cache_group = paged;
  const std::uint32_t k = of.rows(12, 2), v = of.rows(12, 3);
  x = of.op(NACELLE_OP_ATTENTION, {x, k, v}, sdk::Attributes(a))[0];
  x = of.op(NACELLE_OP_ADD, {x, add_scan(of, scan, states, 0, 30)})[0];
  of.set_result(of.op(NACELLE_OP_ADD, {x, add_scan(of, scan, states, 1, 40)})[0]);
  return of;
}

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const Scan& scan : kScans) all.push_back(scan_case(scan));
  all.push_back(scan_case(kScans[1], 3));
  all.push_back(convolution_case(37, 4, NACELLE_ACT_SILU, true));
  all.push_back(convolution_case(300, 3, 0, false));
  all.push_back(convolution_case(1, 2, NACELLE_ACT_TANH, true));
  all.push_back(convolution_case(5, 12, NACELLE_ACT_GELU_ERF, false));  // longer than any step below but one
  all.push_back(hybrid_case());
  return all;
}

// Three sequences that begin, go on and rest at different times.
const Steps kMixed = {
    {{0, 0, 5}}, {{0, 5, 1}}, {{0, 6, 1}, {1, 0, 3}}, {{2, 0, 1}, {0, 7, 14}, {1, 3, 1}}, {{2, 1, 4}, {1, 4, 2}}};
const Steps kSingle = {{{2, 0, 5}}, {{1, 0, 6}}, {{0, 0, 21}}};  // the same rows, a sequence a step
const Steps kTogether = {{{0, 0, 21}, {1, 0, 6}, {2, 0, 5}}};
const std::vector<Span> kLarge = {{0, 0, 40}, {1, 0, 15}, {2, 0, 9}, {3, 0, 1}};  // no step of the tests fills it

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

bool same_bits(const RowMap& a, const RowMap& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x.first == y.first && same_bits(x.second, y.second); });
}

}  // namespace

TEST_CASE("states: every row is as the reference has it") {
  for (const Case& of : all_cases()) {
    INFO(of.name);
    const Difference found = difference(run_flat(defining(), of, kMixed), run_flat(tested(), of, kMixed));
    INFO(found.nmse << " " << found.peak);
    CHECK(within(found, bound_of(of)));
  }
}

TEST_CASE("states: a row's bits are the same in any chunk, batch and bucket") {
  for (const Case& of : all_cases()) {
    INFO(of.name);
    const RowMap rows = run_case(tested(), of, kMixed);
    CHECK(same_bits(rows, run_case(tested(), of, kSingle)));
    CHECK(same_bits(rows, run_case(tested(), of, kTogether)));
    Session padded(tested(), of, {kLarge});
    std::vector<float> flat;
    for (const std::vector<Span>& step : kMixed) {
      const std::vector<float> result = padded.run({step}).result;
      flat.insert(flat.end(), result.begin(), result.end());
      const nacelle_plan_statistics seen = padded.statistics();
      CHECK(seen.submits_per_step == 1);
      CHECK(seen.allocs_per_step == 0);
    }
    CHECK(same_bits(flat, run_flat(tested(), of, kMixed)));
  }
}

TEST_CASE("states: a sequence that begins takes zeros, whatever its state holds; one without rows keeps its own") {
  for (const Case& of : all_cases()) {
    INFO(of.name);
    Session session(tested(), of, {kLarge});
    const std::vector<float> first = session.run({{{0, 0, 4}}}).result;
    const std::vector<float> second = session.run({{{0, 4, 2}, {1, 0, 2}}}).result;
    CHECK(same_bits(first, session.run({{{0, 0, 4}}}).result));
    // Sequence 1 is there without a row, and its table is empty.
    const std::vector<float> again = session.run({{{1, 0, 0}, {0, 4, 2}}}).result;
    CHECK(std::equal(again.begin(), again.end(), second.begin()));
    const Steps rest = {{{1, 0, 2}}, {{1, 2, 2}}};
    const std::vector<float> expected = run_flat(tested(), of, rest), last = session.run({{{1, 2, 2}}}).result;
    CHECK(same_bits(last, {expected.end() - static_cast<std::ptrdiff_t>(last.size()), expected.end()}));
  }
}

TEST_CASE("states: a copied state goes on as its original would") {
  for (const Case& of : all_cases()) {
    INFO(of.name);
    std::vector<float> results[2];
    std::vector<float> uncopied;
    for (Backend* backend : {&defining(), &tested()}) {
      Session session(*backend, of, {kLarge});
      session.run({{{0, 0, 5}, {1, 0, 5}}});
      if (backend == &tested()) uncopied = session.run({{{1, 5, 1}}}).result;
      session.run({{{0, 5, 1}}});
      session.copy_sequence(0, 1);
      results[backend == &tested()] = session.run({{{0, 6, 2}, {1, 6, 3}}}).result;
    }
    CHECK(within(difference(results[0], results[1]), bound_of(of)));
  }
}

TEST_CASE("states: a step whose sequence has no valid state is refused, and the next one runs") {
  const Case of = hybrid_case();
  Session session(tested(), of, {kLarge});
  const std::vector<Span> spans = {{0, 0, 2}, {1, 0, 2}};
  const std::vector<float> sound = session.run({spans}).result;
  for (const std::uint32_t group : {0u, 2u}) {
    StepInput bad{spans};
    bad.damage = [&](std::byte* block, const nacelle_step_layout& at) {
      const std::uint64_t entry = (std::uint64_t{group} * session.bucket().sequences + 1) * at.table_width;
      reinterpret_cast<std::uint32_t*>(block + at.block_tables)[entry] = 100000;
    };
    CHECK(session.try_run(bad) == NACELLE_INVALID_ARGUMENT);
    take_logged_error();
  }
  // Of a group of states nobody looks at what is behind the first entry.
  StepInput good{spans};
  good.damage = [&](std::byte* block, const nacelle_step_layout& at) {
    for (const std::uint32_t group : {0u, 2u})
      for (std::uint32_t s = 0; s < 2; ++s)
        reinterpret_cast<std::uint32_t*>(
            block + at.block_tables)[(group * session.bucket().sequences + s) * at.table_width + 1] = 100000;
  };
  CHECK(same_bits(session.run(good).result, sound));
}

TEST_CASE("states: what has no kernel is refused by name") {
  Scan wide = kScans[0];
  wide.keys = 257;
  CHECK(tested().refusal(scan_case(wide)).find("does not support") != std::string::npos);
  CHECK(tested().refusal(convolution_case(2, 129, 0, false)).find("does not support") != std::string::npos);
  CHECK(tested().refusal(convolution_case(2, 128, 0, false)).empty());
}

}  // namespace nacelle::conformance
