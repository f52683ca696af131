// Loading plugins that are sound, broken, or lie. Each broken one is refused with its own reason and harms no other.
#include <algorithm>
#include <catch2/catch.hpp>

#include "core/plugin_host/sha256.hpp"
#include "core/plugin_host/tuning_store.hpp"
#include "sdk/runtime/abi_rule.hpp"
#include "tests/unit/plugin_host/plugin_folder.hpp"

using namespace nacelle;
using nacelle::test::contains;
using nacelle::test::PluginFolder;

namespace {
constexpr sdk::AbiVersion kAbi = sdk::kArchitectureAbi;
}

TEST_CASE("a sound plugin is loaded and described") {
  PluginFolder folder;
  const auto path = folder.add("good");
  const PluginHost host(folder.options());
  REQUIRE(host.plugins().size() == 1);
  const PluginRecord& record = host.plugins()[0];
  INFO(record.reason);
  CHECK(record.status == PluginStatus::kLoaded);
  CHECK(record.reason.empty());
  CHECK(record.kind == "architecture");
  CHECK(record.name == "good");
  CHECK(record.version == "7.5");
  CHECK(record.abi == to_string(kAbi));
  CHECK(record.build_id == "built for a test");
  CHECK(record.path == path);
  CHECK_FALSE(record.sha256);
  REQUIRE(record.architecture);
  CHECK_FALSE(record.backend);
  CHECK(record.architecture->match(nullptr) == NACELLE_NOT_FOUND);
}

TEST_CASE("a broken plugin is refused with its reason") {
  struct Row {
    const char *plugin, *kind, *name, *reason;
    PluginStatus status = PluginStatus::kRefused;
  };
  const std::string other_major = "built against architecture ABI " + sdk::to_string({kAbi.major + 1, kAbi.minor});
  const std::string other_answer =
      "its manifest says ABI " + to_string(kAbi) + ", its query says " + sdk::to_string({kAbi.major, kAbi.minor + 2});
  const Row rows[] = {
      {"wrong_major", "architecture", "good", other_major.c_str()},
      {"wrong_sanitizer", "architecture", "good", "built with sanitizer memory, this host with"},
      {"wrong_platform", "architecture", "good", "built for plan9-vax, this host is " NACELLE_PLATFORM},
      {"wrong_name", "architecture", "a:b", "its name 'a:b'"},
      {"needs_driver", "architecture", "good", "libabi_absent_driver.so", PluginStatus::kUnavailable},
      {"needs_host_symbol", "architecture", "good", "nacelle_symbol_that_no_host_has"},
      {"no_symbol", "architecture", "good", "exports no symbol nacelle_plugin_query"},
      {"throws", "backend", "throwing", "its query threw an exception, which must not cross the ABI: as promised"},
      {"throws_int", "backend", "throwing", "its query threw an exception of unknown type"},
      {"fails", "architecture", "good", "its query failed: the query has no wish to answer"},
      {"no_driver", "architecture", "good", "the query has no wish to answer", PluginStatus::kUnavailable},
      {"lies_kind", "backend", "good", "its manifest says backend, its query says kind 2"},
      {"lies_name", "architecture", "good", "its manifest says 'good', its query says 'evil'"},
      {"lies_abi", "architecture", "good", other_answer.c_str()},
      {"small_info", "architecture", "good", "its query answered with a struct of 64 bytes, 72 to 80 were expected"},
      {"large_info", "architecture", "good", "its query answered with a struct of 4096 bytes"},
      {"no_table", "architecture", "good", "its query gave no function table"},
      {"small_table", "architecture", "good", "its function table has 32 bytes, 40 were expected"},
      {"no_build", "architecture", "good", "its function table has no build"},
  };
  for (const Row& row : rows) {
    PluginFolder folder;
    const auto path = folder.add(row.plugin);
    const PluginRecord record = folder.only();
    INFO(row.plugin << ": " << record.reason);
    CHECK(record.status == row.status);
    CHECK(record.kind == row.kind);
    CHECK(record.name == row.name);
    CHECK(record.reason.starts_with(path.string() + ": "));
    CHECK(contains(record.reason, row.reason));
    CHECK_FALSE(contains(record.reason, "\n"));
    CHECK_FALSE(record.architecture);
    CHECK_FALSE(record.backend);
  }
}

TEST_CASE("a plugin of a newer minor is taken from 1.0 on") {
  PluginFolder folder;
  folder.add("new_minor");
  const PluginRecord record = folder.only();
  INFO(record.reason);
  CHECK(record.abi == sdk::to_string({kAbi.major, kAbi.minor + 1}));
  if (kAbi.major > 0) {
    CHECK(record.status == PluginStatus::kLoaded);
  } else {
    CHECK(record.status == PluginStatus::kRefused);
    CHECK(contains(record.reason, "this host takes " + to_string(kAbi) + " only"));
  }
}

TEST_CASE("one bad plugin harms no other, and files are taken by name") {
  PluginFolder folder;
  folder.add("throws", "a.so");
  folder.add("other", "b.so");
  folder.add("small_info", "c.so");
  folder.add("good", "d.so");
  folder.add("good", "not-a-plugin.so.1");
  const PluginHost host(folder.options());
  std::vector<std::string> loaded, files;
  for (const PluginRecord& record : host.plugins()) {
    files.push_back(record.path.filename());
    if (record.status == PluginStatus::kLoaded) loaded.push_back(record.name);
  }
  CHECK(files == std::vector<std::string>{"a.so", "b.so", "c.so", "d.so"});
  CHECK(loaded == std::vector<std::string>{"other", "good"});
}

TEST_CASE("of two plugins with one name the first is kept") {
  PluginFolder folder, second;
  const auto first = folder.add("good", "a.so");
  folder.add("good_again", "b.so");
  folder.add("good_backend", "c.so");  // the same name, another kind
  second.add("good_again", "a.so");
  auto options = folder.options();
  options.folders = {folder.path(), second.path(), folder.path() / ".", "/nonexistent"};
  const PluginHost host(options);
  REQUIRE(host.plugins().size() == 4);
  CHECK(host.plugins()[0].status == PluginStatus::kLoaded);
  CHECK(host.plugins()[1].status == PluginStatus::kRefused);
  CHECK(contains(host.plugins()[1].reason, "architecture 'good' was already loaded from " + first.string()));
  CHECK(host.plugins()[2].status == PluginStatus::kLoaded);
  CHECK(host.plugins()[3].status == PluginStatus::kRefused);
}

TEST_CASE("an allow-list admits by SHA-256") {
  PluginFolder folder;
  const std::string digest = sha256_of_file(folder.add("good", "a.so"));
  folder.add("other", "b.so");
  auto options = folder.options();
  std::string upper = digest;
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return std::toupper(c); });
  options.allowed_sha256 = {std::string(64, '0'), upper};
  const PluginHost host(options);
  REQUIRE(host.plugins().size() == 2);
  CHECK(host.plugins()[0].status == PluginStatus::kLoaded);
  CHECK(host.plugins()[0].sha256 == digest);
  CHECK(host.plugins()[1].status == PluginStatus::kRefused);
  CHECK(contains(host.plugins()[1].reason, "is not on the allow-list"));
}

TEST_CASE("shutdown is called when the host ends, for loaded plugins only") {
  PluginFolder folder;
  folder.add("good", "a.so");
  folder.add("lies_name", "b.so");
  const TuningStore cache(folder.path() / "cache");
  {
    const PluginHost host(folder.options());
    CHECK_FALSE(cache.get("shutdown of good"));
  }
  CHECK(cache.get("shutdown of good"));
}

TEST_CASE("SHA-256 gives the digests of FIPS 180-4") {
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
