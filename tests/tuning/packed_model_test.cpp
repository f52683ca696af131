// A model with its packed weights kept: the second start takes them from the file, and whatever happens to file or
// model, no answer changes.
#include <sys/resource.h>

#include <csignal>

#include "core/base/log.hpp"
#include "core/engine/placed_model.hpp"
#include "tests/support/engine_fixture.hpp"
#include "tests/tuning/kept_files.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

const fs::path kDemo = NACELLE_SOURCE_DIR "/models/demo/nacelle-demo-q8_0.gguf";

struct Start {
  bool mapped = false;             // the weights lay in a file of the cache
  std::vector<std::string> lines;  // of the log
  std::vector<TokenId> ids;
};

Start start(const fs::path& folder, const fs::path& model = kDemo, const std::string& isa = "") {
  Log log("packed cache");
  log::configure(log::Level::kDebug, log::Format::kText);  // it says there whether a file is used
  Start result;
  {
    const auto host = host_over("", isa);
    LoadOptions options;
    options.path = model;
    options.device = "cpu";
    options.context = 64;
    options.packed_cache = folder;
    Engine engine(Model::load(*host, options));
    result.ids = generate(engine, greedy({1, 5, 9, 40}, 16)).ids;
  }
  result.lines = log.end();
  log::configure(log::Level::kInfo, log::Format::kText);
  result.mapped =
      std::erase_if(result.lines, [](const std::string& line) { return line.find(" debug ") != line.npos; });
  return result;
}

// The model in a folder of its own, so that it can be changed.
fs::path copy_demo(const Cache& cache) {
  fs::copy_file(kDemo, cache.folder / "model.gguf");
  return cache.folder / "model.gguf";
}

}  // namespace

TEST_CASE("packed weights are kept once and mapped from then on") {
  const Cache cache;
  const Start without = start("");
  CHECK_FALSE(without.mapped);
  const Start first = start(cache.folder);
  CHECK_FALSE(first.mapped);
  CHECK(first.ids == without.ids);
  REQUIRE(cache.files().size() == 1);
  const auto written = fs::last_write_time(cache.files()[0]);
  const Start second = start(cache.folder);
  CHECK(second.mapped);
  CHECK(second.ids == without.ids);
  CHECK((first.lines.empty() && second.lines.empty()));
  CHECK(fs::last_write_time(cache.files()[0]) == written);

  // Another level has a file of its own, and takes away nobody's.
  CHECK_FALSE(start(cache.folder, kDemo, "portable").mapped);
  CHECK(cache.files().size() == 2);
  CHECK(start(cache.folder, kDemo, "portable").mapped);
  CHECK(start(cache.folder).mapped);
}

TEST_CASE("a packed file that is not this model's is packed anew, with one line") {
  const Cache cache, models;
  const fs::path model = copy_demo(models);
  const std::vector<TokenId> original = start(cache.folder, model).ids;
  REQUIRE(start(cache.folder, model).mapped);

  SECTION("the model changed, and its time was put back") {
    const auto before = fs::last_write_time(model);
    std::fstream file(model, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(fs::file_size(model) / 64 * 40 + 10000));  // where no sample lies
    for (int i = 0; i < 4000; ++i) file.put(static_cast<char>(i * 7));
    file.close();
    fs::last_write_time(model, before);
    const Start changed = start(cache.folder, model);
    CHECK_FALSE(changed.mapped);
    REQUIRE(changed.lines.size() == 1);
    CHECK(changed.lines[0].find("made with another model file") != std::string::npos);
    CHECK(changed.ids == start("", model).ids);
  }
  SECTION("the file is damaged") {
    fs::resize_file(cache.files()[0], fs::file_size(cache.files()[0]) - 1);
    const Start damaged = start(cache.folder, model);
    CHECK_FALSE(damaged.mapped);
    CHECK(damaged.lines.size() == 1);
    CHECK(damaged.ids == original);
  }
  SECTION("it is another model's, under this one's name") {
    const fs::path own = cache.files()[0];
    start(cache.folder, kDemo);
    for (const fs::path& path : cache.files())
      if (path != own) fs::rename(path, own);
    const Start swapped = start(cache.folder, model);
    CHECK_FALSE(swapped.mapped);
    CHECK(swapped.lines.size() == 1);
    CHECK(swapped.ids == original);
  }
  CHECK(start(cache.folder, model).mapped);  // and is kept again
  CHECK(cache.files().size() == 1);
}

TEST_CASE("a packed cache that cannot be written costs one line") {
  const std::vector<TokenId> expected = start("").ids;
  SECTION("no folder can be made") {
    const Start refused = start("/proc/nacelle");
    CHECK(refused.lines.size() == 1);
    CHECK(refused.ids == expected);
  }
  SECTION("the disk is full") {
    const Cache cache;
    const auto before = std::signal(SIGXFSZ, SIG_IGN);
    rlimit old{};
    getrlimit(RLIMIT_FSIZE, &old);
    const rlimit small{1 << 20, old.rlim_max};  // the log's file fits
    setrlimit(RLIMIT_FSIZE, &small);
    const Start full = start(cache.folder);
    setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, before);
    CHECK(full.lines.size() == 1);
    CHECK(full.ids == expected);
    CHECK(cache.files().empty());
  }
}
