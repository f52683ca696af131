// Several processes on one tuning store.
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>

#include "core/base/error.hpp"
#include "core/plugin_host/tuning_store.hpp"

using namespace nacelle;

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
  std::vector<pid_t> children;
  for (const char letter : {'a', 'b', 'c'}) {
    const pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      int failed = 2;
      try {
        failed = child(letter);
      } catch (...) {
      }
      _exit(failed);
    }
    children.push_back(pid);
  }
  for (const pid_t pid : children) {
    int status = -1;
    REQUIRE(waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
  }
  // Nothing half-written is left behind.
  CHECK(std::distance(std::filesystem::directory_iterator(folder), {}) == 1);
  std::filesystem::remove_all(folder);
}
