// Models cut between layers over several devices: the same ids, and the same bits where every part has the same
// kernels.
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

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

// The first ids of llama.cpp's answer; empty where the file is not there.
std::vector<TokenId> golden_story() {
  const std::string golden = "models/tinystories-656k/golden_llamacpp_greedy_bos150.txt";
  if (!have_shared(kStories) || !have_shared(golden)) return {};
  std::ifstream file(shared_dir() / golden);
  std::string line;
  std::getline(file, line);
  auto ids = nlohmann::json::parse(line).get<std::vector<TokenId>>();
  ids.resize(60);
  return ids;
}

void check_split(PluginHost& host, const std::string& split, const std::vector<TokenId>& expected) {
  INFO(split);
  Engine engine(Model::load(host, {.path = shared_dir() / kStories, .split = split}));
  CHECK(engine.model().placement().size() == static_cast<std::size_t>(std::ranges::count(split, ',') + 1));
  CHECK(generate(engine, greedy({engine.model().tokenizer().bos().value()}, 60)).ids == expected);
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

// A Qwen2 of three layers with random weights, in Hugging Face layout: windows on the first and last layer, so there
// are two cache groups, whose layers come apart.
void write_windowed_model(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << R"({"architectures": ["Qwen2ForCausalLM"], "hidden_size": 32,
    "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 48,
    "vocab_size": 64, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
    "use_sliding_window": true, "sliding_window": 24,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]})";
  std::vector<std::pair<std::string, std::vector<int>>> tensors = {{"model.embed_tokens", {64, 32}},
                                                                   {"model.norm", {32}}};
  for (int layer = 0; layer < 3; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) tensors.push_back({prefix + norm, {32}});
    for (const auto& [name, rows] : {std::pair("q_proj", 32), {"k_proj", 16}, {"v_proj", 16}}) {
      tensors.push_back({prefix + "self_attn." + name, {rows, 32}});
      tensors.push_back({prefix + "self_attn." + name + ".bias", {rows}});
    }
    tensors.push_back({prefix + "self_attn.o_proj", {32, 32}});
    for (const char* name : {"gate_proj", "up_proj"}) tensors.push_back({prefix + "mlp." + name, {48, 32}});
    tensors.push_back({prefix + "mlp.down_proj", {32, 48}});
  }
  nlohmann::ordered_json header;
  std::vector<float> data;
  std::mt19937 random(5);
  for (const auto& [name, shape] : tensors) {
    const std::size_t begin = data.size() * sizeof(float);
    std::size_t count = 1;
    for (const int extent : shape) count *= static_cast<std::size_t>(extent);
    for (std::size_t i = 0; i < count; ++i) data.push_back(static_cast<float>(random() % 2001) / 1000.0f - 1);
    header[name.ends_with(".bias") ? name : name + ".weight"] = {
        {"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size() * sizeof(float)}}};
  }
  const std::string text = header.dump();
  const std::uint64_t size = text.size();
  std::ofstream file(folder / "model.safetensors", std::ios::binary);
  file.write(reinterpret_cast<const char*>(&size), sizeof size) << text;
  file.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size() * sizeof(float)));
}

}  // namespace

TEST_CASE("a model split at any layer gives the golden ids") {
  const auto expected = golden_story();
  if (expected.empty()) return;
  const auto host = make_host();
  const std::uint32_t layers = layers_of(*host, shared_dir() / kStories);
  REQUIRE(layers > 1);
  for (const std::string& split : cuts(layers, "cpu", "reference")) check_split(*host, split, expected);
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

TEST_CASE("layers with and without a window keep their blocks apart in a split") {
  const auto folder = std::filesystem::temp_directory_path() / ("nacelle_windows_" + std::to_string(getpid()));
  write_windowed_model(folder);
  const auto host = make_host();
  const std::vector<std::vector<TokenId>> prompts = {random_prompt(200, 1, 64), random_prompt(90, 2, 64)};
  const auto logits = [&](const std::string& device, const std::string& split, std::uint32_t chunk) {
    return last_logits(*Model::load(*host, {.path = folder, .device = device, .split = split, .need_tokenizer = false}),
                       prompts, chunk);
  };
  const auto whole = logits("cpu", "", 512);
  REQUIRE(whole[0] != whole[1]);
  for (const char* split : {"cpu=1,cpu", "cpu=2,cpu", "cpu=1,cpu=1,cpu"})
    for (const std::uint32_t chunk : {1u, 17u}) {
      INFO(split << " chunk " << chunk);
      CHECK(logits("", split, chunk) == whole);
    }
  std::filesystem::remove_all(folder);
}

TEST_CASE("requests batch together over a split, and are preempted and recomputed as on one device") {
  const auto host = make_host();
  const auto answers = [&](const LoadOptions& options) {
    Engine engine(Model::load(*host, options));
    std::vector<std::unique_ptr<Pending>> pending;
    for (unsigned i = 0; i < 5; ++i) {
      auto request = greedy(random_prompt(20 + 9 * i, i, 2048), 70);
      request.ignore_eos = true;  // long enough to meet: two of them fill the small cache
      pending.push_back(std::make_unique<Pending>(engine, std::move(request)));
    }
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
  // 3.5 MB of weights, of which the head is half a megabyte, and work space.
  for (const auto& [memory, most] : std::vector<std::pair<std::string, std::uint32_t>>{{"4000000", 3}, {"1000", 0}}) {
    const auto host = faulty_host("cpu", {{"kind", kGpu}, {"memory", memory}});
    const std::uint32_t layers = layers_of(*host, kDemo);
    const auto model = Model::load(*host, {.path = kDemo,
                                           .device = "faulty",
                                           .context = 64,
                                           .max_sequences = 2,
                                           .max_batch_tokens = 32,
                                           .cache_tokens = 64});
    INFO(memory << ": " << to_string(model->placement()));
    REQUIRE(model->placement().front().device == "cpu");
    CHECK(model->placement().front().layers >= layers - most);
    CHECK(model->placement().size() == (most ? 2 : 1));
  }
}

TEST_CASE("a backend that answers OK and gives nothing is told in one line") {
  const LoadOptions options = {.path = kDemo, .device = "faulty"};
  for (const auto& [fault, function] : std::map<std::string, std::string>{{"null_device", "device_open"},
                                                                          {"null_stream", "stream_create"},
                                                                          {"null_weights", "prepare"},
                                                                          {"null_cache", "cache_create"},
                                                                          {"null_plan", "compile"}})
    CHECK(failure_of(*faulty_host("reference", {{"fault", fault}}), options) ==
          "faulty: " + function + " gave NACELLE_OK and NULL, which is a defect of the plugin");
  const auto host = faulty_host("reference", {{"fault", "null_blocks"}});
  Engine engine(Model::load(*host, options));
  const Answer answer = generate(engine, greedy({1}, 1));
  CHECK(answer.finish == FinishReason::kError);
  CHECK(answer.error == "faulty: blocks gave NACELLE_OK and NULL, which is a defect of the plugin");
}

TEST_CASE("what a plugin throws on the host's pool is the failure of its call") {
  const auto host = faulty_host("reference", {{"fault", "throws_on_pool"}});
  CHECK(failure_of(*host, {.path = kDemo, .device = "faulty"}) ==
        "faulty: cannot pack the weights: a range of it fails");
  Engine engine(Model::load(*host, {.path = kDemo, .device = "reference"}));  // the pool goes on
  CHECK(generate(engine, greedy({1}, 1)).finish == FinishReason::kLength);
}

TEST_CASE("a lost device fails what is in flight, and later requests, with an error that can be retried") {
  const auto host = faulty_host("cpu", {{"kind", kGpu}, {"fault", "device_lost"}, {"steps", "6"}});
  for (const LoadOptions& options :
       {LoadOptions{.path = kDemo, .device = "faulty"}, LoadOptions{.path = kDemo, .split = "cpu=2,faulty"}}) {
    Engine engine(Model::load(*host, options));
    CHECK(engine.can_serve());
    Pending first(engine, greedy(random_prompt(5, 1, 2048), 60));
    std::optional<Pending> second;
    try {
      second.emplace(engine, greedy(random_prompt(9, 2, 2048), 60));
    } catch (const Error& error) {  // it came too late: the device was lost already
      CHECK(error.kind() == ErrorKind::kUnavailable);
    }
    for (Pending* one : {&first, second ? &*second : nullptr}) {
      if (!one) continue;
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
