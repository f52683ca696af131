// Configurations of the Llama and Qwen2 families that no small file shows: rope scalings, windows, biases, refusals.
// The expected values are the published configurations' own (Llama 3.1 8B, Mistral 7B v0.1, Qwen2.5 7B, ...).
#include <catch2/catch.hpp>
#include <vector>

#include "tests/unit/architectures/fake_model.hpp"
#include "tests/unit/architectures/plugin.hpp"

using namespace nacelle;
using namespace nacelle::test;
using nlohmann::json;

namespace {

constexpr std::int64_t kLayers = 4, kWidth = 64, kHeads = 4, kKvHeads = 2, kHeadWidth = 16, kHidden = 96,
                       kVocabulary = 50;

json huggingface_config() {
  return {{"num_hidden_layers", kLayers},
          {"hidden_size", kWidth},
          {"intermediate_size", kHidden},
          {"num_attention_heads", kHeads},
          {"num_key_value_heads", kKvHeads},
          {"vocab_size", kVocabulary},
          {"max_position_embeddings", 8192},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 500000.0},
          {"tie_word_embeddings", false},
          {"hidden_act", "silu"},
          {"rope_scaling", nullptr}};
}

json gguf_config(const std::string& prefix) {
  json config;
  const auto set = [&](const char* key, json value) { config[prefix + "." + key] = std::move(value); };
  set("block_count", kLayers);
  set("embedding_length", kWidth);
  set("feed_forward_length", kHidden);
  set("attention.head_count", kHeads);
  set("attention.head_count_kv", kKvHeads);
  set("attention.layer_norm_rms_epsilon", 1e-5);
  set("context_length", 8192);
  set("rope.freq_base", 1000000.0);
  return config;
}

struct Layout {
  const char *embedding, *norm, *head, *block;
  std::vector<const char*> norms, q, k, v, o, wide, down;  // names inside a block
};
const Layout kGguf = {"token_embd", "output_norm", "output",   "blk.",          {"attn_norm", "ffn_norm"},
                      {"attn_q"},   {"attn_k"},    {"attn_v"}, {"attn_output"}, {"ffn_gate", "ffn_up"},
                      {"ffn_down"}};
const Layout kHuggingFace = {"model.embed_tokens",
                             "model.norm",
                             "lm_head",
                             "model.layers.",
                             {"input_layernorm", "post_attention_layernorm"},
                             {"self_attn.q_proj"},
                             {"self_attn.k_proj"},
                             {"self_attn.v_proj"},
                             {"self_attn.o_proj"},
                             {"mlp.gate_proj", "mlp.up_proj"},
                             {"mlp.down_proj"}};

// Every tensor of a plain decoder, biases of the named kinds included.
void add_tensors(FakeModel& model, const Layout& names, bool qkv_bias, bool other_bias) {
  auto& tensors = model.tensors;
  tensors[std::string(names.embedding) + ".weight"] = {kVocabulary, kWidth};
  tensors[std::string(names.head) + ".weight"] = {kVocabulary, kWidth};
  tensors[std::string(names.norm) + ".weight"] = {kWidth};
  for (std::int64_t layer = 0; layer < kLayers; ++layer) {
    const auto add = [&](const std::vector<const char*>& list, std::vector<std::int64_t> shape, bool bias) {
      for (const char* name : list) {
        const std::string stem = names.block + std::to_string(layer) + "." + name;
        tensors[stem + ".weight"] = shape;
        if (bias) tensors[stem + ".bias"] = {shape[0]};
      }
    };
    add(names.norms, {kWidth}, false);
    add(names.q, {kHeads * kHeadWidth, kWidth}, qkv_bias);
    add(names.k, {kKvHeads * kHeadWidth, kWidth}, qkv_bias);
    add(names.v, {kKvHeads * kHeadWidth, kWidth}, qkv_bias);
    add(names.o, {kWidth, kHeads * kHeadWidth}, other_bias);
    add(names.wide, {kHidden, kWidth}, other_bias);
    add(names.down, {kWidth, kHidden}, other_bias);
  }
}

std::unique_ptr<FakeModel> huggingface(const char* architecture, json config, bool qkv_bias = false,
                                       bool other_bias = false) {
  auto model = std::make_unique<FakeModel>(NACELLE_FORMAT_HUGGINGFACE, architecture, std::move(config));
  add_tensors(*model, kHuggingFace, qkv_bias, other_bias);
  return model;
}

std::unique_ptr<FakeModel> gguf(const char* architecture, json config, bool qkv_bias = false, bool other_bias = false) {
  auto model = std::make_unique<FakeModel>(NACELLE_FORMAT_GGUF, architecture, std::move(config));
  add_tensors(*model, kGguf, qkv_bias, other_bias);
  return model;
}

json with(json config, const char* key, json value) {
  config[key] = std::move(value);
  return config;
}

nacelle_rope_attributes rope_of(const sdk::Graph& graph) {
  for (const sdk::OpRecord& op : graph.record().ops)
    if (op.kind == NACELLE_OP_ROPE) return op.attributes.as<nacelle_rope_attributes>();
  FAIL("no rope");
  return {};
}

std::vector<std::uint32_t> windows_of(const sdk::Graph& graph) {
  std::vector<std::uint32_t> windows;
  for (const sdk::OpRecord& op : graph.record().ops)
    if (op.kind == NACELLE_OP_ATTENTION) windows.push_back(op.attributes.as<nacelle_attention_attributes>().window);
  return windows;
}

// Which of a layer's seven matmuls (q, k, v, o, gate, up, down) have a bias.
std::string biases_of(const sdk::Graph& graph) {
  std::string text;
  for (const sdk::OpRecord& op : graph.record().ops)
    if (op.kind == NACELLE_OP_MATMUL && op.layer == 1) text += op.inputs[2] == NACELLE_NO_VALUE ? '-' : 'b';
  return text;
}

Built build_model(const char* plugin, const FakeModel& model) { return build(architecture(plugin), model.table()); }

std::unique_ptr<sdk::Graph> graph_of(const char* plugin, const FakeModel& model) {
  Built built = build_model(plugin, model);
  CHECK(built.error == "");
  REQUIRE(built.graph);
  return std::move(built.graph);
}

}  // namespace

TEST_CASE("llama3 scaling is read as Llama 3.1 writes it") {
  const json scaling = {{"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 8192},
                        {"rope_type", "llama3"}};
  const auto rope = rope_of(
      *graph_of("llama", *huggingface("LlamaForCausalLM", with(huggingface_config(), "rope_scaling", scaling))));
  CHECK(rope.style == NACELLE_ROPE_HALF);
  CHECK(rope.scaling == NACELLE_ROPE_SCALE_LLAMA3);
  CHECK(rope.base == 500000.0f);
  CHECK(rope.factor == 8.0f);
  CHECK(rope.low_frequency_factor == 1.0f);
  CHECK(rope.high_frequency_factor == 4.0f);
  CHECK(rope.original_context == 8192);

  json merged = huggingface_config();  // transformers 5
  merged.erase("rope_theta");
  merged["rope_parameters"] = scaling;
  merged["rope_parameters"]["rope_theta"] = 500000.0;
  const auto same = rope_of(*graph_of("llama", *huggingface("LlamaForCausalLM", merged)));
  CHECK(same.scaling == rope.scaling);
  CHECK(same.base == rope.base);
  CHECK(same.factor == rope.factor);
}

TEST_CASE("linear and yarn scaling are read from both file formats") {
  const json linear = {{"type", "linear"}, {"factor", 4.0}};
  auto rope =
      rope_of(*graph_of("llama", *huggingface("LlamaForCausalLM", with(huggingface_config(), "rope_scaling", linear))));
  CHECK(rope.scaling == NACELLE_ROPE_SCALE_LINEAR);
  CHECK(rope.factor == 4.0f);

  const json yarn = {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 2048}};
  rope = rope_of(
      *graph_of("qwen2", *huggingface("Qwen2ForCausalLM", with(huggingface_config(), "rope_scaling", yarn), true)));
  CHECK(rope.scaling == NACELLE_ROPE_SCALE_YARN);
  CHECK(rope.original_context == 2048);
  CHECK(rope.beta_fast == 32.0f);
  CHECK(rope.beta_slow == 1.0f);
  CHECK(rope.attention_factor == 0.0f);  // as the paper says

  json config = gguf_config("llama");
  config["llama.rope.scaling.type"] = "linear";
  config["llama.rope.scaling.factor"] = 2.0;
  rope = rope_of(*graph_of("llama", *gguf("llama", config)));
  CHECK(rope.style == NACELLE_ROPE_INTERLEAVED);
  CHECK(rope.base == 1000000.0f);
  CHECK(rope.scaling == NACELLE_ROPE_SCALE_LINEAR);
  CHECK(rope.factor == 2.0f);

  config["llama.rope.scaling.type"] = "yarn";
  config["llama.rope.scaling.original_context_length"] = 4096;
  config["llama.rope.scaling.attn_factor"] = 0.5;
  rope = rope_of(*graph_of("llama", *gguf("llama", config)));
  CHECK(rope.scaling == NACELLE_ROPE_SCALE_YARN);
  CHECK(rope.original_context == 4096);
  CHECK(rope.attention_factor == Approx(0.5 * 1.0693147180559945));  // 0.1 ln 2 + 1
}

TEST_CASE("the rope factors of a Llama 3 GGUF reach every rope operation") {
  auto model = gguf("llama", gguf_config("llama"));
  model->tensors["rope_freqs.weight"] = {kHeadWidth / 2};
  const auto graph = graph_of("llama", *model);
  for (const sdk::OpRecord& op : graph->record().ops) {
    if (op.kind != NACELLE_OP_ROPE) continue;
    REQUIRE(op.inputs[2] != NACELLE_NO_VALUE);
    CHECK(graph->record().weights[graph->record().values[op.inputs[2]].weight].name == "rope_freqs.weight");
  }
  model->tensors["rope_freqs.weight"] = {kHeadWidth};
  CHECK(build_model("llama", *model).error ==
        "weight rope_freqs.weight: tensor 'rope_freqs.weight' has shape [16], [8] was expected");
}

TEST_CASE("biases are taken where the family has them") {
  CHECK(biases_of(*graph_of("llama", *huggingface("LlamaForCausalLM", huggingface_config(), true, true))) == "-------");
  CHECK(biases_of(*graph_of("llama", *huggingface("LlamaForCausalLM",
                                                  with(huggingface_config(), "attention_bias", true), true, true))) ==
        "bbbb---");
  CHECK(biases_of(*graph_of("llama", *huggingface("LlamaForCausalLM", with(huggingface_config(), "mlp_bias", true),
                                                  true, true))) == "----bbb");
  CHECK(biases_of(*graph_of("llama", *gguf("llama", gguf_config("llama"), true))) == "bbb----");
  CHECK(biases_of(*graph_of("qwen2", *huggingface("Qwen2ForCausalLM", huggingface_config(), true))) == "bbb----");
  CHECK(biases_of(*graph_of("qwen2", *gguf("qwen2", gguf_config("qwen2"), true))) == "bbb----");
  CHECK(build_model("qwen2", *gguf("qwen2", gguf_config("qwen2"))).error ==
        "weight blk.0.attn_q.bias: tensor 'blk.0.attn_q.bias' is missing from the model file");
}

TEST_CASE("qwen2 turns the halves of a head in both file formats") {
  CHECK(rope_of(*graph_of("qwen2", *gguf("qwen2", gguf_config("qwen2"), true))).style == NACELLE_ROPE_HALF);
  CHECK(rope_of(*graph_of("qwen2", *huggingface("Qwen2ForCausalLM", huggingface_config(), true))).style ==
        NACELLE_ROPE_HALF);
}

TEST_CASE("sliding windows: Mistral everywhere, Qwen2 on the layers it names") {
  using Windows = std::vector<std::uint32_t>;
  const json windowed = with(huggingface_config(), "sliding_window", 4096);
  const auto mistral = graph_of("llama", *huggingface("MistralForCausalLM", windowed));
  CHECK(windows_of(*mistral) == Windows{4096, 4096, 4096, 4096});
  CHECK(mistral->record().cache_groups[0].window == 4096);
  CHECK(windows_of(*graph_of("llama", *huggingface("LlamaForCausalLM", windowed))) == Windows{0, 0, 0, 0});
  // A window as long as the context hides nothing.
  CHECK(windows_of(*graph_of("llama", *huggingface("MistralForCausalLM", with(windowed, "sliding_window", 8192)))) ==
        Windows{0, 0, 0, 0});

  CHECK(windows_of(*graph_of("qwen2", *huggingface("Qwen2ForCausalLM", windowed, true))) == Windows{0, 0, 0, 0});
  json qwen = with(with(windowed, "use_sliding_window", true), "max_window_layers", 2);
  const auto graph = graph_of("qwen2", *huggingface("Qwen2ForCausalLM", qwen, true));
  CHECK(windows_of(*graph) == Windows{0, 0, 4096, 4096});
  REQUIRE(graph->record().cache_groups.size() == 2);
  CHECK(graph->record().cache_groups[0].window == 0);
  CHECK(graph->record().cache_groups[1].window == 4096);
  CHECK(graph->record().cache_groups[1].layer_count == 2);
  qwen["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention", "full_attention"};
  CHECK(windows_of(*graph_of("qwen2", *huggingface("Qwen2ForCausalLM", qwen, true))) == Windows{4096, 0, 4096, 0});
}

TEST_CASE("an untied head is a weight of its own, a tied one is the embedding under either name") {
  const auto head_of = [](const sdk::Graph& graph) {
    const auto& record = graph.record();
    const auto& matmul = record.ops[record.ops.size() - 2];
    return graph.weight_source(record.values[matmul.inputs[1]].weight).value.tensor;
  };
  CHECK(head_of(*graph_of("llama", *huggingface("LlamaForCausalLM", huggingface_config()))) == "lm_head.weight");
  CHECK(head_of(*graph_of("llama", *gguf("llama", gguf_config("llama")))) == "output.weight");
  auto tied = huggingface("LlamaForCausalLM", with(huggingface_config(), "tie_word_embeddings", true));
  CHECK(head_of(*graph_of("llama", *tied)) == "model.embed_tokens.weight");
  tied->tensors.erase("model.embed_tokens.weight");
  CHECK(head_of(*graph_of("llama", *tied)) == "lm_head.weight");
  tied->tensors.erase("lm_head.weight");
  CHECK(build_model("llama", *tied).error ==
        "weight token_embd.weight: tensor 'model.embed_tokens.weight' is missing from the model file, tensor "
        "'lm_head.weight' is missing from the model file");
  auto file = gguf("llama", gguf_config("llama"));
  file->tensors.erase("output.weight");
  CHECK(head_of(*graph_of("llama", *file)) == "token_embd.weight");
}

TEST_CASE("a head's width of its own is kept") {
  auto model = huggingface("MistralForCausalLM", with(huggingface_config(), "head_dim", 32));
  for (auto& [name, shape] : model->tensors)
    if (name.find("self_attn") != std::string::npos)
      (shape[0] == kWidth && name.find("o_proj") != std::string::npos ? shape[1] : shape[0]) *= 2;
  const auto graph = graph_of("llama", *model);
  CHECK(rope_of(*graph).head_width == 32);
  CHECK(graph->record().cache_groups[0].key_width == 64);
}

TEST_CASE("what a plugin does not know is refused by the key's name") {
  struct Case {
    const char* key;
    json value;
    const char* message;
  };
  const Case huggingface_cases[] = {
      {"rope_scaling",
       {{"rope_type", "dynamic"}, {"factor", 2.0}},
       "config.json: 'rope_scaling.rope_type' is 'dynamic', which this plugin does not know (default, linear, llama3, "
       "yarn, longrope)"},
      {"rope_scaling",
       {{"type", "su"}, {"factor", 2.0}},
       "config.json: 'rope_scaling.type' is 'su', which this plugin does not know (default, linear, llama3, yarn, "
       "longrope)"},
      {"rope_scaling", {{"type", "linear"}}, "config.json: 'rope_scaling.factor' is missing"},
      {"num_hidden_layers", nullptr, "config.json: 'num_hidden_layers' is missing"},
      {"num_hidden_layers", "two", "config.json: 'num_hidden_layers' is not a whole number"},
      {"num_hidden_layers", 1000000, "config.json: 'num_hidden_layers' is 1000000, expected 1 to 4096"},
      {"num_key_value_heads", 3, "config.json: 'num_key_value_heads' is 3, which does not divide 4 heads"},
      {"num_attention_heads", 128, "config.json: 'num_attention_heads' is larger than the model's width"},
      {"hidden_size", -64, "config.json: 'hidden_size' is -64, expected 1 to 67108864"},
      {"hidden_act", "relu6", "config.json: 'hidden_act' is 'relu6', which this plugin does not know"},
  };
  for (const Case& c : huggingface_cases) {
    const auto model = huggingface("LlamaForCausalLM", with(huggingface_config(), c.key, c.value));
    CHECK(describe(architecture("llama"), model->table()).error == c.message);
    CHECK(build_model("llama", *model).error == c.message);
  }
  const Case gguf_cases[] = {
      {"llama.expert_count", 8, "metadata key 'llama.expert_used_count' is missing"},
      {"llama.rope.scaling.type", "longrope",
       "metadata key 'llama.rope.scaling.type' is 'longrope', which this plugin does not know (none, linear, yarn; "
       "longrope "
       "needs the tensor rope_factors_long.weight)"},
      {"llama.attention.head_count_kv",
       {2, 2, 2, 2},
       "metadata key 'llama.attention.head_count_kv' is not a whole number"},
      {"llama.attention.layer_norm_rms_epsilon", nullptr,
       "metadata key 'llama.attention.layer_norm_rms_epsilon' is missing"},
  };
  for (const Case& c : gguf_cases) {
    const auto model = gguf("llama", with(gguf_config("llama"), c.key, c.value));
    CHECK(describe(architecture("llama"), model->table()).error == c.message);
  }
}

TEST_CASE("a tensor of another shape is refused with both shapes") {
  auto model = huggingface("LlamaForCausalLM", huggingface_config());
  model->tensors["model.layers.2.mlp.up_proj.weight"] = {kWidth, kHidden};
  CHECK(build_model("llama", *model).error ==
        "weight blk.2.ffn_up.weight: tensor 'model.layers.2.mlp.up_proj.weight' has shape [64, 96], [96, 64] was "
        "expected");
}

TEST_CASE("only the family's own names match") {
  const auto match = [](const char* plugin, std::uint32_t format, const char* name) {
    return architecture(plugin).match(&FakeModel(format, name, json::object()).table()) == NACELLE_OK;
  };
  CHECK(match("llama", NACELLE_FORMAT_GGUF, "llama"));
  CHECK(match("llama", NACELLE_FORMAT_HUGGINGFACE, "LlamaForCausalLM"));
  CHECK(match("llama", NACELLE_FORMAT_HUGGINGFACE, "MistralForCausalLM"));
  CHECK(match("qwen2", NACELLE_FORMAT_GGUF, "qwen2"));
  CHECK(match("qwen2", NACELLE_FORMAT_HUGGINGFACE, "Qwen2ForCausalLM"));
  CHECK_FALSE(match("llama", NACELLE_FORMAT_HUGGINGFACE, "llama"));
  CHECK_FALSE(match("llama", NACELLE_FORMAT_GGUF, "qwen2"));
  CHECK(match("qwen2", NACELLE_FORMAT_GGUF, "qwen2moe"));
  CHECK_FALSE(match("qwen2", NACELLE_FORMAT_GGUF, "qwen3moe"));
  CHECK_FALSE(match("qwen2", NACELLE_FORMAT_HUGGINGFACE, "LlamaForCausalLM"));
}
