// What nacelle-conformance does not look at: every rule of a step block, since the shaders use its indices as they are;
// equal logits; sequences longer than a split of the keys; and what does not fit.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "sdk/conformance/bounds.hpp"
#include "sdk/conformance/grown_cases.hpp"
#include "sdk/conformance/host.hpp"
#include "sdk/conformance/session.hpp"
#include "tests/ops/broken_steps.hpp"

namespace nacelle::conformance {
namespace {

Backend& vulkan() {
  static Backend backend(NACELLE_VULKAN_PLUGIN, 0);
  return backend;
}
Backend& reference() {
  static Backend backend(NACELLE_REFERENCE_PLUGIN, 0);
  return backend;
}

}  // namespace

TEST_CASE("Vulkan: a step block that breaks a rule is refused, and the next one runs") {
  check_broken_steps(vulkan(), "a token", "no such output row");
}

// As wide a vocabulary as any, and so many equal logits that ids decide.
TEST_CASE("Vulkan: of equal logits the smaller ids are chosen") {
  constexpr std::uint32_t kWide = 200000, kCount = 40;
  Case of("logits_select");
  const std::uint32_t rows = of.input(NACELLE_INPUT_OUTPUT_ROWS);
  const std::uint32_t logits = of.op(NACELLE_OP_GATHER, {of.rows(kWide, 1), rows})[0];
  of.set_result(logits, NACELLE_OUTPUT_LOGITS);
  of.op(NACELLE_OP_LOGITS_SELECT, {logits}, {}, {}, 0);
  StepInput step;
  step.spans = {{0, 0, 1}};
  step.boundary.assign(kWide, -0.0f);
  for (std::uint32_t i = 0; i < kWide; i += 3) step.boundary[i] = 1;
  step.boundary[kWide - 1] = 2;
  step.boundary[7] = NAN;
  Session session(vulkan(), of, {step.spans}, kCount);
  std::vector<std::uint32_t> expected = {kWide - 1};
  for (std::uint32_t i = 0; expected.size() < kCount; i += 3) expected.push_back(i);
  CHECK(session.run(step).ids == expected);
}

// 600 tokens: two splits of the keys where the device has splits. A key may round to its other neighbour in f16.
TEST_CASE("Vulkan: a long sequence is as the reference has it, in chunks of 512 as of 100") {
  const Case of = tiny_decoder(NACELLE_TYPE_F16, NACELLE_TYPE_F16);
  const std::vector<float> rows = run_flat(vulkan(), of, in_chunks(600, 512));
  CHECK(within(difference(run_flat(reference(), of, in_chunks(600, 512)), rows), {1e-7, 5e-3}));
  const std::vector<float> others = run_flat(vulkan(), of, in_chunks(600, 100));
  REQUIRE(rows.size() == others.size());
  CHECK(std::memcmp(rows.data(), others.data(), rows.size() * sizeof(float)) == 0);
}

TEST_CASE("Vulkan: what does not fit or has no shader is refused by name") {
  Case cache = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  cache.steps = in_chunks(1, 1);
  cache.key_type = NACELLE_TYPE_Q6_K;
  CHECK(mentions(failure_of(vulkan(), cache), "cannot hold Q6_K; use f32, f16, bf16, q8_0 or q4_0"));

  Case large = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  large.steps = in_chunks(1, 1);
  large.context = 1u << 30;
  CHECK(mentions(failure_of(vulkan(), large), "for a rope table cannot be had"));
}

}  // namespace nacelle::conformance
