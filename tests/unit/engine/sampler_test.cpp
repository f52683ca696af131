// Sampler: each stage against the distribution that its definition gives, computed here from the whole row.
#include "core/engine/sampler.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <map>

#include "core/base/error.hpp"
#include "tests/unit/engine/fake_row.hpp"

using namespace nacelle;
using nacelle::test::FakeRow;

namespace {

// Logits whose softmax is exactly `probabilities`.
std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

// Shares of 20000 draws.
std::map<TokenId, double> draw_many(const SamplingParams& params, FakeRow& row) {
  Sampler sampler(params, 42);
  std::map<TokenId, double> shares;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) shares[sampler.choose(row, static_cast<std::uint64_t>(i))] += 1.0 / kDraws;
  return shares;
}

void check_shares(const std::map<TokenId, double>& shares, const std::map<TokenId, double>& expected) {
  for (const auto& [token, share] : shares) {
    INFO("token " << token << " drawn " << share);
    REQUIRE(expected.contains(token));
  }
  for (const auto& [token, share] : expected) {
    INFO("token " << token);
    CHECK((shares.contains(token) ? shares.at(token) : 0.0) == Approx(share).margin(0.015));
  }
}

}  // namespace

TEST_CASE("temperature 0 takes the largest logit, the smaller id on a tie") {
  SamplingParams params;
  params.temperature = 0;
  FakeRow row({1, 3, 3, 2}, 2);
  CHECK(Sampler(params, 1).choose(row, 0) == 1);
}

TEST_CASE("plain sampling follows the softmax, also beyond the candidates") {
  FakeRow row(logits_of({0.1, 0.4, 0.05, 0.25, 0.2}), 2);
  check_shares(draw_many({}, row), {{0, 0.1}, {1, 0.4}, {2, 0.05}, {3, 0.25}, {4, 0.2}});
  CHECK(row.whole_reads > 0);
}

TEST_CASE("top_k keeps the k largest and renormalises, with more or fewer candidates than k") {
  SamplingParams params;
  params.top_k = 3;
  for (const std::size_t k : {2, 3, 5}) {
    FakeRow row(logits_of({0.1, 0.4, 0.05, 0.25, 0.2}), k);
    check_shares(draw_many(params, row), {{1, 0.4 / 0.85}, {3, 0.25 / 0.85}, {4, 0.2 / 0.85}});
    CHECK((row.whole_reads == 0) == (k >= 3));
  }
}

TEST_CASE("top_p keeps the smallest set that reaches p") {
  SamplingParams params;
  params.top_p = 0.6f;  // 0.4 + 0.25 reaches it
  for (const std::size_t k : {1, 5}) {
    FakeRow row(logits_of({0.1, 0.4, 0.05, 0.25, 0.2}), k);
    check_shares(draw_many(params, row), {{1, 0.4 / 0.65}, {3, 0.25 / 0.65}});
  }
  params.top_k = 2;  // renormalised first: 0.4 / 0.65 = 0.615 alone reaches 0.6
  FakeRow row(logits_of({0.1, 0.4, 0.05, 0.25, 0.2}), 5);
  check_shares(draw_many(params, row), {{1, 1.0}});
}

TEST_CASE("min_p keeps what is at least that share of the best") {
  SamplingParams params;
  params.min_p = 0.45f;  // 0.18: keeps 0.4, 0.25, 0.2
  for (const std::size_t k : {1, 5}) {
    FakeRow row(logits_of({0.1, 0.4, 0.05, 0.25, 0.2}), k);
    check_shares(draw_many(params, row), {{1, 0.4 / 0.85}, {3, 0.25 / 0.85}, {4, 0.2 / 0.85}});
  }
}

TEST_CASE("typical_p keeps the tokens nearest to the entropy first") {
  SamplingParams params;
  params.typical_p = 0.3f;
  const std::vector<double> p = {0.1, 0.4, 0.05, 0.25, 0.2};
  double entropy = 0;
  for (const double x : p) entropy -= x * std::log(x);  // 1.41: 0.25 has surprise 1.39, 0.2 has 1.61
  CHECK(entropy == Approx(1.41).margin(0.01));
  FakeRow row(logits_of(p), 2);
  check_shares(draw_many(params, row), {{3, 0.25 / 0.45}, {4, 0.2 / 0.45}});
}

TEST_CASE("a draw depends on seed and index alone") {
  FakeRow row(logits_of({0.1, 0.4, 0.05, 0.25, 0.2}), 5);
  Sampler a({}, 7), b({}, 7), c({}, 8);
  bool differs = false;
  for (std::uint64_t i = 0; i < 50; ++i) {
    const TokenId first = a.choose(row, i);
    CHECK(first == b.choose(row, i));
    differs = differs || first != c.choose(row, i);
  }
  CHECK(differs);
}

TEST_CASE("penalties and biases: sparse entries give what the definitions say") {
  SamplingParams params;
  params.repetition_penalty = 2;
  params.frequency_penalty = 0.5f;
  params.presence_penalty = 0.25f;
  params.logit_bias = {{3, 5.0f}};
  Adjustments adjustments(params);
  const std::vector<TokenId> prompt = {0, 1, 1};
  adjustments.add_prompt(prompt);
  adjustments.add_answer(2);
  adjustments.add_answer(2);
  adjustments.add_answer(1);
  std::vector<float> logits = {4, -4, 6, 1, 9};
  apply_adjustments(logits, adjustments.entries(), 0.5f);
  CHECK(logits[0] == Approx(4.0f / 2 / 0.5f));                       // repeated: positive is divided
  CHECK(logits[1] == Approx((-4.0f * 2 - 0.75f) / 0.5f));            // negative is multiplied; once in the answer
  CHECK(logits[2] == Approx((6.0f / 2 - 2 * 0.5f - 0.25f) / 0.5f));  // twice in the answer, present once
  CHECK(logits[3] == Approx((1.0f + 5) / 0.5f));
  CHECK(logits[4] == Approx(9.0f / 0.5f));
}

TEST_CASE("penalties that look back so far and no further") {
  SamplingParams params;
  params.repetition_penalty = 2;
  params.frequency_penalty = 0.5f;
  params.presence_penalty = 0.25f;
  params.penalty_window = 3;
  params.logit_bias = {{0, 5.0f}};
  Adjustments adjustments(params);
  const std::vector<float> raw = {4, -4, 6, 1, 9};
  const auto adjusted = [&] {
    std::vector<float> logits = raw;
    apply_adjustments(logits, adjustments.entries(), 1.0f);
    return logits;
  };
  adjustments.add_prompt(std::vector<TokenId>{4, 0, 1, 1});  // the window has 0 1 1
  CHECK(adjusted() == std::vector<float>{4.0f / 2 + 5, -8, 6, 1, 9});
  adjustments.add_answer(2);  // 1 1 2
  CHECK(adjusted() == std::vector<float>{4 + 5, -8, 6.0f / 2 - 0.75f, 1, 9});
  adjustments.add_answer(2);  // 1 2 2
  adjustments.add_answer(3);  // 2 2 3
  CHECK(adjusted() == std::vector<float>{4 + 5, -4, 6.0f / 2 - 1.25f, 0.5f - 0.75f, 9});
  CHECK(adjustments.entries().size() == 3);  // the biased one, 2 and 3: none for what left the window
  for (int i = 0; i < 3; ++i) adjustments.add_answer(1);
  CHECK(adjusted() == std::vector<float>{4 + 5, -8 - 1.75f, 6, 1, 9});
  CHECK(adjustments.entries().size() == 2);
}

TEST_CASE("the model's own ends are held back until the answer has so many tokens") {
  SamplingParams params;
  params.logit_bias = {{1, 2.0f}};
  const std::vector<TokenId> ends = {1, 2, 2, 3};
  const std::vector<float> raw = {4, 9, 8, 7, 3};
  std::size_t entries = 1;  // in the end: of the biased token, and of what a penalty changes
  std::vector<float> free = {4, 11, 8, 7, 3};
  SECTION("alone") {}
  SECTION("with penalties that look back for ever") {
    params.repetition_penalty = 2;
    free = {2, 9.0f / 2 + 2, 8, 7, 3.0f / 2};
    entries = 3;
  }
  SECTION("with penalties that look back a little") {
    params.repetition_penalty = 2;
    params.penalty_window = 2;
    free = {2, 11, 8, 7, 3.0f / 2};
    entries = 3;
  }
  Adjustments adjustments(params);
  adjustments.add_prompt(std::vector<TokenId>{1});
  adjustments.hold_back(ends, 2);
  const auto best = [&](std::vector<float> logits) {
    apply_adjustments(logits, adjustments.entries(), 0.5f);
    return std::max_element(logits.begin(), logits.end()) - logits.begin();
  };
  const float never = -std::numeric_limits<float>::infinity();
  CHECK(best(raw) == 0);
  CHECK(best({never, never, 8, never, never}) == 2);  // all that a grammar allows
  adjustments.add_answer(0);
  CHECK(best(raw) == (params.repetition_penalty == 1.0f ? 0 : 4));
  adjustments.add_answer(4);
  std::vector<float> logits = raw;
  apply_adjustments(logits, adjustments.entries(), 1.0f);
  CHECK(logits == free);
  CHECK(adjustments.entries().size() == entries);
}

TEST_CASE("logprobs are of the model's own distribution, whatever was adjusted") {
  const auto raw = logits_of({0.1, 0.4, 0.05, 0.25, 0.2});
  FakeRow plain(raw, 3);
  Sampler sampler({}, 1);
  const TokenLogprob near = sampler.logprob(plain, 3, 2, false);
  CHECK(plain.whole_reads == 0);
  CHECK(near.logprob == Approx(std::log(0.25)).margin(1e-5));
  REQUIRE(near.top.size() == 2);
  CHECK(near.top[0].first == 1);
  CHECK(near.top[1].second == Approx(std::log(0.25)).margin(1e-5));

  FakeRow biased(raw, 2, {{2, 1.0f, 10.0f}}, 1);  // candidates now begin with token 2
  const TokenLogprob far = sampler.logprob(biased, 2, 2, true);
  CHECK(far.logprob == Approx(std::log(0.05)).margin(1e-5));
  CHECK(far.top[0].first == 1);
  CHECK(far.top[1].first == 3);
}

TEST_CASE("parameters out of range are refused by name") {
  const auto param_of = [](auto change) {
    SamplingParams params;
    change(params);
    try {
      check_sampling(params, 10);
    } catch (const Error& error) {
      return error.param();
    }
    return std::string("accepted");
  };
  CHECK(param_of([](SamplingParams&) {}) == "accepted");
  CHECK(param_of([](SamplingParams& p) { p.temperature = -1; }) == "temperature");
  CHECK(param_of([](SamplingParams& p) { p.top_p = 1.5f; }) == "top_p");
  CHECK(param_of([](SamplingParams& p) { p.min_p = std::nanf(""); }) == "min_p");
  CHECK(param_of([](SamplingParams& p) { p.logit_bias = {{10, 1.0f}}; }) == "logit_bias");
  CHECK(param_of([](SamplingParams& p) { p.repetition_penalty = 0; }) == "repetition_penalty");
}
