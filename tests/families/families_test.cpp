// Every family's small random models, written by make_models.py, from both file formats and on both backends: logits as
// its NumPy forward pass gives them, and the models that must be refused, by the very line.
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/golden/last_logits.hpp"

using namespace nacelle;
using namespace nacelle::test;
namespace fs = std::filesystem;

namespace {

std::string read_file(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::vector<fs::path> folders_of(const fs::path& folder) {
  std::vector<fs::path> found;
  if (fs::exists(folder))
    for (const auto& entry : fs::directory_iterator(folder)) found.push_back(entry.path());
  std::ranges::sort(found);
  return found;
}

LoadOptions options_for(const fs::path& path, const std::string& device) {
  LoadOptions options;
  options.path = path;
  options.device = device;
  options.need_tokenizer = false;
  options.max_sequences = 4;
  options.max_batch_tokens = 64;
  options.key_type = options.value_type = NACELLE_TYPE_F32;
  return options;
}

// The largest difference, relative to the largest logit.
double difference(const std::vector<float>& got, const std::vector<double>& expected) {
  REQUIRE(got.size() == expected.size());
  double worst = 0, largest = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    worst = std::max(worst, std::abs(got[i] - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  return std::isfinite(worst) ? worst / largest : INFINITY;
}

}  // namespace

TEST_CASE("every family gives the logits of its NumPy forward pass, from both file formats") {
  const auto families = folders_of(NACELLE_FAMILIES);
  REQUIRE_FALSE(families.empty());
  const auto host = make_host();
  for (const fs::path& family : families) {
    const auto golden = nlohmann::json::parse(read_file(family / "golden.json"));
    const auto prompts = golden["prompts"].get<std::vector<std::vector<TokenId>>>();
    const auto expected = golden["logits"].get<std::vector<std::vector<double>>>();
    for (const char* file : {"model.gguf", "hf"}) {
      if (!fs::exists(family / file)) continue;
      for (const std::string device : {"reference", "cpu"}) {
        INFO(family.filename().string() << " from " << file << " on " << device);
        try {
          LoadOptions options = options_for(family / file, device);
          options.context = golden["context"];
          const auto model = Model::load(*host, options);
          double worst = 0;
          const auto logits = last_logits(*model, prompts, 16);
          for (std::size_t i = 0; i < prompts.size(); ++i) worst = std::max(worst, difference(logits[i], expected[i]));
          CHECK(worst <= golden["tolerance"].value(device, 1e-4));
          if (std::getenv("NACELLE_FAMILIES_REPORT"))
            std::printf("%-12s %-10s %-9s %.1e\n", family.filename().c_str(), file, device.c_str(), worst);
        } catch (const Error& failure) {
          FAIL_CHECK(failure.what());
        }
      }
    }
  }
}

TEST_CASE("what a family does not know is refused in one line") {
  const auto host = make_host();
  for (const fs::path& family : folders_of(NACELLE_FAMILIES))
    for (const fs::path& bad : folders_of(family / "refused")) {
      const fs::path path = fs::exists(bad / "hf") ? bad / "hf" : bad / "model.gguf";
      std::string error = "loaded";
      try {
        Model::load(*host, options_for(path, "reference"));
      } catch (const Error& failure) {
        error = failure.what();
      }
      INFO(path.string());
      CHECK_THAT(error, Catch::Contains(": " + read_file(bad / "error.txt")));
    }
}
