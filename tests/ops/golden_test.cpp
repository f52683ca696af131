// The reference against NumPy: every operation, and every option of each, on cases small enough to check by hand.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/ops/backend_harness.hpp"
#include "tests/ops/compare.hpp"
#include "tests/ops/test_host.hpp"
#include "tests/shared_data.hpp"

namespace nacelle::test {
namespace {

const std::filesystem::path kGoldens = source_dir() / "tests/ops/goldens.json";

// LOGITS_SELECT over logits that are given as a boundary value.
Case selection_case(std::uint32_t vocabulary) {
  Case of("logits_select");
  const std::uint32_t rows = of.input(NACELLE_INPUT_OUTPUT_ROWS);
  const std::uint32_t logits = of.op(NACELLE_OP_GATHER, {of.rows(vocabulary, 1), rows})[0];
  of.set_result(logits, NACELLE_OUTPUT_LOGITS);
  of.op(NACELLE_OP_LOGITS_SELECT, {logits}, {}, {}, 0);
  return of;
}

}  // namespace

TEST_CASE("every golden case: the reference gives NumPy's answer") {
  Backend* reference = find_backend("reference");
  REQUIRE(reference);
  for (const Case& of : read_goldens(kGoldens)) {
    INFO(of.name);
    REQUIRE(reference->supports(of));
    const Difference off = difference(of.expected, run_flat(*reference, of, of.steps));
    INFO(off);
    CHECK(within(off, kDefinition));
  }
  CHECK(allocated_bytes() == 0);
}

TEST_CASE("every golden case that the CPU backend supports, within its numerics class") {
  Backend* cpu = find_backend("cpu");
  if (!cpu) {
    WARN("skipped: the CPU backend is not built");
    return;
  }
  std::string unsupported;
  for (const Case& of : read_goldens(kGoldens)) {
    INFO(of.name);
    if (!cpu->supports(of)) {
      unsupported += "\n  " + of.name;
      continue;
    }
    const Difference off = difference(of.expected, run_flat(*cpu, of, of.steps));
    INFO(off);
    CHECK(within(off, tolerance_for(of)));
  }
  if (!unsupported.empty()) WARN("the CPU backend does not support:" << unsupported);
}

TEST_CASE("logits_select: mask, adjustments, temperature, candidates and logsumexp as NumPy has them") {
  std::ifstream stream(kGoldens);
  const auto golden = nlohmann::json::parse(stream).at("logits_select");
  const Case of = selection_case(golden.at("vocabulary"));
  StepInput step;
  step.spans = {{0, 0, 3}};
  step.boundary = golden.at("logits").get<std::vector<float>>();
  step.masks = golden.at("masks").get<std::vector<std::uint32_t>>();
  step.temperatures = golden.at("temperatures").get<std::vector<float>>();
  for (const auto& change : golden.at("adjustments"))
    step.adjustments.push_back({change[0], {change[1], change[2], change[3]}});
  for (const char* name : {"reference", "cpu"}) {
    Backend* backend = find_backend(name);
    if (!backend) continue;
    INFO(name);
    Session session(*backend, of, {step.spans}, golden.at("candidates"));
    const StepOutput out = session.run(step);
    std::vector<std::uint32_t> ids;
    std::vector<float> adjusted, raw, logsumexp;
    const auto append = [](auto& to, const nlohmann::json& from) {
      for (const auto& item : from) to.push_back(item);
    };
    for (const auto& row : golden.at("rows")) {
      append(ids, row.at("ids"));
      append(adjusted, row.at("adjusted"));
      append(raw, row.at("raw"));
      append(logsumexp, row.at("logsumexp"));
    }
    CHECK(out.ids == ids);
    CHECK(within(difference(adjusted, out.adjusted), kDefinition));
    CHECK(out.raw == raw);
    CHECK(within(difference(logsumexp, out.logsumexp), kFloat));
    CHECK(out.result == step.boundary);
    CHECK(session.read_logits(1, true)[ids[6]] == out.adjusted[6]);
    CHECK(session.read_logits(1, true)[2] == -INFINITY);  // masked
  }
}

}  // namespace nacelle::test
