// Where test data lives. Large data sits beside the checkout in ../shared; a test that needs it skips with a line that
// says so when it is absent, and fails instead when CI=true, so that a green CI cannot hide a missing folder.
#pragma once
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace nacelle::test {

inline std::filesystem::path source_dir() { return NACELLE_SOURCE_DIR; }

// ../shared beside the checkout, or NACELLE_SHARED where it is set.
inline std::filesystem::path shared_dir() {
  const char* set = std::getenv("NACELLE_SHARED");
  return set ? std::filesystem::path(set) : source_dir().parent_path() / "shared";
}

// True when `relative` exists under shared_dir(). Otherwise prints a skip line (or fails the test under CI=true).
inline bool have_shared(const std::string& relative) {
  const auto path = shared_dir() / relative;
  if (std::filesystem::exists(path)) return true;
  const char* ci = std::getenv("CI");
  if (ci && std::string(ci) == "true") FAIL("CI needs " << path << ", which is absent");
  WARN("skipped: needs " << path << ", which is absent");
  return false;
}

}  // namespace nacelle::test
