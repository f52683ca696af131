// Whole models on the emulated GPU, through host and engine: the ids that llama.cpp gave for the same files, on a
// device with tensor cores and on one without; and a device that is lost, or too small.
#include <dlfcn.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "sdk/conformance/bounds.hpp"
#include "tests/golden/last_logits.hpp"
#include "tests/shared_data.hpp"
#include "tests/support/engine_fixture.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kTokens = 8;  // fibers are slow there
#else
constexpr std::size_t kTokens = 60;
#endif

std::unique_ptr<PluginHost> emulated_host(std::map<std::string, std::string> config = {}) {
  PluginHostOptions options;
  options.folders = {NACELLE_TEST_PLUGINS, NACELLE_EMULATED_PLUGINS};
  options.threads = 1;
  for (auto& [key, value] : config) options.config["backend.emulated_gpu." + key] = value;
  return std::make_unique<PluginHost>(options);
}

std::vector<TokenId> read_ids(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  auto ids = nlohmann::json::parse(line).get<std::vector<TokenId>>();
  ids.resize(std::min(ids.size(), kTokens));
  return ids;
}

std::vector<TokenId> run_on(const std::string& device, const std::filesystem::path& model, std::vector<TokenId> prompt,
                            std::size_t count) {
  const auto host = emulated_host();
  Engine engine(Model::load(*host, {.path = model, .device = device, .context = 256}));
  if (prompt.empty()) prompt = {engine.model().tokenizer().bos().value()};
  const Answer answer = generate(engine, greedy(prompt, static_cast<std::uint32_t>(count)));
  CHECK(answer.error.empty());
  CHECK(engine.stats().submits_per_step == 1);
  CHECK(engine.stats().allocs_per_step == 0);
  return answer.ids;
}

}  // namespace

TEST_CASE("stories260K on an emulated GPU: golden ids") {
  const std::string model = "models/stories260K/stories260K.gguf";
  const std::string golden = "models/stories260K/golden_llamacpp_greedy_bos199.txt";
  if (!have_shared(model) || !have_shared(golden)) return;
  const auto expected = read_ids(shared_dir() / golden);
  for (const char* device : {"emulated_gpu:0", "emulated_gpu:1"}) {
    INFO(device);
    CHECK(run_on(device, shared_dir() / model, {}, expected.size()) == expected);
  }
}

TEST_CASE("the demo model in Q8_0 on an emulated GPU: a golden answer") {
  std::ifstream file(source_dir() / "models/demo/golden.json");
  for (const nlohmann::json& chat : nlohmann::json::parse(file)) {
    if (chat["min_gap"].get<double>() < 0.1) continue;
    auto expected = chat["answer_ids"].get<std::vector<TokenId>>();
    if (expected.back() == 2045) expected.pop_back();
    expected.resize(std::min<std::size_t>(expected.size(), kTokens / 8));
    const auto ids = run_on("emulated_gpu:0", source_dir() / "models/demo/nacelle-demo-q8_0.gguf",
                            chat["prompt_ids"].get<std::vector<TokenId>>(), expected.size());
    CHECK(ids == expected);
    break;
  }
}

namespace {

const std::filesystem::path kDemo = source_dir() / "models/demo/nacelle-demo-q8_0.gguf";

std::uint64_t vendor_products() {
  void* library = dlopen(NACELLE_FAKE_BLAS, RTLD_NOW);
  REQUIRE(library);
  return reinterpret_cast<std::uint64_t (*)()>(dlsym(library, "nacelle_fake_blas_products"))();
}

// The logits behind a prompt of 80 tokens read at once, on the device without tensor cores.
std::vector<float> long_prompt(std::uint32_t numerics, const std::string& blas) {
  const auto host = emulated_host({{"blas", blas}});
  LoadOptions options{.path = kDemo, .device = "emulated_gpu:1", .context = 128, .max_batch_tokens = 128};
  options.numerics = numerics;
  return last_logits(*Model::load(*host, options), {random_prompt(80, 1, 2048)}, 80)[0];
}

}  // namespace

TEST_CASE("numerics fastest: a vendor's library takes long products, and without it the model runs all the same") {
  const std::vector<float> expected = long_prompt(NACELLE_NUMERICS_STABLE, "cublaslt:" NACELLE_FAKE_BLAS);
  CHECK(vendor_products() == 0);
  for (const std::string dialect : {"cublaslt:", "hipblaslt:"}) {
    INFO(dialect);
    const std::uint64_t before = vendor_products();
    const std::vector<float> logits = long_prompt(NACELLE_NUMERICS_FASTEST, dialect + NACELLE_FAKE_BLAS);
    CHECK(vendor_products() > before);
    CHECK(logits != expected);  // activations went through 16 bits
    CHECK(conformance::within(conformance::difference(expected, logits), {2e-5, 3e-2}));
  }
  const std::uint64_t used = vendor_products();
  CHECK(long_prompt(NACELLE_NUMERICS_FASTEST, "cublaslt:/nowhere/libcublasLt.so") == expected);
  CHECK(long_prompt(NACELLE_NUMERICS_FASTEST, "cublaslt:libm.so.6") == expected);
  setenv("NACELLE_FAKE_BLAS_VERSION", "599", 1);
  CHECK(long_prompt(NACELLE_NUMERICS_FASTEST, "hipblaslt:" NACELLE_FAKE_BLAS) == expected);
  unsetenv("NACELLE_FAKE_BLAS_VERSION");
  CHECK(vendor_products() == used);
}

namespace {

bool mentions(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// What a request on the demo model ends with, the load's failure included; nothing where it has its ids.
std::optional<std::pair<ErrorKind, std::string>> failure_with(const std::string& setting, const std::string& value) {
  const auto host = emulated_host({{setting, value}});
  try {
    Engine engine(Model::load(*host, {.path = kDemo, .device = "emulated_gpu:0", .context = 64}));
    const Answer answer = generate(engine, greedy({1}, 2));
    if (answer.error.empty()) return std::nullopt;
    CHECK(answer.finish == FinishReason::kError);
    CHECK_FALSE(engine.can_serve());
    CHECK(engine.drain(std::chrono::milliseconds(1000)));
    return std::pair{answer.error_kind, "in a step: " + answer.error};
  } catch (const Error& error) {
    return std::pair{error.kind(), "at load: " + std::string(error.what())};
  }
}

}  // namespace

TEST_CASE("a GPU that is lost, at load or in a step, ends what runs on it so that it can be retried") {
  const auto lost_after = [](std::uint32_t submissions) {
    const auto failure = failure_with("lose_after", std::to_string(submissions));
    if (!failure) return std::string();
    INFO(failure->second);
    CHECK(failure->first == ErrorKind::kUnavailable);
    CHECK(mentions(failure->second, "lost"));
    return failure->second;
  };
  CHECK(mentions(lost_after(1), "at load: "));
  std::uint32_t fails = 1, works = 256;  // more than load and steps submit
  REQUIRE(lost_after(works).empty());
  while (works - fails > 1) {
    const std::uint32_t middle = (fails + works) / 2;
    (lost_after(middle).empty() ? works : fails) = middle;
  }
  CHECK(mentions(lost_after(fails), "in a step: "));
}

TEST_CASE("a GPU without enough memory is refused in one line, whatever it is that does not fit") {
  bool well = false;
  for (std::uint64_t bytes = 1 << 16; bytes < 1ull << 32 && !well; bytes += bytes / 2) {
    const auto failure = failure_with("memory", std::to_string(bytes));
    well = !failure;
    if (well) break;
    INFO(failure->second);
    CHECK(failure->first == ErrorKind::kResource);
    CHECK(mentions(failure->second, "at load: "));
  }
  CHECK(well);
}
