// What an adapter does to the head and to the embedding, against the same in double.
#include "core/engine/host_adapter.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>

using namespace nacelle;

namespace {

constexpr std::size_t kVocabulary = 40, kWidth = 24, kRank = 3;

AdapterPart random_part(unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  AdapterPart part{"w", kRank, std::vector<float>(kRank * kWidth), std::vector<float>(kVocabulary * kRank)};
  for (float& x : part.a) x = normal(random);
  for (float& x : part.b) x = normal(random);
  return part;
}

double change(const AdapterPart& part, std::size_t id, std::size_t column) {
  double sum = 0;
  for (std::size_t r = 0; r < kRank; ++r) sum += double{part.b[id * kRank + r]} * part.a[r * kWidth + column];
  return sum;
}

}  // namespace

TEST_CASE("the head's change is added to logits, also behind a soft cap") {
  const AdapterPart part = random_part(1);
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> hidden(kWidth), plain(kVocabulary);
  for (float& x : hidden) x = normal(random);
  for (float& x : plain) x = 5 * normal(random);
  for (const float cap : {0.0f, 30.0f}) {
    const auto capped = [&](double x) { return cap == 0 ? x : cap * std::tanh(x / cap); };
    std::vector<float> logits;
    for (const float x : plain) logits.push_back(static_cast<float>(capped(x)));
    add_head(part, cap, hidden, logits);
    for (std::size_t id = 0; id < kVocabulary; ++id) {
      double sum = plain[id];
      for (std::size_t i = 0; i < kWidth; ++i) sum += change(part, id, i) * hidden[i];
      CHECK(logits[id] == Approx(capped(sum)).margin(1e-4));
    }
  }
}

TEST_CASE("a token's row of the embedding gets its own change") {
  const AdapterPart part = random_part(3);
  std::vector<float> row(kWidth, 1.0f);
  add_embedding(part, 17, row);
  for (std::size_t i = 0; i < kWidth; ++i) CHECK(row[i] == Approx(1 + change(part, 17, i)).margin(1e-5));
}
