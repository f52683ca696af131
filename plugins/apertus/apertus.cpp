// Apertus: Llama with norms of each head in front of rope, and without a gate: the activation is xIELU, whose
// parameters each layer has learnt. safetensors keep them as tensors, GGUF as lists of one number a layer.
#include <array>
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

// A layer's, in the order of XIELU's parameters.
constexpr const char* kParameters[] = {"alpha_p", "alpha_n", "beta", "eps"};

// One number a layer, or one for all.
std::vector<float> of_layers(const Config& config, const std::string& key, std::uint32_t layer_count) {
  const auto each = config.optional_numbers(key, layer_count);
  if (!each || (each->size() != 1 && each->size() != layer_count))
    config.fail_key(key, each ? "has " + std::to_string(each->size()) + " numbers, expected one, or one for each of " +
                                    std::to_string(layer_count) + " layers"
                              : "is missing");
  std::vector<float> values(each->begin(), each->end());
  values.resize(layer_count, values.front());
  return values;
}

class ApertusGraph : public DecoderGraph {
 public:
  ApertusGraph(Builder& builder, const Decoder& model, const Config& config) : DecoderGraph(builder, model) {
    if (!config.is_gguf()) return;
    for (std::size_t i = 0; i < given_.size(); ++i)
      given_[i] = of_layers(config, std::string("xielu.") + kParameters[i], model.layer_count);
  }

 private:
  Value activated(Value x) override {
    std::vector<float> stored;
    for (const auto& of : given_) stored.push_back(of.empty() ? 0 : of[layer_]);
    std::vector<Expr> tensors;  // as F32, whatever the type of each
    for (const char* name : kParameters)
      tensors.push_back(scale(huggingface_in_block("mlp.act_fn.", {"", name}, ""), 1));
    const Source source{constants(stored), concat(0, std::move(tensors))};
    return b_.xielu(x, block_weight({"xielu"}, "", {4}, source));
  }

  std::array<std::vector<float>, std::size(kParameters)> given_;  // by GGUF
};

struct Apertus {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "apertus" : "ApertusForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model;
    if (config.is_gguf()) {
      model = read_gguf_decoder(config, "apertus", NACELLE_ROPE_HALF);
      model.qkv_bias = model.output_bias = Bias::kOptional;
    } else {
      model = read_huggingface_decoder(config, {.activation = ""});
      const auto name = config.optional_string("hidden_act").value_or("xielu");
      if (name != "xielu") config.fail_key("hidden_act", "is '" + name + "', expected xielu");
      if (config.optional_bool("attention_bias").value_or(false)) model.qkv_bias = model.output_bias = Bias::kAlways;
    }
    model.gated = false;
    model.head_norm = HeadNorm::kEachHead;
    model.tensors.attention_norm.huggingface = "attention_layernorm";
    model.tensors.feed_forward_norm.huggingface = "feedforward_layernorm";
    return model;
  }
  static nacelle_model_description describe(const Config& config) { return describe_decoder(read(config)); }
  static void build(const Config& config, Builder& builder) {
    const Decoder model = read(config);
    ApertusGraph(builder, model, config).build();
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Apertus, "apertus", "0.1.0")
