// Buckets of the engine's histograms.
#include "core/engine/histogram.hpp"

#include <catch2/catch.hpp>

using nacelle::Histogram;

TEST_CASE("a value falls into the first bucket whose bound it does not exceed") {
  static constexpr double kBounds[] = {1, 2, 4};
  Histogram histogram(kBounds);
  for (const double value : {0.5, 1.0, 1.5, 4.0, 4.5, 100.0}) histogram.add(value);
  const auto snapshot = histogram.snapshot();
  CHECK(snapshot.counts[0] == 2);
  CHECK(snapshot.counts[1] == 1);
  CHECK(snapshot.counts[2] == 1);
  CHECK(snapshot.counts[3] == 2);
  CHECK(snapshot.count() == 6);
  CHECK(snapshot.sum == Approx(111.5));
  CHECK(snapshot.bounds.size() == 3);
}
