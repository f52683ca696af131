// Figures are taken by name; what either side lacks is left out.
#include "api/cli/comparison.hpp"

#include <fmt/format.h>

#include <fstream>
#include <iterator>

#include "core/base/error.hpp"

namespace nacelle::cli {
namespace {

void add(std::vector<Ratio>& ratios, const std::string& figure, const Json& now, const Json& before, bool is_speed) {
  if (!now.is_number() || !before.is_number() || before.get<double>() <= 0) return;
  ratios.push_back({figure, before.get<double>(), now.get<double>(), is_speed});
}

// The member, or null for anything else.
Json member(const Json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  return found != json.end() ? *found : Json(nullptr);
}

}  // namespace

Json read_bench(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw Error(ErrorKind::kNotFound, path + ": cannot be opened; expected a document of `bench --json`", "compare");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object())
    throw Error(ErrorKind::kCorrupt, path + ": is no JSON object; expected a document of `bench --json`", "compare");
  return json;
}

std::vector<Ratio> compare(const Json& now, const Json& before, const std::string& path) {
  std::vector<Ratio> ratios;
  for (const char* figure : {"pp_tps", "tg_tps"})
    add(ratios, figure, member(now, figure), member(before, figure), true);
  const Json earlier = member(before, "batch");
  for (const Json& row : member(now, "batch"))
    for (const Json& other : earlier)
      if (member(row, "n") == member(other, "n"))
        add(ratios, fmt::format("batch {} tps", member(row, "n").dump()), member(row, "tps"), member(other, "tps"),
            true);
  if (ratios.empty())
    throw Error(ErrorKind::kInvalidArgument, path + ": holds no figure of `bench --json` that this run has too",
                "compare");
  for (const char* figure : {"read_gbps", "int8_gops", "bf16_gflops", "f32_gflops"})
    add(ratios, figure, member(member(now, "ceilings"), figure), member(member(before, "ceilings"), figure), false);
  return ratios;
}

std::vector<std::string> differences(const Json& now, const Json& before) {
  std::vector<std::string> found;
  for (const char* setting : {"model", "device", "threads", "prompt", "gen", "depth"}) {
    const Json a = member(now, setting), b = member(before, setting);
    if (a != b) found.push_back(fmt::format("{} {}, was {}", setting, a.dump(), b.dump()));
  }
  return found;
}

}  // namespace nacelle::cli
