// A verdict counts for the file that it names by content, and for no other.
#include "sdk/runtime/verdict.hpp"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "sdk/runtime/content_hash.hpp"

namespace {

namespace fs = std::filesystem;
using namespace nacelle::sdk;

void write_file(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

}  // namespace

TEST_CASE("a verdict belongs to one build of a plugin") {
  const fs::path folder = fs::temp_directory_path() / ("nacelle-verdict-" + std::to_string(getpid()));
  fs::create_directory(folder);
  const fs::path plugin = folder / "mine.so";
  write_file(plugin, "one build");
  CHECK(verdict_of(plugin) == "unverified");

  REQUIRE(write_verdict(verdict_path(plugin), {content_hash(plugin), true, 500, 0, 12, ""}));
  CHECK(verdict_of(plugin) == "verified");
  const auto kept = read_verdict(verdict_path(plugin));
  REQUIRE(kept);
  CHECK(kept->checks_passed == 500);
  CHECK(kept->checks_skipped == 12);

  write_file(plugin, "another build");
  CHECK(verdict_of(plugin) == "unverified");

  REQUIRE(write_verdict(verdict_path(plugin), {content_hash(plugin), false, 1, 2, 0, "rope:\nother bits"}));
  CHECK(verdict_of(plugin) == "failed (2 checks; rope: other bits)");
  for (const char* damaged : {"", "nacelle-verdict 2\n", "nacelle-verdict 1\ncontent x\nresult maybe\n"}) {
    write_file(verdict_path(plugin), damaged);
    CHECK(verdict_of(plugin) == "unverified");
  }
  CHECK_FALSE(write_verdict(folder / "none/here", {}));
  fs::remove_all(folder);
}
