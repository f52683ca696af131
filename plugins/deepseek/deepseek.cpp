// DeepSeek-V2, V3 and R1, and Kimi-K2 and GLM-4.7-Flash, which have V3's graph: multi-head latent attention (arXiv
// 2405.04434, section 2.1) and experts of which some serve every token (arXiv 2401.06066), the first layers without
// (arXiv 2412.19437).
#include <nacelle/decoder_latent.hpp>

namespace {

using namespace nacelle::sdk;

struct Model {
  Decoder decoder;
  Latent latent;
};

bool is_third(const Config& config) {
  return config.architecture() == "DeepseekV3ForCausalLM" || config.architecture() == "Glm4MoeLiteForCausalLM";
}

// YaRN as DeepSeek has it: scores grow by the square of what it calls mscale (modeling_deepseek.py).
double growth(double factor, double mscale) { return factor > 1 ? 0.1 * mscale * std::log(factor) + 1 : 1; }

class Reader {
 public:
  explicit Reader(const Config& config) : config_(config) {}

  Model read() {
    config_.is_gguf() ? read_gguf() : read_huggingface();
    Latent& latent = model_.latent;
    Decoder& decoder = model_.decoder;
    const double grown = growth(factor_, mscale_all_);
    keep_latents(decoder, latent);
    decoder.attention_scale *= grown * grown;
    return std::move(model_);
  }

 private:
  void read_gguf() {
    const auto key = [](const char* name) { return std::string("deepseek2.") + name; };
    Decoder& decoder = model_.decoder = read_gguf_decoder(config_, "deepseek2", NACELLE_ROPE_INTERLEAVED);
    Latent& latent = model_.latent;
    latent.query_rank = config_.optional_size(key("attention.q_lora_rank"), 0).value_or(0);
    latent.rank = config_.size(key("attention.kv_lora_rank"));
    // Files for the absorbed form have the sizes of what is cached under the usual keys.
    const auto whole = config_.optional_size(key("attention.key_length_mla"));
    const std::uint32_t head = whole.value_or(decoder.head_width);
    latent.value_width = config_.optional_size(key("attention.value_length_mla")).value_or(decoder.value_width);
    latent.turned = config_.size(key("rope.dimension_count"));
    if (latent.turned >= head)
      config_.fail_key(key("rope.dimension_count"), "is " + std::to_string(latent.turned) +
                                                        ", which leaves nothing of a head of " + std::to_string(head));
    latent.plain = head - latent.turned;
    decoder.rope =
        read_gguf_rope(config_, "deepseek2", NACELLE_ROPE_INTERLEAVED, latent.turned, decoder.context_length);
    if (decoder.rope.scaling == NACELLE_ROPE_SCALE_YARN) {
      decoder.rope.attention_factor = 1;  // llama.cpp takes mscale and mscale_all_dim for equal
      factor_ = decoder.rope.factor;
      mscale_all_ = 10 * config_.optional_number(key("rope.scaling.yarn_log_multiplier")).value_or(0);
    }

    Experts& experts = decoder.experts;
    if (!experts.count) return;
    experts.dense_layers.assign(
        config_.optional_size(key("leading_dense_block_count"), 0, decoder.layer_count).value_or(0), true);
    experts.shared_width = experts.width * config_.optional_size(key("expert_shared_count"), 0, 256).value_or(0);
    experts.renormalise = config_.optional_bool(key("expert_weights_norm")).value_or(false);
    experts.scale = config_.optional_number(key("expert_weights_scale")).value_or(1);
    const std::uint32_t gating = config_.optional_size(key("expert_gating_func"), 0).value_or(0);
    if (gating > 2)
      config_.fail_key(key("expert_gating_func"),
                       "is " + std::to_string(gating) + ", expected 1 (softmax) or 2 (sigmoid)");
    experts.routing = gating == 2 ? NACELLE_ROUTE_SIGMOID : NACELLE_ROUTE_SOFTMAX_THEN_TOP;
    experts.selection_bias = Bias::kOptional;
    const std::uint32_t groups = config_.optional_size(key("expert_group_count"), 0, experts.count).value_or(0);
    if (groups > 1)
      set_groups(groups, config_.size(key("expert_group_used_count"), 1, groups), key("expert_group_count"));
  }

  void read_huggingface() {
    Decoder& decoder = model_.decoder = read_huggingface_decoder(config_);
    Latent& latent = model_.latent;
    latent.query_rank = config_.optional_size("q_lora_rank", 0).value_or(0);
    latent.rank = config_.size("kv_lora_rank");
    latent.plain = config_.size("qk_nope_head_dim");
    latent.turned = config_.size("qk_rope_head_dim");
    latent.value_width = config_.size("v_head_dim");
    decoder.head_width = latent.turned;
    HuggingFaceRope(config_, decoder).read();
    if (config_.optional_bool("rope_interleave").value_or(true)) decoder.rope.style = NACELLE_ROPE_INTERLEAVED;
    if (decoder.rope.scaling == NACELLE_ROPE_SCALE_YARN) {
      factor_ = decoder.rope.factor;
      for (const char* block : {"rope_scaling.", "rope_parameters."})
        if (const auto found = config_.optional_number(std::string(block) + "mscale_all_dim")) mscale_all_ = *found;
    }
    if (config_.optional_bool("attention_bias").value_or(false))
      config_.fail_key("attention_bias", "is true, which this plugin does not know");
    decoder.experts.count = config_.optional_size("n_routed_experts", 0, 4096).value_or(0);
    if (decoder.experts.count) read_huggingface_experts();
  }

  void read_huggingface_experts() {
    Experts& experts = model_.decoder.experts;
    const bool is_v3 = is_third(config_);
    experts.used = config_.size("num_experts_per_tok", 1, experts.count);
    experts.width = config_.size("moe_intermediate_size");
    experts.dense_layers.assign(
        config_.optional_size("first_k_dense_replace", 0, model_.decoder.layer_count).value_or(0), true);
    if (config_.optional_size("moe_layer_freq").value_or(1) != 1)
      config_.fail_key("moe_layer_freq", "is above 1, which this plugin does not know");
    experts.shared_width = experts.width * config_.optional_size("n_shared_experts", 0, 256).value_or(0);
    experts.renormalise = config_.optional_bool("norm_topk_prob").value_or(is_v3);
    experts.scale = config_.optional_number("routed_scaling_factor").value_or(1);
    // V2's code scales weights or divides them by their sum; V3's does both.
    if (!is_v3 && experts.renormalise && experts.used > 1) experts.scale = 1;
    expect("scoring_func", is_v3 ? "sigmoid" : "softmax");
    experts.routing = is_v3 ? NACELLE_ROUTE_SIGMOID : NACELLE_ROUTE_SOFTMAX_THEN_TOP;
    experts.selection_bias = is_v3 ? Bias::kAlways : Bias::kNever;
    const std::string method = config_.optional_string("topk_method").value_or(is_v3 ? "noaux_tc" : "greedy");
    if (method == "greedy" && !is_v3) return;
    expect("topk_method", is_v3 ? "noaux_tc" : "group_limited_greedy");
    const std::uint32_t groups = config_.optional_size("n_group", 1, experts.count).value_or(1);
    if (groups > 1) set_groups(groups, config_.size("topk_group", 1, groups), "n_group");
  }

  void expect(const char* key, const char* value) const {
    const auto found = config_.optional_string(key);
    if (found && *found != value)
      config_.fail_key(key, "is '" + *found + "', expected '" + value + "' for " + std::string(config_.architecture()));
  }

  void set_groups(std::uint32_t count, std::uint32_t used, const std::string& key) {
    Experts& experts = model_.decoder.experts;
    if (experts.count % count || experts.count / count * used < experts.used)
      config_.fail_key(key, "is " + std::to_string(count) + ", which does not fit " + std::to_string(experts.count) +
                                " experts of which " + std::to_string(experts.used) + " are used");
    experts.group_count = count;
    experts.group_used = used;
  }

  const Config& config_;
  Model model_;
  double factor_ = 1, mscale_all_ = 0;
};

struct DeepSeek : DecoderFamily<DeepSeek, LatentGraph> {
  static bool match(const Config& config) {
    const auto name = config.architecture();
    if (config.is_gguf()) return name == "deepseek2";
    return name == "DeepseekV2ForCausalLM" || is_third(config);
  }
  static Model read(const Config& config) { return Reader(config).read(); }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(DeepSeek, "deepseek", "0.1.0")
