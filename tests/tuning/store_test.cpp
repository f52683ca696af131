// Several processes on one tuning store.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>

#include "core/base/error.hpp"
#include "core/plugin_host/tuning_store.hpp"
#include "tests/support/processes.hpp"

using namespace nacelle;
using nacelle::test::run_in_processes;

TEST_CASE("processes that write one key at once leave a whole value, and readers never see less") {
  std::string folder = (std::filesystem::temp_directory_path() / "nacelle-store-XXXXXX").string();
  REQUIRE(mkdtemp(folder.data()));
  const auto child = [&](char letter) {
    const std::string value(20000, letter);
    const TuningStore store{folder};
    for (int i = 0; i < 100; ++i) {
      store.put("key", std::as_bytes(std::span(value)));
      const auto got = store.get("key");
      if (!got || got->size() != value.size() || std::set<std::byte>(got->begin(), got->end()).size() != 1) return 1;
    }
    return 0;
  };
  run_in_processes({'a', 'b', 'c'}, child);
  // Nothing half-written is left behind.
  CHECK(std::distance(std::filesystem::directory_iterator(folder), {}) == 1);
  std::filesystem::remove_all(folder);
}
