// What nacelle-conformance does not look at: every rule of a step block, since the shaders use its indices as they are;
// equal logits; sequences longer than a split of the keys; and what does not fit.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <functional>

#include "sdk/conformance/bounds.hpp"
#include "sdk/conformance/grown_cases.hpp"
#include "sdk/conformance/host.hpp"
#include "sdk/conformance/session.hpp"

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

std::string failure_of(const Case& of) {
  try {
    Session session(vulkan(), of, of.steps);
    return {};
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

bool mentions(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::uint32_t& word(std::byte* block, std::uint64_t offset, std::size_t index = 0) {
  return reinterpret_cast<std::uint32_t*>(block + offset)[index];
}

struct Fault {
  const char* rule;
  std::function<void(std::byte*, const nacelle_step_layout&)> apply;
};
const std::vector<Fault> kFaults = {
    {"version", [](std::byte* b, const auto& at) { word(b, at.header, 0) = 2; }},
    {"rows", [](std::byte* b, const auto& at) { word(b, at.header, 1) = 1000; }},
    {"sequences", [](std::byte* b, const auto& at) { word(b, at.header, 2) = 0xffffffff; }},
    {"output rows", [](std::byte* b, const auto& at) { word(b, at.header, 3) = 9; }},
    {"sequence_starts", [](std::byte* b, const auto& at) { word(b, at.sequence_starts, 1) = 70; }},
    {"row_sequences", [](std::byte* b, const auto& at) { word(b, at.row_sequences) = 5; }},
    {"a position", [](std::byte* b, const auto& at) { word(b, at.positions) = 500; }},
    {"the bucket", [](std::byte* b, const auto& at) { word(b, at.sequence_lengths) = 5000; }},
    {"no valid block", [](std::byte* b, const auto& at) { word(b, at.block_tables) = 0xfffffff0; }},
    {"an output row", [](std::byte* b, const auto& at) { word(b, at.output_rows) = 4; }},
    {"adjustment_starts", [](std::byte* b, const auto& at) { word(b, at.adjustment_starts, 1) = 99; }},
    {"a token", [](std::byte* b, const auto& at) { word(b, at.tokens) = 23; }},
    {"no such output row", [](std::byte* b, const auto& at) { word(b, at.tokens) = NACELLE_TOKEN_FROM_PREVIOUS | 77; }},
};

}  // namespace

TEST_CASE("Vulkan: a step block that breaks a rule is refused, and the next one runs") {
  const Case of = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  Session session(vulkan(), of, {{{0, 0, 4}}});
  const StepInput good{{{0, 0, 4}}};
  const std::vector<float> expected = session.run(good).result;
  for (const Fault& fault : kFaults) {
    StepInput bad = good;
    bad.damage = fault.apply;
    INFO(fault.rule);
    CHECK(session.try_run(bad) == NACELLE_INVALID_ARGUMENT);
    const std::string logged = take_logged_error();
    INFO(logged);
    CHECK(mentions(logged, fault.rule));
  }
  CHECK(session.run(good).result == expected);
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
  CHECK(mentions(failure_of(cache), "cannot hold Q6_K; use f32, f16, bf16, q8_0 or q4_0"));

  Case large = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  large.steps = in_chunks(1, 1);
  large.context = 1u << 30;
  CHECK(mentions(failure_of(large), "for a rope table cannot be had"));
}

}  // namespace nacelle::conformance
