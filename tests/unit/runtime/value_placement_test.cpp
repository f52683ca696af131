// Memory of a plan's values: no two that are in use together overlap, and memory is used again.
#include <catch2/catch.hpp>
#include <nacelle/value_placement.hpp>
#include <random>
#include <vector>

namespace nacelle::sdk {
namespace {

bool overlap(const Lifetime& a, const Lifetime& b) {
  const bool in_time = a.born <= b.dies && b.born <= a.dies;
  return in_time && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

TEST_CASE("values that are in use together do not overlap") {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<Lifetime> lifetimes(40);
    for (Lifetime& of : lifetimes) {
      of.bytes = random() % 1000;
      of.born = random() % 30;
      of.dies = of.born + random() % 8;
    }
    const std::uint64_t size = place(lifetimes, 128);
    for (std::size_t i = 0; i < lifetimes.size(); ++i) {
      CHECK(lifetimes[i].offset % 128 == 0);
      CHECK(lifetimes[i].offset + lifetimes[i].bytes <= size);
      for (std::size_t k = 0; k < i; ++k) REQUIRE_FALSE(overlap(lifetimes[i], lifetimes[k]));
    }
  }
}

TEST_CASE("a chain of values needs the memory of two") {
  std::vector<Lifetime> chain;
  for (std::uint32_t i = 0; i < 20; ++i) chain.push_back({640, i, i + 1});
  CHECK(place(chain) == 2 * 640);
  CHECK(place({}) == 0);
}

TEST_CASE("sizes follow the bucket, and shapes that are none are refused") {
  auto bucket = make<nacelle_bucket>();
  bucket.rows = 5;
  bucket.sequences = 3;
  bucket.output_rows = 2;
  auto value = make<nacelle_value>();
  value.rank = 2;
  value.shape[1] = 7;
  for (const auto& [extent, elements] : std::vector<std::pair<std::int64_t, std::uint64_t>>{
           {NACELLE_DIM_ROWS, 35}, {NACELLE_DIM_SEQUENCES, 21}, {NACELLE_DIM_OUTPUT_ROWS, 14}, {4, 28}}) {
    value.shape[0] = extent;
    CHECK(most_elements(value, bucket) == elements);
  }
  for (const std::int64_t bad : {std::int64_t{0}, std::int64_t{-77}, std::int64_t{1} << 41}) {
    value.shape[0] = bad;
    CHECK_THROWS_AS(most_elements(value, bucket), Failure);
  }
}

}  // namespace
}  // namespace nacelle::sdk
