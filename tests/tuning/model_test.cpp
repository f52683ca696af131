// The demo model with its verdicts kept, forged, aged, damaged and not to be written: the answers never change, at
// worst kernels go by static cost, and one line says so.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nacelle/plugin.hpp>
#include <optional>
#include <utility>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/engine/placed_model.hpp"
#include "core/plugin_host/tuning_store.hpp"
#include "tests/support/engine_fixture.hpp"
#include "tests/tuning/kept_files.hpp"

using namespace nacelle;
using namespace nacelle::test;
namespace fs = std::filesystem;

namespace {

// Key and data of a store's file; see tuning_store.cpp.
struct Entry {
  std::string key, data;
  explicit Entry(const fs::path& path) {
    const std::string file = content(path);
    std::uint64_t size = 0;
    std::memcpy(&size, file.data() + 80, 8);
    key = file.substr(88, size);
    data = file.substr(88 + size);
  }
};

void rewrite(const Cache& cache, const std::function<void(Entry&)>& change) {
  const TuningStore store(cache.folder);
  for (const fs::path& path : cache.files()) {
    Entry entry(path);
    if (entry.key.find("latest build") != std::string::npos) continue;
    change(entry);
    store.put(entry.key, std::as_bytes(std::span(entry.data)));
  }
}

struct Run {
  std::vector<std::string> lines;     // of the log
  std::vector<std::string> selected;  // "variant by" of each matmul case
  // That could run, of the same numerics class.
  std::vector<std::pair<std::string, std::uint32_t>> others;  // name, revision
  std::vector<TokenId> ids;
  std::optional<nacelle_tune_report> tuned;
};

struct Setup {
  std::chrono::nanoseconds budget{0};
  std::string isa, pins;
  bool again = false;
};

Run run(const fs::path& folder, const Setup& setup = {}) {
  Log log("tuning");
  Run result;
  {
    const auto host = host_over(folder, setup.isa);
    LoadOptions options;
    options.path = NACELLE_SOURCE_DIR "/models/demo/nacelle-demo-q8_0.gguf";
    options.device = "cpu";
    options.context = 128;
    options.tune_budget = setup.budget;
    options.tune_again = setup.again;
    options.pins = setup.pins;
    const auto model = Model::load(*host, options);
    model->visit_kernels([&](const nacelle_kernel_info& info) {
      if (info.state == NACELLE_KERNEL_SELECTED && sdk::view(info.op) == "matmul")
        result.selected.push_back(std::string(sdk::view(info.variant)) + " " + std::to_string(info.chosen_by));
      if (info.state == NACELLE_KERNEL_CANDIDATE && sdk::view(info.reason).find("class") == std::string_view::npos)
        result.others.emplace_back(sdk::view(info.variant), info.revision);
    });
    result.tuned = model->device().tuned();
    Engine engine(model);
    result.ids = generate(engine, greedy({1, 5, 9, 40}, 24)).ids;
  }
  result.lines = log.end();
  return result;
}

bool all_by(const Run& run, std::uint32_t by) {
  return !run.selected.empty() && std::all_of(run.selected.begin(), run.selected.end(), [&](const std::string& line) {
    return line.substr(line.size() - 1) == std::to_string(by);
  });
}

// Enough for any machine: rounds end the measuring of so small a model, not time.
const Setup kTune{std::chrono::seconds(100), "", "", false};

}  // namespace

TEST_CASE("a model is tuned once; the next load goes by the cache, and no answer changes") {
  const Cache cache;
  const Run before = run(cache.folder);
  CHECK(all_by(before, NACELLE_CHOSEN_BY_COST));
  CHECK(before.lines.size() == 1);
  CHECK_FALSE(before.tuned);

  const Run tuned = run(cache.folder, kTune);
  REQUIRE(tuned.tuned);
  CHECK(tuned.tuned->measured == tuned.tuned->cases);
  CHECK(tuned.tuned->kept == tuned.tuned->cases);
  CHECK(all_by(tuned, NACELLE_CHOSEN_BY_MEASUREMENT));
  CHECK(tuned.ids == before.ids);
  CHECK(cache.files().size() == tuned.tuned->cases + 1);  // and the mark of the build

  const Run after = run(cache.folder);
  CHECK(all_by(after, NACELLE_CHOSEN_BY_MEASUREMENT));
  CHECK(after.selected == tuned.selected);
  CHECK(after.lines.empty());
  CHECK(after.ids == before.ids);

  const Run budgeted = run(cache.folder, kTune);  // a budget at load has nothing left to do
  CHECK(budgeted.tuned->measured == 0);

  // Another level is another device: nothing of it was measured.
  CHECK(all_by(run(cache.folder, {{}, "portable", "", false}), NACELLE_CHOSEN_BY_COST));
}

TEST_CASE("verdicts of other variants are followed within the numerics class, and only there") {
  const Cache cache;
  const Run prior = run(cache.folder, kTune);
  if (prior.others.empty()) return;  // this machine has but one of the class
  const std::string other = prior.others[0].first;
  const std::uint32_t revision = prior.others[0].second;
  const std::string current = " " + std::to_string(revision), next = " " + std::to_string(revision + 1);
  rewrite(cache, [&](Entry& entry) { entry.data = "1 0 0\n" + other + current + " 0.5 0\n"; });
  const Run forged = run(cache.folder);
  CHECK(std::all_of(forged.selected.begin(), forged.selected.end(),
                    [&](const std::string& line) { return line == other + " 1"; }));
  CHECK(forged.ids == prior.ids);
  CHECK(forged.lines.empty());

  const Run pinned = run(cache.folder, {{}, "", "matmul.q8_0=" + other, false});
  CHECK(all_by(pinned, NACELLE_CHOSEN_BY_PIN));
  CHECK(pinned.ids == prior.ids);

  for (const std::string& bad : {other + next + " 0.5 0\n", std::string("f32a_f32_gemm_2x16_portable 1 0.5 0\n"),
                                 std::string("no_such_kernel 1 0.5 0\n"), std::string("garbage"), std::string()}) {
    rewrite(cache, [&](Entry& entry) { entry.data = "1 0 0\n" + bad; });
    const Run stale = run(cache.folder);
    INFO(bad);
    CHECK(all_by(stale, NACELLE_CHOSEN_BY_COST));
    CHECK(stale.lines.size() == 1);
    CHECK(stale.ids == prior.ids);
  }
}

TEST_CASE("the verdicts of another build are not used, and that is said") {
  const Cache cache;
  run(cache.folder, kTune);
  const TuningStore store(cache.folder);
  for (const fs::path& path : cache.files()) {
    Entry entry(path);
    fs::remove(path);
    if (entry.key.find("latest build") != std::string::npos) entry.data = std::string(40, '0');
    if (const auto at = entry.key.find("build="); at != std::string::npos)
      entry.key.replace(at + 6, 40, std::string(40, '0'));
    store.put(entry.key, std::as_bytes(std::span(entry.data)));
  }
  const Run aged = run(cache.folder);
  CHECK(all_by(aged, NACELLE_CHOSEN_BY_COST));
  REQUIRE(aged.lines.size() == 1);
  CHECK(aged.lines[0].find("another build") != std::string::npos);
}

TEST_CASE("damaged files are as good as none, with one line for all of them") {
  const Cache cache;
  const Run prior = run(cache.folder, kTune);
  const std::vector<fs::path> files = cache.files();
  std::vector<std::string> whole;
  for (const fs::path& path : files) whole.push_back(content(path));
  for (int damage = 0; damage < 4; ++damage) {
    for (std::size_t i = 0; i < files.size(); ++i) {
      std::string bytes = whole[i];
      if (damage == 0) bytes.resize(bytes.size() / 2);
      if (damage == 1) bytes = "garbage";
      if (damage == 2) bytes = whole[(i + 1) % files.size()];  // a sound file of another key
      if (damage == 3) bytes.clear();
      std::ofstream(files[i], std::ios::binary) << bytes;
    }
    INFO("damage " << damage);
    const Run damaged = run(cache.folder);
    CHECK(all_by(damaged, NACELLE_CHOSEN_BY_COST));
    CHECK(damaged.lines.size() == 1);
    CHECK(damaged.ids == prior.ids);
  }
  CHECK(run(cache.folder, kTune).tuned->kept > 0);  // and are written anew
  CHECK(all_by(run(cache.folder), NACELLE_CHOSEN_BY_MEASUREMENT));
}

TEST_CASE("a cache that cannot be written costs one line: what was measured holds for the process") {
  SECTION("no folder can be made") {
    const Run tuned = run("/proc/nacelle", kTune);
    CHECK(all_by(tuned, NACELLE_CHOSEN_BY_MEASUREMENT));
    CHECK(tuned.tuned->kept == 0);
    CHECK(std::count_if(tuned.lines.begin(), tuned.lines.end(), [](const std::string& line) {
            return line.find("holds for this process only") != std::string::npos;
          }) == 1);
  }
  SECTION("the disk is full") {
    const Cache cache;
    const auto before = std::signal(SIGXFSZ, SIG_IGN);
    rlimit old{};
    getrlimit(RLIMIT_FSIZE, &old);
    const rlimit none{0, old.rlim_max};
    Log log("tuning");  // its file must not be limited
    setrlimit(RLIMIT_FSIZE, &none);
    Run tuned;
    {
      const auto host = host_over(cache.folder, "");
      LoadOptions options;
      options.path = NACELLE_SOURCE_DIR "/models/demo/nacelle-demo-q8_0.gguf";
      options.device = "cpu";
      options.context = 128;
      options.tune_budget = kTune.budget;
      tuned.tuned = Model::load(*host, options)->device().tuned();
    }
    setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, before);
    REQUIRE(tuned.tuned);
    CHECK(tuned.tuned->measured > 0);
    CHECK(tuned.tuned->kept == 0);
    CHECK(cache.files().empty());  // no half-written file is left
  }
}

TEST_CASE("a pin that cannot be followed is refused in one line that lists what could") {
  const Cache cache;
  struct Row {
    const char *pins, *isa, *text;
  };
  const Row rows[] = {
      {"matmul.q8_0=fast", "", "there is no such variant; expected one of "},
      {"matmul.q8_0=q8a_q8_0_gemm_4x8c4_avx2", "portable", "which --isa-cap forbids; expected one of "},
      {"matmul.q9_0=x", "", "there is no kernel for weights of that type"},
      {"attention.q8_0=x", "", "expected matmul.TYPE=VARIANT"},
      {"nonsense", "", "expected matmul.TYPE=VARIANT"},
      {"matmul.f32=f32a_f32_gemm_2x16_portable;matmul.f32=f32a_f32_gemm_2x16_portable", "", "have a pin already"},
  };
  for (const Row& row : rows) {
    INFO(row.pins);
    CHECK_THROWS_WITH(run(cache.folder, {{}, row.isa, row.pins, false}), Catch::Contains(row.text));
  }
}

TEST_CASE("a device without variants has nothing to tune; ceilings are measured where they can be") {
  const Cache cache;
  const auto host = host_over(cache.folder, "");
  LoadOptions options;
  options.path = NACELLE_SOURCE_DIR "/models/demo/nacelle-demo-q8_0.gguf";
  options.device = "reference";
  options.context = 64;
  options.tune_budget = std::chrono::seconds(1);
  const auto reference = Model::load(*host, options);
  CHECK_FALSE(reference->device().tuned());
  CHECK(reference->device().ceilings().read_bytes == 0);
  options.device = "cpu";
  options.tune_budget = {};
  const nacelle_ceilings cpu = Model::load(*host, options)->device().ceilings();
  CHECK(cpu.read_bytes > 1e8);
  CHECK(cpu.f32_ops > 1e8);
#if defined(__x86_64__)
  CHECK(cpu.int8_ops > cpu.f32_ops);
#endif
}
