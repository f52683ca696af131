// Command-R, Command-R+ (whose heads have norms of their own), Command-R7B and Command A: attention and feed-forward
// side by side behind one layer norm without bias, rope that turns neighbouring columns, scaled logits, the head tied
// to the embedding. Command-R7B and Command A (cohere2) have three layers with a window and rope, then one with
// neither, and so on.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

constexpr std::uint32_t kPeriod = 4;  // every fourth layer sees everything, where the file does not say

std::vector<bool> sliding_layers(const Config& config, const Decoder& model) {
  const char* key = config.is_gguf() ? "cohere2.attention.sliding_window_pattern" : "sliding_window_pattern";
  const bool listed = !config.is_gguf() && config.optional_item("layer_types", 0);
  const std::uint32_t period = listed ? kPeriod : config.optional_size(key).value_or(kPeriod);
  std::vector<bool> sliding;
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer)
    sliding.push_back(listed ? config.optional_item("layer_types", layer) == "sliding_attention"
                             : (layer + 1) % period != 0);
  return sliding;
}

void set_layers(const Config& config, Decoder& model) {
  const std::uint32_t window = config.size(config.is_gguf() ? "cohere2.attention.sliding_window" : "sliding_window");
  const std::vector<bool> sliding = sliding_layers(config, model);
  model.layer_ropes.assign(model.layer_count, model.rope);
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer) {
    if (!sliding[layer]) model.layer_ropes[layer].rotary_width = 0;
    model.windows[layer] = sliding[layer] && window < model.context_length ? window : 0;
  }
}

Decoder read_cohere_config(const Config& config) {
  const bool is_long = config.optional_integer("model_max_length").has_value();  // beside that of the first training
  Decoder model = read_huggingface_decoder(
      config,
      {.context = is_long ? "model_max_length" : "max_position_embeddings", .epsilon = "layer_norm_eps", .tied = true});
  model.rope.style = NACELLE_ROPE_INTERLEAVED;
  model.logit_scale = config.optional_number("logit_scale").value_or(0.0625);
  if (config.optional_bool("attention_bias").value_or(false)) model.qkv_bias = model.output_bias = Bias::kAlways;
  if (config.optional_bool("use_qk_norm").value_or(false)) model.head_norm = HeadNorm::kOwn;
  for (const char* key : {"use_parallel_block", "use_gated_activation"})
    if (!config.optional_bool(key).value_or(true)) config.fail_key(key, "is false, which is not supported");
  if (config.optional_number("rotary_pct").value_or(1) != 1) config.fail_key("rotary_pct", "is not 1");
  return model;
}

struct Cohere : DecoderFamily<Cohere> {
  static bool is_second(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "cohere2" : "Cohere2ForCausalLM");
  }
  static bool match(const Config& config) {
    return is_second(config) || config.architecture() == (config.is_gguf() ? "command-r" : "CohereForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model;
    if (config.is_gguf()) {
      const std::string prefix(config.architecture());
      model = read_gguf_decoder(config, prefix, NACELLE_ROPE_INTERLEAVED, NormKind::kLayer);
      model.logit_scale = config.number(prefix + ".logit_scale");
      model.qkv_bias = model.output_bias = Bias::kOptional;
      if (config.has_tensor("blk.0.attn_q_norm.weight")) model.head_norm = HeadNorm::kOwn;
    } else {
      model = read_cohere_config(config);
    }
    model.norm = NormKind::kLayer;
    model.residual = Residual::kParallel;
    model.tensors.feed_forward_norm = {};
    if (is_second(config)) set_layers(config, model);
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Cohere, "cohere", "0.1.0")
