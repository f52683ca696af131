// `bench --compare`: the figures of this run against those of an earlier --json document.
#pragma once

#include <string>
#include <vector>

#include "api/cli/output.hpp"

namespace nacelle::cli {

struct Ratio {
  std::string figure;
  double before = 0, now = 0;
  bool is_speed = true;  // of the program; a ceiling is the machine's, and fails nobody

  double value() const { return now / before; }
};

// Reads a document of `bench --json`. Throws Error: kNotFound, kCorrupt.
Json read_bench(const std::string& path);

// All figures that both documents have. Throws Error(kInvalidArgument) when there is none.
std::vector<Ratio> compare(const Json& now, const Json& before, const std::string& path);

// What differs between the two runs and makes their figures hard to compare: "threads 2, was 1".
std::vector<std::string> differences(const Json& now, const Json& before);

}  // namespace nacelle::cli
