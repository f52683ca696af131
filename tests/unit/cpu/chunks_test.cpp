// How a step's units are handed out.
#include "backends/cpu/chunks.hpp"

#include <catch2/catch.hpp>
#include <vector>

using namespace nacelle::cpu;

namespace {

// Who claims until nothing is left gets each unit once. Returns the chunks that are not empty, in order.
std::vector<Chunks::Range> claim_all(const Work& work, std::uint64_t threads) {
  const Chunks chunks(work, threads);
  std::vector<Chunks::Range> ranges;
  std::vector<int> times(work.units);
  for (std::uint64_t claimed = 0; claimed < chunks.total(); claimed += chunks.grain()) {
    const auto [begin, end] = chunks[claimed];
    REQUIRE(end <= work.units);
    for (std::uint64_t unit = begin; unit < end; ++unit) ++times[unit];
    if (begin < end) ranges.push_back({begin, end});
  }
  CHECK(times == std::vector<int>(work.units, 1));
  return ranges;
}

}  // namespace

TEST_CASE("every unit of a step is handed out once") {
  for (const std::uint64_t units : {0, 1, 2, 3, 7, 16, 36, 100, 1187})
    for (const std::uint64_t threads : {1, 2, 3, 16}) {
      INFO(units << " units, " << threads << " threads");
      for (const std::uint64_t grain : {1, 3, 40}) claim_all({units, grain}, threads);
      const std::vector<Chunks::Range> halved = claim_all({units, 1, false, true}, threads);
      if (units >= 2 * threads) {  // the last of each stretch is one unit: nobody waits for more
        CHECK(halved[0].end - halved[0].begin <= units / threads / 2 + 1);
        CHECK(halved.back().end - halved.back().begin == 1);
        CHECK(halved.size() <= threads * 11);
      }
    }
}

TEST_CASE("threads that claim in turns walk a stretch of their own") {
  const std::vector<Chunks::Range> ranges = claim_all({64, 1, false, true}, 2);
  for (std::size_t i = 2; i < ranges.size(); ++i) CHECK(ranges[i].begin == ranges[i - 2].end);
  CHECK(ranges[1].begin == 32);
  CHECK(ranges[1].end == 48);
}
