// What the backend ABI promises beside results: refusals by name, tokens of the previous step, copied blocks, padding,
// and steps that break the rules.
#include <catch2/catch.hpp>
#include <functional>

#include "tests/ops/backend_harness.hpp"
#include "tests/ops/compare.hpp"
#include "tests/ops/grown_cases.hpp"
#include "tests/ops/test_host.hpp"

namespace nacelle::test {
namespace {

std::vector<Backend*> backends() {
  std::vector<Backend*> found = {find_backend("reference")};
  if (Backend* cpu = find_backend("cpu")) found.push_back(cpu);
  return found;
}

std::string failure_of(Backend& backend, const Case& of) {
  try {
    Session session(backend, of, of.steps);
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
  Backend* reference = find_backend("reference");
  const Case of = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  Session session(*reference, of, {{{0, 0, 4}}});
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
  Backend* reference = find_backend("reference");
  Case weight("unknown weight type");
  const std::uint32_t w = weight.weight(NACELLE_TYPE_I8, {4, 256}, 1);
  weight.set_result(weight.op(NACELLE_OP_MATMUL, {weight.rows(256, 2), w})[0]);
  weight.steps = in_chunks(1, 1);
  CHECK_FALSE(reference->supports(weight));
  CHECK(mentions(failure_of(*reference, weight), "weight 0: the reference backend does not read I8"));

  Case cache = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  cache.steps = in_chunks(1, 1);
  cache.key_type = NACELLE_TYPE_Q6_K;
  CHECK(mentions(failure_of(*reference, cache), "cannot hold keys as Q6_K"));

  Case state = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  state.steps = in_chunks(1, 1);
  state.cache_group(64, 0);
  state.set_group_kind(2, NACELLE_CACHE_STATE);
  CHECK(mentions(failure_of(*reference, state), "state"));
  CHECK(allocated_bytes() == 0);
}

TEST_CASE("a token of the previous step is its best candidate") {
  for (Backend* backend : backends()) {
    INFO(backend->name());
    const Case of = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
    Session given(*backend, of, {{{0, 0, 20}}}), taken(*backend, of, {{{0, 0, 20}}});
    const std::vector<std::uint32_t> best = given.run({{{0, 0, 20}}}).ids;
    taken.run({{{0, 0, 20}}});
    std::uint32_t row = 19;
    while (row && best[row] == best[0]) --row;
    REQUIRE(row);  // a row that is told apart from the first
    const StepOutput a = given.run({{{0, 20, 1}}, {best[row]}});
    const StepOutput b = taken.run({{{0, 20, 1}}, {NACELLE_TOKEN_FROM_PREVIOUS | row}});
    CHECK(a.result == b.result);
    CHECK(taken.run({{{0, 21, 1}}, {NACELLE_TOKEN_FROM_PREVIOUS}}).result ==
          given.run({{{0, 21, 1}}, {a.ids[0]}}).result);
  }
}

TEST_CASE("copied blocks continue as the original would") {
  for (Backend* backend : backends()) {
    INFO(backend->name());
    const Case of = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F16);
    Session session(*backend, of, {{{0, 0, 20}}, {{1, 20, 1}}});
    session.run({{{0, 0, 20}}});
    session.copy_sequence(0, 1);
    const std::vector<float> original = session.run({{{0, 20, 1}}, {5}}).result;
    CHECK(session.run({{{1, 20, 1}}, {5}}).result == original);
  }
}

TEST_CASE(
    "a step that does not fill its bucket gives the same bits; a steady step submits once and allocates nothing") {
  for (Backend* backend : backends()) {
    INFO(backend->name());
    const Case of = tiny_decoder(NACELLE_TYPE_Q8_0, NACELLE_TYPE_F16);
    Session exact(*backend, of, {{{0, 0, 3}}}), padded(*backend, of, {{{0, 0, 40}, {1, 0, 10}, {2, 0, 3}}});
    CHECK(exact.run({{{0, 0, 3}}}).result == padded.run({{{0, 0, 3}}}).result);
    padded.run({{{0, 3, 1}}});
    padded.run({{{0, 4, 1}}});
    CHECK(padded.statistics().submits_per_step == 1);
    CHECK(padded.statistics().allocs_per_step == 0);
  }
}

TEST_CASE("more candidates than there are tokens are filled with none") {
  Backend* reference = find_backend("reference");
  const Case of = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  Session session(*reference, of, {{{0, 0, 1}}}, kVocabulary + 2);
  const StepOutput out = session.run({{{0, 0, 1}}});
  CHECK(out.ids[kVocabulary - 1] < kVocabulary);
  CHECK(out.ids[kVocabulary] == NACELLE_NO_VALUE);
  CHECK(out.adjusted[kVocabulary + 1] == -INFINITY);
}

}  // namespace nacelle::test
