// Every barrier and every exchange of values in the kernels of backends/gpu, broken one at a time: the emulator must
// object, or the results must be wrong. So none of them is there for nothing, and none can go unnoticed.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <optional>

#include "sdk/conformance/bounds.hpp"
#include "sdk/conformance/grown_cases.hpp"
#include "sdk/conformance/host.hpp"
#include "sdk/conformance/session.hpp"

namespace nacelle::conformance {
namespace {

// "barrier rows.hpp:28" and "lanes rows.hpp:27" for each place in the kernels' sources.
std::vector<std::string> places() {
  std::vector<std::string> all;
  for (const auto& file : std::filesystem::directory_iterator(NACELLE_SOURCE_DIR "/backends/gpu/kernels")) {
    std::ifstream source(file.path());
    std::string text;
    for (int line = 1; std::getline(source, text); ++line) {
      const std::string at = file.path().filename().string() + ":" + std::to_string(line);
      if (text.find("simt::barrier()") != std::string::npos) all.push_back("barrier " + at);
      if (text.find("simt::shuffle") != std::string::npos || text.find("simt::ballot") != std::string::npos)
        all.push_back("lanes " + at);
    }
  }
  return all;
}

struct Trial {
  const char* file;  // whose kernels it runs: others are tried only where these do not notice
  Case of;
  StepInput step;
  std::uint32_t candidates;
};

Trial selection_trial() {
  const SelectionGolden golden = read_goldens().selection;
  Trial trial{"select.hpp", Case("logits_select"), {{{0, 0, 3}}}, golden.candidates};
  const std::uint32_t rows = trial.of.input(NACELLE_INPUT_OUTPUT_ROWS);
  const std::uint32_t logits = trial.of.op(NACELLE_OP_GATHER, {trial.of.rows(golden.vocabulary, 1), rows})[0];
  trial.of.set_result(logits, NACELLE_OUTPUT_LOGITS);
  trial.of.op(NACELLE_OP_LOGITS_SELECT, {logits}, {}, {}, 0);
  trial.step.boundary = golden.logits;
  trial.step.masks = golden.masks;
  trial.step.temperatures = golden.temperatures;
  trial.step.adjustments = golden.adjustments;
  return trial;
}

std::vector<Trial> trials() {
  std::vector<Trial> all;
  for (const nacelle_type type : {NACELLE_TYPE_F32, NACELLE_TYPE_Q8_0})
    all.push_back({"matmul.hpp", tiny_decoder(type, NACELLE_TYPE_F32), {{{0, 0, 3}}}, 4});
  all.push_back(selection_trial());
  for (Case& of : read_goldens().cases) {
    const bool experts = of.name == "moe sigmoid groups biased" || of.name == "adapter_matmul";
    if (experts || of.name == "attention all features")
      all.push_back({experts ? "moe.hpp" : "attention.hpp", std::move(of), {}, 1});
  }
  // Two tiles of keys.
  all.push_back({"attention.hpp", tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32), {{{0, 0, 40}}}, 1});
  return all;
}

struct Seen {
  std::vector<float> rows;
  std::vector<std::uint32_t> ids;
  std::vector<float> numbers;  // of the selection
};

// What comes out; nothing where a kernel is stopped.
std::optional<Seen> run(Backend& backend, const Trial& trial) {
  try {
    const Steps steps = trial.step.spans.empty() ? trial.of.steps : Steps{trial.step.spans};
    Session session(backend, trial.of, steps, trial.candidates);
    Seen seen;
    for (const std::vector<Span>& spans : steps) {
      StepInput step = trial.step;
      step.spans = spans;
      const StepOutput out = session.run(step);
      for (const auto& [from, to] :
           {std::pair{&out.result, &seen.rows}, {&out.adjusted, &seen.numbers}, {&out.logsumexp, &seen.numbers}})
        to->insert(to->end(), from->begin(), from->end());
      seen.ids.insert(seen.ids.end(), out.ids.begin(), out.ids.end());
    }
    return seen;
  } catch (const std::runtime_error&) {
    take_logged_error();
    return std::nullopt;
  }
}

bool differs(const std::vector<float>& a, const std::vector<float>& b) {
  return !a.empty() && !within(difference(a, b), kBounds[0].narrow);
}

bool is_noticed(const std::string& place, const Trial& trial, const Seen& sound) {
  set_config("backend.emulated_gpu.sabotage", place);
  Backend backend(NACELLE_EMULATED_PLUGIN, 0);
  const std::optional<Seen> seen = run(backend, trial);
  return !seen || differs(sound.rows, seen->rows) || differs(sound.numbers, seen->numbers) || sound.ids != seen->ids;
}

}  // namespace

TEST_CASE("a barrier or an exchange broken anywhere in a kernel is noticed") {
  const std::vector<Trial> all = trials();
  std::vector<Seen> sound;
  for (const Trial& trial : all) {
    Backend backend(NACELLE_EMULATED_PLUGIN, 0);
    const auto seen = run(backend, trial);
    INFO(trial.of.name);
    REQUIRE(seen);
    sound.push_back(*seen);
  }
  const std::vector<std::string> broken = places();
  CHECK(broken.size() > 30);
  for (const std::string& place : broken) {
    bool noticed = false;
    for (const bool own : {true, false})  // first what runs the file's own kernels
      for (std::size_t i = 0; i < all.size() && !noticed; ++i)
        if ((place.find(all[i].file) != std::string::npos) == own) noticed = is_noticed(place, all[i], sound[i]);
    INFO(place);
    CHECK(noticed);
  }
  set_config("backend.emulated_gpu.sabotage", "");
}

}  // namespace nacelle::conformance
