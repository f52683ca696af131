// LFM2 (Liquid AI, arXiv 2511.23404): most layers mix tokens by a short convolution between two gates, the others by
// attention with normed queries and keys. LFM2-MoE has experts behind its first layers, chosen by sigmoid scores with
// a bias.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

struct Model {
  Decoder decoder;
  std::uint32_t length = 0;  // of the filters
  Bias bias = Bias::kNever;  // of the convolution and the products around it
};

bool is_moe(const Config& config) {
  return config.architecture() == (config.is_gguf() ? "lfm2moe" : "Lfm2MoeForCausalLM");
}

class Reader {
 public:
  explicit Reader(const Config& config) : config_(config), decoder_(model_.decoder) {}

  Model read() {
    config_.is_gguf() ? read_gguf() : read_huggingface();
    decoder_.head_norm = HeadNorm::kEachHead;
    Tensors& names = decoder_.tensors;
    // GGUF writers took the last norm for the embedding's, which is the name that llama.cpp knows.
    const bool own_name = config_.has_tensor("output_norm.weight");
    names.output_norm = {own_name ? "output_norm" : "token_embd_norm", "embedding_norm"};
    names.attention_norm = {"attn_norm", "operator_norm"};
    names.feed_forward_norm = {"ffn_norm", "ffn_norm"};
    names.attention_output = {"attn_output", "self_attn.out_proj"};
    names.q_norm = {"attn_q_norm", "self_attn.q_layernorm"};
    names.k_norm = {"attn_k_norm", "self_attn.k_layernorm"};
    names.gate = {"ffn_gate", "feed_forward.w1"};
    names.up = {"ffn_up", "feed_forward.w3"};
    names.down = {"ffn_down", "feed_forward.w2"};
    if (is_moe(config_)) name_experts();
    return std::move(model_);
  }

 private:
  void read_gguf() {
    const std::string prefix(config_.architecture());
    const auto key = [&](const char* name) { return prefix + "." + name; };
    decoder_ = read_gguf_decoder(config_, prefix, NACELLE_ROPE_HALF);
    if (config_.has_tensor("dense_2.weight"))
      config_.fail_key(
          "general.architecture",
          "is '" + prefix + "' with a tensor 'dense_2.weight': models that embed " + "texts are not supported");
    if (!config_.optional_bool(key("attention.causal")).value_or(true))
      config_.fail_key(key("attention.causal"), "is false: models that embed texts are not supported");
    model_.length = config_.size(key("shortconv.l_cache"), 2, 64);
    model_.bias = Bias::kOptional;
    if (!is_moe(config_)) return;
    Experts& experts = decoder_.experts;
    const double gating = config_.number(key("expert_gating_func"));
    if (gating != 2) config_.fail_key(key("expert_gating_func"), "is not 2 (sigmoid), which is all that is supported");
    set_dense_layers(config_.optional_size(key("leading_dense_block_count"), 0, decoder_.layer_count).value_or(0));
    experts.scale = config_.optional_number(key("expert_weights_scale")).value_or(1);
    experts.renormalise = config_.optional_bool(key("expert_weights_norm")).value_or(true);
    experts.selection_bias = Bias::kAlways;
  }

  void read_huggingface() {
    HuggingFaceKeys keys;
    keys.feed_forward = keys.activation = "";
    keys.epsilon = "norm_eps";
    keys.tied = true;
    decoder_ = read_huggingface_decoder(config_, keys);
    if (const auto tied = config_.optional_bool("tie_embedding")) decoder_.tied = *tied;  // Liquid's own word for it
    const auto base = config_.optional_number("theta");
    if (base || !(config_.optional_number("rope_theta") || config_.optional_number("rope_parameters.rope_theta")))
      decoder_.rope.base = static_cast<float>(base.value_or(1e6));
    model_.length = config_.optional_size("conv_L_cache", 2, 64).value_or(3);
    model_.bias = config_.optional_bool("conv_bias").value_or(false) ? Bias::kAlways : Bias::kNever;
    read_layer_kinds();
    decoder_.feed_forward_width = is_moe(config_) ? config_.size("intermediate_size") : feed_forward_width();
    if (!is_moe(config_)) return;
    Experts& experts = decoder_.experts;
    experts.count = config_.size("num_experts", 1, 4096);
    experts.used = config_.size("num_experts_per_tok", 1, experts.count);
    experts.width = config_.size("moe_intermediate_size");
    set_dense_layers(config_.optional_size("num_dense_layers", 0, decoder_.layer_count).value_or(2));
    experts.scale = config_.optional_number("routed_scaling_factor").value_or(1);
    experts.renormalise = config_.optional_bool("norm_topk_prob").value_or(true);
    const bool biased = config_.optional_bool("use_expert_bias").value_or(true);
    experts.selection_bias = biased ? Bias::kAlways : Bias::kNever;
  }

  // By name, or as the list of those that attend.
  void read_layer_kinds() {
    auto& recurrent = decoder_.recurrent_layers;
    const std::uint32_t count = decoder_.layer_count;
    if (config_.optional_item("layer_types", 0)) {
      for (std::uint32_t layer = 0; layer < count; ++layer) {
        const std::string kind = config_.optional_item("layer_types", layer).value_or("");
        if (kind != "conv" && kind != "full_attention")
          config_.fail_key("layer_types", "has '" + kind + "' for layer " + std::to_string(layer) +
                                              ", expected 'conv' or 'full_attention'");
        recurrent.push_back(kind == "conv");
      }
    } else if (const auto attending = config_.optional_numbers("full_attn_idxs", count)) {
      for (std::uint32_t layer = 0; layer < count; ++layer)
        recurrent.push_back(std::ranges::find(*attending, layer) == attending->end());
    }
  }

  // The configuration may have what the width is made of: two thirds of a number, times another, rounded up.
  std::uint32_t feed_forward_width() const {
    const auto usual = config_.optional_size("intermediate_size"), own = config_.optional_size("block_ff_dim");
    std::uint64_t width = own ? *own : usual ? *usual : config_.size("intermediate_size");
    if (!config_.optional_bool("block_auto_adjust_ff_dim").value_or(true)) return static_cast<std::uint32_t>(width);
    const double factor = config_.optional_number("block_ffn_dim_multiplier").value_or(1);
    if (!(factor > 0 && factor <= 64)) config_.fail_key("block_ffn_dim_multiplier", "is not above 0 and at most 64");
    const std::uint64_t multiple = config_.optional_size("block_multiple_of").value_or(256);
    const std::uint64_t two_thirds = 2 * width / 3;  // of whole numbers, as the model's own code has it
    width = static_cast<std::uint64_t>(factor * static_cast<double>(two_thirds));
    return static_cast<std::uint32_t>(std::min<std::uint64_t>((width + multiple - 1) / multiple * multiple, 1u << 26));
  }

  void set_dense_layers(std::uint32_t count) { decoder_.experts.dense_layers.assign(count, true); }

  void name_experts() {
    Experts& experts = decoder_.experts;
    // Liquid's code adds 1e-6 to the sum of weights that it divides by; nothing is added here.
    experts.routing = NACELLE_ROUTE_SIGMOID;
    experts.router = {"ffn_gate_inp", "feed_forward.gate"};
    experts.selection = {"exp_probs_b", "feed_forward.expert_bias"};
    experts.huggingface = "feed_forward.experts.{expert}.";
    experts.module = "feed_forward.experts.";
    experts.gate = {"ffn_gate_exps", "w1"};
    experts.up = {"ffn_up_exps", "w3"};
    experts.down = {"ffn_down_exps", "w2"};
  }

  const Config& config_;
  Model model_;
  Decoder& decoder_;
};

class Graph : public DecoderGraph {
 public:
  Graph(Builder& builder, const Model& model) : DecoderGraph(builder, model.decoder), of_(model) {
    windows_ = keep(recurrent_count(), (of_.length - 1) * std::int64_t{model_.width});
  }

 private:
  Value recurrent(Value x) override {
    const std::int64_t width = model_.width, length = of_.length;
    const Names filters_name = {"shortconv.conv", "conv.conv"};
    const Value all = linear(x, {"shortconv.in_proj", "conv.in_proj"}, 3 * width, width, of_.bias);
    const std::vector<Value> parts = b_.split(all, {width, width, width});
    Source source = inside(filters_name, ".weight");
    source.huggingface = reshape(source.huggingface, {width, length});
    const Value filters = block_weight(filters_name, ".weight", {width, length}, source);
    const Value mixed = convolution(b_.mul(parts[0], parts[2]), filters, bias_of(filters_name, of_.bias, {width}),
                                    windows_, of_.length, 0);
    return linear(b_.mul(parts[1], mixed), {"shortconv.out_proj", "conv.out_proj"}, width, width, of_.bias);
  }

  const Model& of_;
  States windows_;
};

struct Lfm2 : DecoderFamily<Lfm2, Graph> {
  static bool match(const Config& config) {
    return is_moe(config) || config.architecture() == (config.is_gguf() ? "lfm2" : "Lfm2ForCausalLM");
  }
  static Model read(const Config& config) { return Reader(config).read(); }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Lfm2, "lfm2", "0.1.0")
