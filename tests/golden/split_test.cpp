// Models cut between layers over several devices: the same ids, and the same bits where every part has the same
// kernels.
#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/engine/placement.hpp"
#include "tests/golden/last_logits.hpp"
#include "tests/shared_data.hpp"
#include "tests/support/engine_fixture.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

const std::string kDemo = source_dir() / "models/demo/nacelle-demo-q8_0.gguf";
const std::string kStories = "models/tinystories-656k/tinystories-656k-f32.gguf";

// Every cut in two of `layers` layers, and one in three.
std::vector<std::string> cuts(std::uint32_t layers, const std::string& a, const std::string& b) {
  std::vector<std::string> all;
  for (std::uint32_t first = 1; first < layers; ++first)
    all.push_back(a + "=" + std::to_string(first) + "," + b + "=" + std::to_string(layers - first));
  if (layers > 2) all.push_back(b + "=1," + a + "=1," + b);
  return all;
}

std::uint32_t layers_of(PluginHost& host, const std::string& path) {
  return Model::load(host, {.path = path, .device = "cpu"})->description().layer_count;
}

// A host with the plugin of tests/ops/faulty_backend.cpp beside the others, over the backend `target`.
std::unique_ptr<PluginHost> faulty_host(const std::string& target, std::map<std::string, std::string> settings) {
  PluginHostOptions options;
  options.folders = {NACELLE_TEST_PLUGINS, NACELLE_FAULTY_FOLDER};
  options.threads = 2;
  options.config["backend.faulty.target"] = std::string(NACELLE_TEST_PLUGINS) + "/libnacelle_backend_" + target + ".so";
  for (const auto& [key, value] : settings) options.config["backend.faulty." + key] = value;
  return std::make_unique<PluginHost>(options);
}

const std::string kGpu = std::to_string(NACELLE_DEVICE_GPU);

std::string failure_of(PluginHost& host, const LoadOptions& options) {
  try {
    Model::load(host, options);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE("a model split at any layer gives the golden ids") {
  const std::string golden = "models/tinystories-656k/golden_llamacpp_greedy_bos150.txt";
  if (!have_shared(kStories) || !have_shared(golden)) return;
  std::ifstream file(shared_dir() / golden);
  std::string line;
  std::getline(file, line);
  auto expected = nlohmann::json::parse(line).get<std::vector<TokenId>>();
  expected.resize(60);
  const auto host = make_host();
  const std::string path = shared_dir() / kStories;
  const std::uint32_t layers = layers_of(*host, path);
  REQUIRE(layers > 1);
  for (const std::string& split : cuts(layers, "cpu", "reference")) {
    INFO(split);
    Engine engine(Model::load(*host, {.path = path, .split = split}));
    CHECK(engine.model().placement().size() == (split.find(",reference", 13) == std::string::npos ? 2 : 3));
    CHECK(generate(engine, greedy({engine.model().tokenizer().bos().value()}, 60)).ids == expected);
  }
}

TEST_CASE("a model split over one kind of device has the bits of the whole: chunks, batches, windows of blocks") {
  const auto host = make_host();
  const std::uint32_t layers = layers_of(*host, kDemo);
  std::vector<std::vector<TokenId>> prompts;
  for (unsigned i = 0; i < 7; ++i) prompts.push_back(random_prompt(3 + i * 40, i, 2048));
  const auto logits = [&](const LoadOptions& options, std::uint32_t chunk) {
    return last_logits(*Model::load(*host, options), prompts, chunk);
  };
  const auto whole = logits({.path = kDemo, .device = "cpu"}, 512);
  for (const std::string& split : cuts(layers, "cpu", "cpu:0"))
    for (const std::uint32_t chunk : {17u, 512u}) {
      INFO(split << " chunk " << chunk);
      CHECK(logits({.path = kDemo, .split = split}, chunk) == whole);
    }
}

TEST_CASE("requests batch together over a split, and are preempted and recomputed as on one device") {
  const auto host = make_host();
  const auto answers = [&](const LoadOptions& options) {
    Engine engine(Model::load(*host, options));
    std::vector<std::unique_ptr<Pending>> pending;
    for (unsigned i = 0; i < 5; ++i)
      pending.push_back(std::make_unique<Pending>(engine, greedy(random_prompt(20 + 9 * i, i, 2048), 40)));
    std::vector<std::vector<TokenId>> ids;
    for (auto& one : pending) ids.push_back(one->wait().ids);
    if (options.cache_tokens) CHECK(engine.stats().preemptions > 0);
    return ids;
  };
  const auto whole = answers({.path = kDemo, .device = "cpu"});
  CHECK(answers({.path = kDemo, .split = "cpu=2,cpu"}) == whole);
  CHECK(answers({.path = kDemo, .split = "cpu=1,cpu=1,cpu", .context = 128, .cache_tokens = 192}) == whole);
}

TEST_CASE("a split that is none is refused by name") {
  const auto host = make_host();
  const std::uint32_t layers = layers_of(*host, kDemo);
  const auto refusal = [&](const std::string& split) { return failure_of(*host, {.path = kDemo, .split = split}); };
  CHECK(refusal("cpu=1") == "--split cpu=1: it places 1 of the model's " + std::to_string(layers) + " layers");
  CHECK(refusal("cpu=0,reference") == "--split cpu=0,reference: '0' is no count of layers");
  CHECK(refusal("cpu,reference").find("two parts have no count") != std::string::npos);
  CHECK(refusal("cpu=99,reference").find("places 99 of the model's") != std::string::npos);
  CHECK(refusal("cpu=4294967296,reference").find("is no count of layers") != std::string::npos);
  CHECK(refusal("nothere=1,cpu").find("there is no such backend") != std::string::npos);
  CHECK(refusal("cpu=1,").find("device ''") != std::string::npos);
  CHECK(failure_of(*host, {.path = kDemo, .device = "cpu", .split = "cpu"}) ==
        "--device and --split exclude each other");
}

TEST_CASE("the fastest of several devices is measured, not believed") {
  // The slow reference in the dress of a GPU, which kind and memory alone would choose.
  const auto slow = faulty_host("reference", {{"kind", kGpu}, {"memory", "99999999999"}});
  CHECK(slow->default_device().name == "faulty");
  CHECK(Model::load(*slow, {.path = kDemo})->placement().front().device == "cpu");
  const LoadOptions named = {.path = kDemo, .device = "faulty"};
  CHECK(Model::load(*slow, named)->placement().front().device == "faulty");
}

TEST_CASE("layers that do not fit a device go to the CPU") {
  // 3.5 MB of weights; the head alone is half a megabyte.
  for (const auto& [memory, most] : std::vector<std::pair<std::string, std::uint32_t>>{{"3000000", 3}, {"1000", 0}}) {
    const auto host = faulty_host("cpu", {{"kind", kGpu}, {"memory", memory}});
    const std::uint32_t layers = layers_of(*host, kDemo);
    const auto model =
        Model::load(*host, {.path = kDemo, .device = "faulty", .context = 64, .max_sequences = 2, .cache_tokens = 64});
    INFO(memory << ": " << to_string(model->placement()));
    REQUIRE(model->placement().front().device == "cpu");
    CHECK(model->placement().front().layers >= layers - most);
    CHECK(model->placement().size() == (most ? 2 : 1));
  }
}

TEST_CASE("a lost device fails what is in flight, and later requests, with an error that can be retried") {
  const auto host = faulty_host("cpu", {{"kind", kGpu}, {"fault", "device_lost"}, {"steps", "6"}});
  for (const LoadOptions& options :
       {LoadOptions{.path = kDemo, .device = "faulty"}, LoadOptions{.path = kDemo, .split = "cpu=2,faulty"}}) {
    Engine engine(Model::load(*host, options));
    CHECK(engine.can_serve());
    Pending first(engine, greedy(random_prompt(5, 1, 2048), 60)), second(engine, greedy(random_prompt(9, 2, 2048), 60));
    for (Pending* one : {&first, &second}) {
      const Answer answer = one->wait();
      CHECK(answer.finish == FinishReason::kError);
      CHECK(answer.error_kind == ErrorKind::kUnavailable);
      CHECK(answer.error.find("the device faulty is lost") != std::string::npos);
      CHECK(answer.ids.size() < 60);
    }
    CHECK_FALSE(engine.can_serve());
    try {
      Pending later(engine, greedy({1}, 1));
      later.wait();
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kUnavailable);
    }
    CHECK(engine.drain(std::chrono::milliseconds(1000)));
  }
}
