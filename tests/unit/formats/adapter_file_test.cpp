// Low-rank adapters as PEFT writes them: scales by its configuration, and what is refused, by the very line.
#include "core/formats/adapter_file.hpp"

#include <cmath>
#include <cstring>
#include <map>

#include "tests/unit/formats/files.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

struct Half {
  std::vector<std::uint64_t> shape;
  std::vector<float> values;
};

std::string safetensors(const std::map<std::string, Half>& tensors) {
  std::string header, data;
  for (const auto& [name, half] : tensors) {
    std::string shape;
    for (const std::uint64_t extent : half.shape) shape += (shape.empty() ? "" : ",") + std::to_string(extent);
    const std::size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(half.values.data()), half.values.size() * sizeof(float));
    header += (header.empty() ? "{\"" : ",\"") + name + "\":{\"dtype\":\"F32\",\"shape\":[" + shape +
              "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
  }
  header += "}";
  std::string size(8, '\0');
  const std::uint64_t count = header.size();
  std::memcpy(size.data(), &count, sizeof count);
  return size + header + data;
}

const std::string kModule = "base_model.model.model.layers.3.mlp.up_proj";

// A folder with one pair of rank 2 for a matrix [3, 4] and this configuration.
AdapterFile read(const std::string& config, const std::string& module = kModule) {
  const TempFolder folder;
  folder.write("adapter_config.json", config);
  folder.write("adapter_model.safetensors",
               safetensors({{module + ".lora_A.weight", {{2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}}},
                            {module + ".lora_B.weight", {{3, 2}, {1, 2, 3, 4, 5, 6}}}}));
  return read_adapter(folder.path());
}

float scale(const std::string& more) {
  return read(R"({"peft_type": "LORA", "r": 2, "lora_alpha": 3)" + more + "}").changes.at(0).scale;
}

std::string refusal(const std::string& more) {
  return error_of([&] { read(R"({"peft_type": "LORA", "lora_alpha": 3)" + more + "}"); });
}

}  // namespace

TEST_CASE("a pair's scale follows PEFT's configuration") {
  CHECK(scale("") == 1.5f);
  CHECK(scale(R"(, "use_rslora": true)") == static_cast<float>(3 / std::sqrt(2.0)));
  CHECK(scale(R"(, "use_rslora": false, "alpha_pattern": {}, "rank_pattern": {"up_proj": 2}, "r": 64)") == 1.5f);
  CHECK(scale(R"(, "alpha_pattern": {"up_proj": 8})") == 4);
  CHECK(scale(R"(, "alpha_pattern": {"layers.3.mlp.up_proj": 8})") == 4);
  CHECK(scale(R"(, "alpha_pattern": {"p_proj": 8, "layers.4.mlp.up_proj": 9})") == 1.5f);
  CHECK(scale(R"x(, "alpha_pattern": {"layers\\.[0-2]\\..*": 7, "mlp\\.(up|gate)_proj": 8, "up_proj": 9})x") == 4);
  CHECK(scale(R"(, "target_modules": ["up_proj"], "exclude_modules": null, "modules_to_save": [])") == 1.5f);
  CHECK(scale(R"x(, "target_modules": ".*\\.(up|down)_proj", "bias": "none", "init_lora_weights": "gaussian")x") ==
        1.5f);
}

TEST_CASE("a name that has no module between its prefix and its end is refused") {
  const std::string config = R"({"peft_type": "LORA", "lora_alpha": 2})";
  CHECK(error_of([&] { read(config, "base_model.model"); }).find("is no half of a low-rank pair") != std::string::npos);
  const TempFolder folder;
  folder.write("adapter_config.json", config);
  folder.write("adapter_model.safetensors", safetensors({{"base_model.model.weight", {{1, 1}, {1}}}}));
  CHECK(error_of([&] { read_adapter(folder.path()); }).find("is no half of a low-rank pair") != std::string::npos);
}

TEST_CASE("fan_in_fan_out turns a pair round") {
  const auto file = read(R"({"peft_type": "LORA", "lora_alpha": 2, "fan_in_fan_out": true})");
  const LowRankChange& change = file.changes.at(0);
  CHECK(change.tensor == "model.layers.3.mlp.up_proj.weight");
  CHECK((change.rows == 4 && change.columns == 3 && change.rank == 2));
  CHECK(change.a == std::vector<float>{1, 3, 5, 2, 4, 6});
  CHECK(change.b == std::vector<float>{1, 5, 2, 6, 3, 7, 4, 8});
}

TEST_CASE("pairs of experts are refused by name, those of what is beside them are not") {
  const std::string config = R"({"peft_type": "LORA", "lora_alpha": 3})";
  const auto module = [](const char* name) { return std::string("base_model.model.model.layers.0.mlp.") + name; };
  CHECK_THAT(error_of([&] { read(config, module("experts.3.up_proj")); }),
             Catch::Contains("tensor 'model.layers.0.mlp.experts.3.up_proj.weight': is of a mixture's experts, which "
                             "take no adapter; train without them in target_modules"));
  CHECK(read(config, module("shared_experts.up_proj")).changes.size() == 1);
}

TEST_CASE("what is more than low-rank pairs is refused by name") {
  const auto check = [](const std::string& more, const char* expected) {
    CHECK_THAT(refusal(more), Catch::Contains("adapter_config.json: ") && Catch::Contains(expected));
  };
  check(R"(, "use_dora": true)", "use_dora is true, which is not supported: expected plain LoRA");
  check(R"(, "lora_bias": true)", "lora_bias is true");
  check(R"(, "bias": "all")", "bias is 'all', expected 'none'");
  check(R"(, "modules_to_save": ["lm_head", "embed_tokens"])",
        "modules_to_save has 'lm_head', 'embed_tokens': only low-");
  check(R"(, "target_parameters": ["mlp.experts.down_proj"])", "target_parameters has 'mlp.experts.down_proj'");
  check(R"(, "trainable_token_indices": {"embed_tokens": [4, 5]})", "trainable_token_indices has 'embed_tokens'");
  check(R"(, "layer_replication": [[0, 4], [2, 5]])", "layer_replication has [0, 4], [2, 5]");
  check(R"(, "alora_invocation_tokens": [4])", "alora_invocation_tokens has 4");
  check(R"(, "init_lora_weights": "pissa_niter_4")",
        "init_lora_weights is 'pissa_niter_4', which changes the model's own");
  check(R"(, "alpha_pattern": {"(?<=x)up_proj": 8})", "alpha_pattern has '(?<=x)up_proj', expected names of modules");
  check(R"(, "alpha_pattern": {"up_proj": "8"})", "alpha_pattern has 'up_proj': expected a number");
  check(R"(, "peft_type": "IA3")", "peft_type is 'IA3', expected 'LORA'");
  CHECK_THAT(error_of([] { read(R"({"peft_type": "LORA"})"); }), Catch::Contains("lora_alpha: expected a number"));
  CHECK_THAT(error_of([] { read(R"({"r": 4})"); }), Catch::Contains("peft_type is '', expected 'LORA'"));
}
