// What the reference does beyond the contract: it names the rule that a step block breaks, and what it cannot do.
#include <catch2/catch.hpp>
#include <functional>

#include "sdk/conformance/grown_cases.hpp"
#include "sdk/conformance/host.hpp"
#include "sdk/conformance/session.hpp"

namespace nacelle::conformance {
namespace {

Backend& reference() {
  static Backend backend(NACELLE_REFERENCE_PLUGIN, 0);
  return backend;
}

std::string failure_of(const Case& of) {
  try {
    Session session(reference(), of, of.steps);
    return {};
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

bool mentions(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// A step block that breaks one rule.
struct Damage {
  const char* rule;
  std::function<void(std::byte*, const nacelle_step_layout&)> apply;
};

std::uint32_t& word(std::byte* block, std::uint64_t offset, std::size_t index = 0) {
  return reinterpret_cast<std::uint32_t*>(block + offset)[index];
}

const std::vector<Damage> kDamages = {
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
    {"token 23", [](std::byte* b, const auto& at) { word(b, at.tokens) = 23; }},
    {"output row 77", [](std::byte* b, const auto& at) { word(b, at.tokens) = NACELLE_TOKEN_FROM_PREVIOUS | 77; }},
};

}  // namespace

TEST_CASE("the reference names the rule that a step block breaks, and goes on") {
  const Case of = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  Session session(reference(), of, {{{0, 0, 4}}});
  const StepInput good{{{0, 0, 4}}};
  const std::vector<float> expected = session.run(good).result;
  for (const Damage& damage : kDamages) {
    StepInput bad = good;
    bad.damage = damage.apply;
    INFO(damage.rule);
    CHECK(session.try_run(bad) == NACELLE_INVALID_ARGUMENT);
    const std::string logged = take_logged_error();
    INFO(logged);
    CHECK(mentions(logged, damage.rule));
  }
  CHECK(session.run(good).result == expected);
}

TEST_CASE("what the reference cannot do is refused by name") {
  Case weight("unknown weight type");
  const std::uint32_t w = weight.weight(NACELLE_TYPE_I8, {4, 256}, 1);
  weight.set_result(weight.op(NACELLE_OP_MATMUL, {weight.rows(256, 2), w})[0]);
  weight.steps = in_chunks(1, 1);
  CHECK_FALSE(reference().refusal(weight).empty());
  CHECK(mentions(failure_of(weight), "does not support operation matmul"));

  Case cache = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  cache.steps = in_chunks(1, 1);
  cache.key_type = NACELLE_TYPE_Q6_K;
  CHECK(mentions(failure_of(cache), "cannot hold keys as Q6_K"));

  Case cross = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  cross.steps = in_chunks(1, 1);
  cross.cache_group(64, 0);
  cross.set_group_kind(2, NACELLE_CACHE_CROSS);
  CHECK(mentions(failure_of(cross), "cache group 2 is of kind 3; only paged groups (1) and states (2)"));
  CHECK(allocated_bytes() == 0);
}

}  // namespace nacelle::conformance
