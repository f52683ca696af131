// Perplexity, KL divergence and agreement: by hand, by NumPy, and of the demo model beside itself. tests/families holds
// the whole way from a file to a perplexity against NumPy.
#include "core/compress/eval.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <limits>

#include "tests/golden/demo.hpp"
#include "tests/golden/last_logits.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

constexpr std::uint32_t kWindow = 32;
constexpr const char* kText =
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\nThe capital of France is "
    "Paris.<|im_end|>\n<|im_start|>user\nWhat is 23 + 45?<|im_end|>\n<|im_start|>assistant\n23 + 45 = 68<|im_end|>\n"
    "<|im_start|>user\nSpell the word river.<|im_end|>\n<|im_start|>assistant\nR-I-V-E-R<|im_end|>\n";

std::shared_ptr<Model> load_demo(PluginHost& host, nacelle_type keys = NACELLE_TYPE_INVALID,
                                 nacelle_type values = NACELLE_TYPE_INVALID) {
  LoadOptions options = eval_load_options(kWindow);
  options.key_type = keys;
  options.value_type = values;
  return Demo::load(host, options);
}

ErrorKind kind_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.kind();
  }
  FAIL("nothing was thrown");
  return ErrorKind::kInternal;
}

}  // namespace

TEST_CASE("a model that knows nothing is as perplexed as its vocabulary is large") {
  Scores scores;
  for (std::uint32_t next : {0u, 3u, 6u}) REQUIRE(scores.add(std::vector<float>(7, 1234.5f), next));
  CHECK(scores.tokens() == 3);
  CHECK(scores.perplexity().value == Approx(7).epsilon(1e-12));
  CHECK(scores.perplexity().error == Approx(0).margin(1e-6));
  REQUIRE(scores.add(std::vector<float>{0, 0, 0, 0, 0, 0, 80}, 6));  // certain, and right
  CHECK(scores.perplexity().value == Approx(std::pow(7, 0.75)));
  // Of the losses ln 7 (3 times) and 0: deviation ln 7 sqrt(3) / 4, over sqrt(4 - 1).
  CHECK(scores.perplexity().error == Approx(std::pow(7, 0.75) * std::log(7) / 4));
}

TEST_CASE("scores beside another model are those of NumPy") {
  const std::vector<float> model[] = {{0.5f, -1, 2, 0, 0.25f}, {1, 1.5f, -0.5f, 0, 3}, {-2, 0.125f, 0.5f, 1, 0}};
  const std::vector<float> base[] = {{0.75f, -1.5f, 2.25f, 0, 0}, {1, 1, 0, 0.5f, 2}, {-2, 1.25f, 0.5f, 1, -1}};
  const std::uint32_t next[] = {2, 0, 3};
  Scores scores;
  for (int i = 0; i < 3; ++i) REQUIRE(scores.add(model[i], base[i], next[i]));
  CHECK(scores.perplexity().value == Approx(3.44951934).epsilon(1e-6));
  CHECK(scores.perplexity().error == Approx(1.98839895).epsilon(1e-6));
  CHECK(scores.base_perplexity().value == Approx(2.94408535).epsilon(1e-6));
  CHECK(scores.perplexity_ratio().value == Approx(1.17167777).epsilon(1e-6));
  CHECK(scores.perplexity_ratio().error == Approx(0.292794025).epsilon(1e-6));
  CHECK(scores.divergence().value == Approx(0.118292754).epsilon(1e-6));
  CHECK(scores.divergence().error == Approx(0.0532928137).epsilon(1e-6));
  CHECK(scores.divergence_quantile(0.99) == Approx(0.193567843).epsilon(1e-6));
  CHECK(scores.agreement().value == Approx(2 / 3.0));
}

TEST_CASE("rows without a softmax are told apart; what a model rules out is not") {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  Scores scores;
  CHECK_FALSE(scores.add(std::vector<float>{0, NAN, 1}, 0));
  CHECK_FALSE(scores.add(std::vector<float>{-kInf, -kInf}, 0));
  CHECK_FALSE(scores.add(std::vector<float>{0, kInf}, 0));
  CHECK_FALSE(scores.add(std::vector<float>{0, 1}, std::vector<float>{NAN, 1}, 0));
  CHECK(scores.tokens() == 0);
  CHECK(scores.divergence_quantile(0.5) == 0);
  REQUIRE(scores.add(std::vector<float>{0, 0, -kInf}, std::vector<float>{0, 0, -kInf}, 1));
  CHECK(scores.divergence().value == 0);
  CHECK(scores.perplexity().value == Approx(2));
}

TEST_CASE("a model beside itself loses nothing, and its rows are those of whole prompts") {
  const auto host = make_host();
  const auto model = load_demo(*host), same = load_demo(*host);
  const TextWindows text = encode_windows(model->tokenizer(), kText, kWindow, true);
  REQUIRE(text.windows() >= 2);
  const Scores beside = evaluate(*model, same.get(), text);
  CHECK(beside.tokens() == text.windows() * (kWindow / 2 - 1));
  CHECK(beside.divergence().value == 0);
  CHECK(beside.divergence_quantile(1) == 0);
  CHECK(beside.agreement().value == 1);
  CHECK(beside.perplexity_ratio().value == 1);
  const double perplexity = evaluate(*model, nullptr, text).perplexity().value;
  CHECK(beside.perplexity().value == perplexity);
  CHECK(beside.base_perplexity().value == perplexity);

  Scores one_by_one;
  for (std::size_t w = 0; w < text.windows(); ++w)
    for (std::uint32_t at = text.first(); at + 1 < kWindow; ++at) {
      const auto window = text[w];
      const auto logits = last_logits(*model, {{window.begin(), window.begin() + at + 1}}, kWindow);
      one_by_one.add(logits[0], static_cast<std::uint32_t>(window[at + 1]));
    }
  CHECK(one_by_one.perplexity().value == perplexity);
}

TEST_CASE("coarser keys and values lose more") {
  const auto host = make_host();
  const auto base = load_demo(*host, NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  const TextWindows text = encode_windows(base->tokenizer(), kText, kWindow, true);
  double before = 0;
  for (const auto& [keys, values] :
       {std::pair{NACELLE_TYPE_F16, NACELLE_TYPE_F16}, std::pair{NACELLE_TYPE_Q8_0, NACELLE_TYPE_Q8_0},
        std::pair{NACELLE_TYPE_Q8_0, NACELLE_TYPE_Q4_0}, std::pair{NACELLE_TYPE_Q4_0, NACELLE_TYPE_Q4_0}}) {
    const auto model = load_demo(*host, keys, values);
    const double lost = evaluate(*model, base.get(), text).divergence().value;
    CHECK(lost > before);
    before = lost;
  }
}

TEST_CASE("texts and models that cannot be evaluated are refused") {
  const auto host = make_host();
  const auto model = load_demo(*host);
  const Tokenizer& tokenizer = model->tokenizer();
  CHECK(kind_of([&] { encode_windows(tokenizer, "Hello.", kWindow, false); }) == ErrorKind::kInvalidArgument);
  CHECK(kind_of([&] { encode_windows(tokenizer, kText, 3, false); }) == ErrorKind::kInvalidArgument);
  CHECK(encode_windows(tokenizer, kText, kWindow, true, 1).windows() == 1);
  CHECK(encode_windows(tokenizer, kText, kWindow, false).text_tokens >
        encode_windows(tokenizer, kText, kWindow, true).text_tokens);
  const TextWindows longer = encode_windows(tokenizer, kText, 2 * kWindow, true);
  CHECK(kind_of([&] { evaluate(*model, nullptr, longer); }) == ErrorKind::kResource);
  if (!have_shared("models/stories260K")) return;
  LoadOptions other = eval_load_options(kWindow);
  other.path = shared_dir() / "models/stories260K/stories260K.gguf";
  other.device = "cpu";
  const auto stories = Model::load(*host, other);
  const TextWindows text = encode_windows(tokenizer, kText, kWindow, true);
  CHECK(kind_of([&] { evaluate(*model, stories.get(), text); }) == ErrorKind::kInvalidArgument);
}
