// Falcon: attention and feed-forward side by side, few KV heads, no biases but those of the layer norms. The 40B and
// 180B have a norm for each of the two, the 7B one for both. Hugging Face keeps Q, K and V of a KV head's group
// together.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

Decoder read_falcon_config(const Config& config) {
  Decoder model = read_huggingface_decoder(
      config, {.feed_forward = "", .kv_heads = "", .epsilon = "layer_norm_epsilon", .activation = "", .tied = true});
  const auto flag = [&](const char* key, bool otherwise) { return config.optional_bool(key).value_or(otherwise); };
  const bool grouped = flag("new_decoder_architecture", false);
  if (grouped)
    model.kv_head_count = config.optional_size("num_kv_heads", 1, kMaxHeads).value_or(model.head_count);
  else if (flag("multi_query", true))
    model.kv_head_count = 1;
  check_sizes(config, model, "num_attention_heads", "num_kv_heads");
  model.feed_forward_width = config.optional_size("ffn_hidden_size").value_or(4 * model.width);
  model.activation =
      read_huggingface_activation(config, config.optional_string("activation") ? "activation" : "hidden_act");
  if (!config.optional_string("activation")) model.activation = NACELLE_ACT_GELU_ERF;
  if (flag("alibi", false)) config.fail_key("alibi", "is true, which is not supported");
  if (flag("bias", false)) config.fail_key("bias", "is true, which is not supported");
  if (!grouped && !flag("parallel_attn", true)) config.fail_key("parallel_attn", "is false, which is not supported");
  return model;
}

struct Falcon : DecoderFamily<Falcon> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "falcon" : "FalconForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model;
    if (config.is_gguf()) {
      model = read_gguf_decoder(config, "falcon", NACELLE_ROPE_HALF, NormKind::kLayer);
      model.activation = NACELLE_ACT_GELU_ERF;
    } else {
      model = read_falcon_config(config);
    }
    model.residual = Residual::kParallel;
    model.gated = false;
    model.norm = NormKind::kLayer;
    model.norm_bias = Bias::kAlways;
    Tensors& names = model.tensors;
    names.prefix = "transformer.";
    names.blocks = "h";
    names.layout = Layout::kGroupHeads;
    names.embedding.huggingface = "word_embeddings";
    names.output_norm.huggingface = "ln_f";
    const bool two =
        config.has_tensor(config.is_gguf() ? "blk.0.attn_norm_2.weight" : "transformer.h.0.ln_attn.weight");
    // GGUF's second norm is the one of attention.
    names.attention_norm = two ? Names{"attn_norm_2", "ln_attn"} : Names{"attn_norm", "input_layernorm"};
    names.feed_forward_norm = two ? Names{"attn_norm", "ln_mlp"} : Names{};
    names.qkv = {"attn_qkv", "self_attention.query_key_value"};
    names.attention_output.huggingface = "self_attention.dense";
    names.up.huggingface = "mlp.dense_h_to_4h";
    names.down.huggingface = "mlp.dense_4h_to_h";
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Falcon, "falcon", "0.1.0")
