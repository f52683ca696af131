// Low-rank adapters as PEFT writes them: scales by its configuration, and what is refused, by the very line.
#include "core/formats/adapter_file.hpp"

#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>

#include "tests/support/gguf_writer.hpp"
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
  CHECK(scale(R"(, "alpha_pattern": {"(?<=mlp\\.)up_proj": 8})") == 4);
  CHECK(scale(R"(, "alpha_pattern": {"(?<=x)up_proj": 8})") == 1.5f);
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

TEST_CASE("pairs of experts come one by one, or all of a module's tensor in one") {
  const std::string config = R"({"peft_type": "LORA", "lora_alpha": 3, "target_parameters": ["mlp.experts.down_proj",
                               "mlp.gate.weight"], "alpha_pattern": {".*\\.down_proj": 8, "gate\\.weight": 5}})";
  const auto module = [](const char* name) { return std::string("base_model.model.model.layers.0.mlp.") + name; };
  for (const char* single : {"experts.3.up_proj", "shared_experts.up_proj"}) {
    const auto file = read(config, module(single));
    CHECK(file.changes.at(0).tensor == std::string("model.layers.0.mlp.") + single + ".weight");
    CHECK((file.experts.empty() && file.changes.at(0).experts == 0 && file.changes.at(0).scale == 1.5f));
  }
  CHECK(read(config, module("gate")).changes.at(0).scale == 2.5f);
  for (const char* all : {"experts", "experts.base_layer", "experts.base_layer.base_layer"}) {
    const auto file = read(config, module(all));
    REQUIRE((file.changes.empty() && file.experts.size() == 1));
    const ExpertsChange& change = file.experts[0];
    CHECK(change.module == "model.layers.0.mlp.experts");
    CHECK(change.name == module(all) + ".lora_A.weight");
    CHECK((change.lines == 2 && change.a_width == 4 && change.b_width == 3));
    CHECK((change.a.size() == 8 && change.b.size() == 6));
    CHECK(file.scale("model.layers.0.mlp.experts.down_proj", 2) == 4);
    CHECK(file.scale("model.layers.0.mlp.experts.gate_up_proj", 2) == 1.5f);
  }
}

TEST_CASE("GGUF has the pairs of a tensor of experts in tensors of three axes") {
  const auto read_exps = [](const std::vector<std::uint64_t>& a, const std::vector<std::uint64_t>& b) {
    const TempFolder folder;
    const auto count = [](const std::vector<std::uint64_t>& shape) {
      std::vector<float> values(std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>()));
      std::iota(values.begin(), values.end(), 1.0f);
      return values;
    };
    GgufWriter file;
    file.string("general.type", "adapter").string("general.architecture", "llama").string("adapter.type", "lora");
    file.f32("adapter.lora.alpha", 4);
    file.tensor("blk.0.ffn_up_exps.weight.lora_a", a, NACELLE_TYPE_F32, count(a));
    file.tensor("blk.0.ffn_up_exps.weight.lora_b", b, NACELLE_TYPE_F32, count(b));
    folder.write("lora.gguf", file.bytes());
    return read_adapter(folder.path() / "lora.gguf");
  };
  const auto file = read_exps({3, 2, 4}, {3, 5, 2});
  REQUIRE(file.changes.size() == 3);
  for (std::uint32_t expert = 0; expert < 3; ++expert) {
    const LowRankChange& change = file.changes[expert];
    CHECK((change.tensor == "blk.0.ffn_up_exps.weight" && change.expert == expert && change.experts == 3));
    CHECK((change.rank == 2 && change.columns == 4 && change.rows == 5 && change.scale == 2));
    CHECK((change.a.size() == 8 && change.a[0] == 1 + 8.0f * expert));
    CHECK((change.b.size() == 10 && change.b[0] == 1 + 10.0f * expert));
  }
  const std::string shapes = "expected shapes [experts, rank, inputs] and [experts, outputs, rank], found ";
  CHECK_THAT(error_of([&] { read_exps({3, 2, 4}, {2, 5, 2}); }), Catch::Contains(shapes + "[3, 2, 4] and [2, 5, 2]"));
  CHECK_THAT(error_of([&] { read_exps({3, 2, 4}, {3, 5, 4}); }), Catch::Contains(shapes));
  CHECK_THAT(error_of([&] { read_exps({3, 2, 4}, {5, 2}); }), Catch::Contains(shapes));
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
  check(R"(, "trainable_token_indices": {"embed_tokens": [4, 5]})", "trainable_token_indices has 'embed_tokens'");
  check(R"(, "layer_replication": [[0, 4], [2, 5]])", "layer_replication has [0, 4], [2, 5]");
  check(R"(, "alora_invocation_tokens": [4])", "alora_invocation_tokens has 4");
  check(R"(, "init_lora_weights": "pissa_niter_4")",
        "init_lora_weights is 'pissa_niter_4', which changes the model's own");
  check(R"(, "alpha_pattern": {"(up_proj": 8})",
        "alpha_pattern has '(up_proj', expected names of modules or regular expressions: ");
  check(R"(, "alpha_pattern": {"(?:.|.)*[0-9]": 8})", "gave up on this text");
  check(R"(, "alpha_pattern": {"up_proj": "8"})", "alpha_pattern has 'up_proj': expected a number");
  check(R"(, "peft_type": "IA3")", "peft_type is 'IA3', expected 'LORA'");
  CHECK_THAT(error_of([] { read(R"({"peft_type": "LORA"})"); }), Catch::Contains("lora_alpha: expected a number"));
  CHECK_THAT(error_of([] { read(R"({"r": 4})"); }), Catch::Contains("peft_type is '', expected 'LORA'"));
}
