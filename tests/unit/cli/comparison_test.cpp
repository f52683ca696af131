// `bench --compare`: which figures are set against each other, and what is refused.
#include "api/cli/comparison.hpp"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>

#include "core/base/error.hpp"

using namespace nacelle;
using namespace nacelle::cli;

namespace {

const Json kNow = Json::parse(R"({"model": "m", "threads": 2, "pp_tps": 90, "tg_tps": 50,
  "batch": [{"n": 4, "tps": 150}, {"n": 8, "tps": 200}],
  "ceilings": {"read_gbps": 30, "int8_gops": null}})");

}  // namespace

TEST_CASE("figures that both runs have are compared; ceilings fail nobody") {
  const Json before = Json::parse(R"({"model": "m", "threads": 1, "pp_tps": 100, "tg_tps": 40,
    "batch": [{"n": 8, "tps": 100}, {"n": 16, "tps": 1}], "ceilings": {"read_gbps": 60, "int8_gops": 900}})");
  const std::vector<Ratio> ratios = compare(kNow, before, "file");
  REQUIRE(ratios.size() == 4);
  CHECK(ratios[0].figure == "pp_tps");
  CHECK(ratios[0].value() == Approx(0.9));
  CHECK(ratios[1].value() == Approx(1.25));
  CHECK(ratios[2].figure == "batch 8 tps");
  CHECK(ratios[2].value() == Approx(2));
  CHECK(ratios[3].figure == "read_gbps");
  CHECK_FALSE(ratios[3].is_speed);
  CHECK(differences(kNow, before) == std::vector<std::string>{"threads 2, was 1"});
}

TEST_CASE("documents of other shapes are refused or passed over, never believed") {
  for (const char* text : {"{}", R"({"pp_tps": "fast"})", R"({"pp_tps": null, "tg_tps": 0})", R"({"batch": 7})",
                           R"({"batch": [7, null, {"n": 3}]})", R"({"ceilings": [1]})"})
    CHECK_THROWS_AS(compare(kNow, Json::parse(text), "file"), Error);
  std::string path = "/tmp/nacelle-compare-XXXXXX";
  const int descriptor = mkstemp(path.data());
  REQUIRE(descriptor >= 0);
  close(descriptor);
  for (const char* text : {"", "[1]", "{\"pp_tps\": 1", "garbage"}) {
    std::ofstream(path) << text;
    CHECK_THROWS_AS(read_bench(path), Error);
  }
  std::ofstream(path) << R"({"pp_tps": 1})";
  CHECK(read_bench(path)["pp_tps"] == 1);
  std::remove(path.c_str());
  CHECK_THROWS_AS(read_bench("/nonexistent/file"), Error);
}
