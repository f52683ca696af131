// gpt-oss: experts with biases and a clamped swiglu, attention sinks, a window on every second layer, YaRN. Checkpoints
// keep the experts in MXFP4, gate and up rows in turns; GGUF keeps them apart.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

// The tensors of `name` for one of gate, up and down: [experts, outputs, inputs], or biases [experts, outputs].
Expr expert_tensor(const Experts& of, std::int64_t width, const Names& part, bool is_bias) {
  const bool is_down = std::string_view(part.huggingface) == "down_proj";
  const std::string name = std::string("model.layers.{layer}.mlp.experts.") + (is_down ? "down_proj" : "gate_up_proj");
  const std::int64_t count = of.count, outputs = is_down ? width : of.width, inputs = is_down ? of.width : width;
  Expr all =
      is_bias ? Expr(name + "_bias") : first_of({permute(name, {0, 2, 1}), mxfp4(name + "_blocks", name + "_scales")});
  if (is_down) return all;
  const std::int64_t which = std::string_view(part.huggingface) == "up_proj";
  if (is_bias) return reshape(slice(reshape(all, {count, outputs, 2}), 2, which, which + 1), {count, outputs});
  return reshape(slice(reshape(all, {count, outputs, 2, inputs}), 2, which, which + 1), {count, outputs, inputs});
}

struct GptOss : DecoderFamily<GptOss> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "gpt-oss" : "GptOssForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model =
        config.is_gguf() ? read_gguf_decoder(config, "gpt-oss", NACELLE_ROPE_HALF) : read_huggingface_decoder(config);
    Experts& experts = model.experts;
    if (config.is_gguf()) {
      const auto window = config.size("gpt-oss.attention.sliding_window");
      set_window_pattern(model, window, 2);
    } else {
      const auto window = config.size("sliding_window");
      if (!read_layer_types(config, model, window)) set_window_pattern(model, window, 2);
      experts.count = config.size("num_local_experts", 1, 4096);
      experts.used = config.size("num_experts_per_tok", 1, experts.count);
      experts.width = model.feed_forward_width;
      model.gate_clamp = static_cast<float>(config.optional_number("swiglu_limit").value_or(7));
    }
    experts.routing = NACELLE_ROUTE_TOP_THEN_SOFTMAX;
    experts.renormalise = false;
    experts.router_bias = experts.bias = Bias::kAlways;
    experts.router.huggingface = "mlp.router";
    experts.huggingface_source = [experts, width = model.width](const Names& part, bool is_bias) {
      return expert_tensor(experts, width, part, is_bias);
    };
    model.activation = NACELLE_ACT_SILU;
    if (config.is_gguf()) model.gate_clamp = 7;
    model.gate_alpha = 1.702f;
    model.up_offset = 1;
    model.qkv_bias = model.output_bias = Bias::kAlways;
    model.tensors.sinks = {"attn_sinks", "self_attn.sinks"};
    model.tensors.feed_forward_norm = {"post_attention_norm", "post_attention_layernorm"};
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(GptOss, "gpt_oss", "0.1.0")
