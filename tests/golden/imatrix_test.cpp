// The importance matrix of the demo model: what its first layer reads follows from the file alone, and what all layers
// read is the same on two backends.
#include "core/compress/imatrix.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <nacelle/block_formats.hpp>

#include "tests/golden/demo.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

constexpr std::uint32_t kTokens = 48;

std::string calibration_text() {
  std::string text;
  for (const char* country : {"France", "Spain", "Italy", "Japan", "Peru", "Norway", "Egypt", "Chile"})
    text += std::string("The capital of ") + country + " is a city. What colour is the sky? The sky is blue.\n";
  return text;
}

std::vector<float> row_of(const ModelFiles& files, const char* name, std::uint64_t row) {
  const TensorInfo& tensor = *files.tensor(name);
  std::vector<float> out(tensor.shape.back());
  const std::uint64_t bytes = tensor.size / (tensor.elements() / out.size());
  decode_row(tensor.type, reinterpret_cast<const std::uint8_t*>(files.data(tensor).data()) + row * bytes, out.size(),
             out.data());
  return out;
}

compress::Importance measure(const char* device) {
  const auto host = make_host();
  LoadOptions options = compress::imatrix_load_options(kTokens);
  options.path = source_dir() / "models/demo/nacelle-demo-q8_0.gguf";
  options.device = device;
  const auto model = Model::load(*host, options);
  return compress::measure_importance(*host, *model, calibration_text(), kTokens, 2);
}

}  // namespace

TEST_CASE("an importance matrix holds the mean squares of what goes in") {
  const compress::Importance cpu = measure("cpu"), reference = measure("reference");
  CHECK(cpu.chunks == 2);
  CHECK(cpu.weights.size() == 5 * 7);  // layers, and their matrices; the head is not measured

  const auto files = ModelFiles::open(source_dir() / "models/demo/nacelle-demo-q8_0.gguf");
  const auto tokenizer = load_tokenizer(*files->gguf());
  std::vector<TokenId> tokens = tokenizer->encode(calibration_text());
  tokens.resize(2 * kTokens);
  const std::vector<float> norm = row_of(*files, "blk.0.attn_norm.weight", 0);
  std::vector<double> expected(norm.size());
  for (const TokenId token : tokens) {
    const std::vector<float> x = row_of(*files, "token_embd.weight", static_cast<std::uint64_t>(token));
    double square = 0;
    for (const float value : x) square += static_cast<double>(value) * value / static_cast<double>(x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
      expected[i] += std::pow(x[i] * norm[i], 2) / (square + 1e-5) / static_cast<double>(tokens.size());
  }
  for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"}) {
    const std::vector<float> means = cpu.channel_means(name, 0, norm.size());
    REQUIRE(means.size() == expected.size());
    for (std::size_t i = 0; i < means.size(); ++i) REQUIRE(means[i] == Approx(expected[i]).epsilon(1e-3));
  }
  for (const auto& [name, sums] : reference.weights) {
    CAPTURE(name);
    const compress::ChannelSums& other = cpu.weights.at(name);
    CHECK(other.counts == sums.counts);
    double difference = 0, all = 0;
    for (std::size_t i = 0; i < sums.sums.size(); ++i) {
      difference += std::abs(sums.sums[i] - other.sums[i]);
      all += sums.sums[i];
    }
    CHECK(difference < 0.02 * all);  // the CPU rounds what goes into Q8_0 products to 8 bits
  }
}
