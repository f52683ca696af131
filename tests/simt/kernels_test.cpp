// The kernels of backends/gpu on the emulator, over little cases: sound ones under the sanitizers; and every barrier
// and every exchange of values broken one at a time: the emulator must object, or the results must be wrong. So none of
// them is there for nothing, and none can go unnoticed.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nacelle/types.hpp>
#include <optional>

#include "sdk/conformance/bounds.hpp"
#include "sdk/conformance/grown_cases.hpp"
#include "sdk/conformance/host.hpp"
#include "sdk/conformance/session.hpp"

namespace nacelle::conformance {
namespace {

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

// A product, an embedding and experts for each format.
std::vector<Case> products() {
  std::vector<Case> all;
  for (const nacelle_type type : weight_types()) {
    Case of(std::string("products ") + type_info(type)->name);
    auto moe = sdk::make<nacelle_moe_attributes>();
    moe.expert_count = 3;
    moe.used_count = 2;
    moe.routing = NACELLE_ROUTE_TOP_THEN_SOFTMAX;
    moe.scale = 1;
    const std::uint32_t table = of.weight(type, {kVocabulary, 256}, 1);
    auto scale = sdk::make<nacelle_embedding_attributes>();
    scale.scale = 1;
    std::uint32_t x = of.op(NACELLE_OP_EMBEDDING, {of.input(NACELLE_INPUT_TOKENS), table}, sdk::Attributes(scale))[0];
    const auto routed = of.op(NACELLE_OP_MOE_ROUTE, {of.rows(3, 2)}, sdk::Attributes(moe), {}, 2);
    const std::uint32_t experts = of.weight(type, {3, 17, 256}, 3, 0.25f);
    const std::uint32_t y = of.op(NACELLE_OP_MOE_MATMUL, {x, experts, routed[0]}, sdk::Attributes(moe))[0];
    const std::uint32_t z = of.op(NACELLE_OP_MOE_COMBINE, {y, routed[1]}, sdk::Attributes(moe))[0];
    x = of.op(NACELLE_OP_MATMUL, {x, of.weight(type, {17, 256}, 4, 0.25f)})[0];
    of.set_result(of.op(NACELLE_OP_ADD, {x, z})[0]);
    of.steps = {{{0, 0, 2}}, {{0, 2, 9}}};  // few rows, and a tile that is not full
    all.push_back(std::move(of));
  }
  return all;
}

// Where a bound that is off by one would show: in the results, or as an access behind the last byte of a value or a
// weight, which AddressSanitizer sees.
std::vector<Case> edges() {
  std::vector<Case> all;
  for (const nacelle_type type : {NACELLE_TYPE_F32, NACELLE_TYPE_F16}) {
    Case rows("a tile that is not full, and nothing behind it");
    rows.set_result(rows.op(NACELLE_OP_MATMUL, {rows.rows(32, 1), rows.weight(type, {16, 32}, 2)})[0]);
    rows.steps = {{{0, 0, 3}}};
    all.push_back(std::move(rows));
  }
  auto moe = sdk::make<nacelle_moe_attributes>();
  moe.expert_count = 5;
  moe.used_count = 1;
  moe.routing = NACELLE_ROUTE_TOP_THEN_SOFTMAX;
  moe.scale = 1;
  Case expert("one expert a row");
  const auto routed = expert.op(NACELLE_OP_MOE_ROUTE, {expert.rows(5, 1)}, sdk::Attributes(moe), {}, 2);
  expert.set_result(expert.op(NACELLE_OP_MOE_COMBINE, {expert.rows(8, 2), routed[1]}, sdk::Attributes(moe))[0]);
  expert.steps = {{{0, 0, 3}}};
  all.push_back(std::move(expert));
  Case splits("every split has keys, and a block of its own");
  auto attributes = sdk::make<nacelle_attention_attributes>();
  attributes.head_count = attributes.kv_head_count = attributes.causal = 1;
  attributes.key_width = attributes.value_width = 8;
  attributes.scale = 0.5f;
  attributes.cache_group = splits.cache_group(8, 8);
  splits.context = 304;
  splits.block_tokens = 16;
  splits.key_type = splits.value_type = NACELLE_TYPE_F16;
  const std::uint32_t q = splits.rows(8, 1), k = splits.rows(8, 2), v = splits.rows(8, 3);
  splits.set_result(splits.op(NACELLE_OP_ATTENTION, {q, k, v}, sdk::Attributes(attributes))[0]);
  splits.steps = in_chunks(300, 60);
  all.push_back(std::move(splits));
  // Chunks that end in the middle of a tile of keys, of a split and of a step.
  for (const nacelle_type type : {NACELLE_TYPE_F32, NACELLE_TYPE_F16}) {
    Case chunks("chunks");
    attributes.window = 100;
    attributes.cache_group = chunks.cache_group(8, 8, 1, 100);
    chunks.context = 304;
    chunks.block_tokens = 16;
    chunks.key_type = chunks.value_type = type;
    const std::uint32_t queries = chunks.rows(8, 1), keys = chunks.rows(8, 2), values = chunks.rows(8, 3);
    chunks.set_result(chunks.op(NACELLE_OP_CHUNKED_ATTENTION, {queries, keys, values}, sdk::Attributes(attributes))[0]);
    chunks.steps = in_chunks(300, 75);
    all.push_back(std::move(chunks));
  }
  return all;
}

std::vector<Trial> trials() {
  std::vector<Trial> all;
  for (const nacelle_type type : {NACELLE_TYPE_F32, NACELLE_TYPE_Q8_0})
    all.push_back({"matmul.hpp", tiny_decoder(type, NACELLE_TYPE_F32), {{{0, 0, 3}}}, 4});
  all.push_back(selection_trial());
  for (Case& of : read_goldens().cases) {
    const bool experts =
        of.name == "moe sigmoid groups biased" || of.name == "adapter_matmul" || of.name == "moe_adapter_matmul";
    if (experts || of.name == "attention all features")
      all.push_back({experts ? "moe.hpp" : "attention.hpp", std::move(of), {}, 1});
  }
  // Two tiles of keys; then a row whose splits have a block each, two of them empty, and two splits walked by one
  // block.
  all.push_back({"attention.hpp", tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32), {{{0, 0, 40}}}, 1});
  Case splits("attention splits");
  auto attributes = sdk::make<nacelle_attention_attributes>();
  attributes.head_count = 2;
  attributes.kv_head_count = attributes.causal = 1;
  attributes.key_width = attributes.value_width = 4;
  attributes.scale = 0.5f;
  attributes.cache_group = splits.cache_group(4, 4);
  splits.context = 600;
  splits.block_tokens = 16;
  const std::uint32_t q = splits.rows(8, 1), k = splits.rows(4, 2), v = splits.rows(4, 3);
  splits.set_result(splits.op(NACELLE_OP_ATTENTION, {q, k, v}, sdk::Attributes(attributes))[0]);
  splits.steps = {{{0, 0, 1}}, {{0, 1, 290}}};
  all.push_back({"attention.hpp", std::move(splits), {}, 1});
  // On tensor cores: two tiles of keys by a block a split, then by a block for all splits; and a tile that is not full,
  // all of whose keys every row sees.
  struct Run {
    std::uint32_t causal;
    std::vector<std::vector<Span>> steps;
  };
  for (const nacelle_type type : {NACELLE_TYPE_F16, NACELLE_TYPE_BF16})
    for (const auto& [causal, steps] :
         {Run{1, {{{0, 0, 60}}, {{0, 60, 60}}}}, Run{1, {{{0, 0, 1}}, {{0, 1, 290}}}}, Run{0, {{{0, 0, 3}}}}}) {
      attributes.causal = causal;
      Case tensor("attention tensor");
      attributes.head_count = 6;
      attributes.kv_head_count = 2;
      attributes.key_width = 8;  // few, so that the lanes of a quad see peaks of different sizes
      attributes.value_width = 24;
      attributes.cache_group = tensor.cache_group(2 * 8, 2 * 24);
      tensor.context = 600;
      tensor.block_tokens = 16;
      tensor.key_type = tensor.value_type = type;
      const std::uint32_t wide = tensor.rows(6 * 8, 1), keys = tensor.rows(2 * 8, 2), values = tensor.rows(2 * 24, 3);
      tensor.set_result(tensor.op(NACELLE_OP_ATTENTION, {wide, keys, values}, sdk::Attributes(attributes))[0]);
      tensor.steps = steps;
      all.push_back({"attention_tensor.hpp", std::move(tensor), {}, 1});
    }
  for (Case& of : products())
    if (of.name == "products Q4_K") all.push_back({"matmul.hpp", std::move(of), {}, 1});
  // Keys for three warps, the last of which has less than its share.
  Case scan("state_scan");
  auto recurrence = sdk::make<nacelle_scan_attributes>();
  recurrence.rule = NACELLE_SCAN_DELTA;
  recurrence.head_count = recurrence.group_count = 1;
  recurrence.key_width = 20;
  recurrence.value_width = 3;
  recurrence.scale = 1;
  recurrence.cache_group = scan.cache_group(20 * 3, 0);
  scan.set_group_kind(recurrence.cache_group, NACELLE_CACHE_STATE);
  const std::uint32_t queries = scan.rows(20, 1, 0.4f), keys_of = scan.rows(20, 2, 0.4f), values_of = scan.rows(3, 3);
  const std::uint32_t rate = scan.weight(NACELLE_TYPE_F32, {1}, 5, 0.5f, -1);
  scan.set_result(scan.op(NACELLE_OP_STATE_SCAN, {queries, keys_of, values_of, scan.rows(1, 4), rate},
                          sdk::Attributes(recurrence))[0]);
  scan.steps = {{{0, 0, 3}}, {{0, 3, 2}}};
  all.push_back({"recurrent.hpp", std::move(scan), {}, 1});
  return all;
}

}  // namespace

TEST_CASE("every kernel gives the reference's results on small cases") {
  Backend reference(NACELLE_REFERENCE_PLUGIN, 0), tensor(NACELLE_EMULATED_PLUGIN, 0), plain(NACELLE_EMULATED_PLUGIN, 1);
  std::vector<Case> cases = products();
  for (Case& of : edges()) cases.push_back(std::move(of));
  for (Trial& trial : trials()) {
    if (trial.of.subject == NACELLE_OP_LOGITS_SELECT || !trial.step.boundary.empty()) continue;
    if (!trial.step.spans.empty()) trial.of.steps = {trial.step.spans};
    cases.push_back(std::move(trial.of));
  }
  for (const Case& of : cases)
    for (Backend* backend : {&tensor, &plain}) {
      INFO(of.name << " on device " << backend->device_index());
      CHECK(within(difference(run_flat(reference, of, of.steps), run_flat(*backend, of, of.steps)), bound_of(of)));
    }
}

// Hosts do not send them; if one does, nothing outside may be touched.
TEST_CASE("ids behind the last token reach neither the table nor another row") {
  constexpr std::uint32_t kRows = 16;  // a whole panel: nothing lies behind the last row
  Backend emulated(NACELLE_EMULATED_PLUGIN, 0);
  Case table("embedding");
  auto scale = sdk::make<nacelle_embedding_attributes>();
  scale.scale = 1;
  table.set_result(table.op(NACELLE_OP_EMBEDDING,
                            {table.input(NACELLE_INPUT_TOKENS), table.weight(NACELLE_TYPE_F32, {kRows, 32}, 1)},
                            sdk::Attributes(scale))[0]);
  Session lookup(emulated, table, {{{0, 0, 1}}}, 1);
  const auto row_of = [&](std::uint32_t token) { return lookup.run({.spans = {{0, 0, 1}}, .tokens = {token}}).result; };
  CHECK(row_of(kRows) == row_of(kRows - 1));

  constexpr std::uint32_t kLogits = 32;  // rows lie side by side
  Case select("logits_select");
  const std::uint32_t rows = select.input(NACELLE_INPUT_OUTPUT_ROWS);
  const std::uint32_t logits = select.op(NACELLE_OP_GATHER, {select.rows(kLogits, 1), rows})[0];
  select.set_result(logits, NACELLE_OUTPUT_LOGITS);
  select.op(NACELLE_OP_LOGITS_SELECT, {logits}, {}, {}, 0);
  Session selection(emulated, select, {{{0, 0, 9}}}, 4);
  const auto adjusted = [&](bool beyond) {
    StepInput step{.spans = {{0, 0, 9}}};
    for (std::uint32_t row = 0; beyond && row < 9; ++row) step.adjustments.push_back({row, {kLogits, 1, 100}});
    return selection.run(step).adjusted;
  };
  CHECK(adjusted(true) == adjusted(false));
}

#if !NACELLE_SANITIZED  // 60 times what is above: too slow there
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

TEST_CASE("of equal logits the first ones are candidates, behind those that are larger") {
  Trial trial = selection_trial();
  const std::uint32_t vocabulary = read_goldens().selection.vocabulary, peaks = trial.candidates / 2;
  const std::uint32_t rows = static_cast<std::uint32_t>(trial.step.boundary.size()) / vocabulary;
  trial.step = {.spans = trial.step.spans, .boundary = std::vector<float>(rows * vocabulary, 1)};
  std::vector<std::uint32_t> expected;
  for (std::uint32_t row = 0; row < rows; ++row) {  // the larger ones at the end
    for (std::uint32_t i = 0; i < peaks; ++i) {
      trial.step.boundary[(row + 1) * vocabulary - peaks + i] = 2;
      expected.push_back(vocabulary - peaks + i);
    }
    for (std::uint32_t i = peaks; i < trial.candidates; ++i) expected.push_back(i - peaks);
  }
  Backend reference(NACELLE_REFERENCE_PLUGIN, 0), emulated(NACELLE_EMULATED_PLUGIN, 0);
  for (Backend* backend : {&reference, &emulated}) {
    const std::optional<Seen> seen = run(*backend, trial);
    REQUIRE(seen);
    CHECK(seen->ids == expected);
  }
}

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
#endif

}  // namespace nacelle::conformance
