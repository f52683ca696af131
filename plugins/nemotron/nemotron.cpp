// Nemotron: Minitron and Nemotron-4 (arXiv 2407.14679), whose norms are layer norms with weights that lack their 1,
// with rope on a part of each head and a feed-forward part of relu squared; and Nemotron-H, Nemotron Nano 2 and
// Nemotron 3 Nano (arXiv 2504.03624, 2508.14444), whose layers have one thing each: Mamba-2, attention without rope, a
// feed-forward part of relu squared, or experts of it with a shared one.
#include <nacelle/decoder_mamba.hpp>

namespace {

using namespace nacelle::sdk;

enum class Kind { kMamba, kAttention, kFeedForward, kExperts };

struct Model {
  Decoder decoder;
  Mamba2 mamba;             // of no layers in dense ones
  std::vector<Kind> kinds;  // of each layer; empty where all have attention and a feed-forward part
};

bool is_dense(const Config& config) {
  return config.architecture() == (config.is_gguf() ? "nemotron" : "NemotronForCausalLM");
}

// ---- With attention in all layers ----------------------------------------------------------------------------------

void read_dense(const Config& config, Decoder& model) {
  if (config.is_gguf()) {
    model = read_gguf_decoder(config, "nemotron", NACELLE_ROPE_HALF, NormKind::kLayer);
    model.qkv_bias = model.output_bias = model.feed_forward_bias = Bias::kOptional;
  } else {
    model = read_huggingface_decoder(config, {.epsilon = "norm_eps", .activation = ""});
    if (!config.optional_number("norm_eps")) model.epsilon = 1e-5;
    if (!config.optional_number("partial_rotary_factor") &&
        !config.optional_number("rope_parameters.partial_rotary_factor")) {
      const double part = config.optional_number("rope_percentage").value_or(0.5);
      if (part <= 0 || part > 1) config.fail_key("rope_percentage", "is not above 0 and at most 1");
      model.rope.rotary_width = static_cast<std::uint32_t>(model.head_width * part);
    }
    if (config.optional_bool("attention_bias").value_or(false)) model.qkv_bias = model.output_bias = Bias::kAlways;
    model.norm_offset = 1;
  }
  model.norm = NormKind::kLayer;
  model.norm_bias = Bias::kAlways;
}

// ---- With one thing a layer ----------------------------------------------------------------------------------------

void set_kind(Model& model, Kind kind) {
  model.kinds.push_back(kind);
  model.decoder.recurrent_layers.push_back(kind != Kind::kAttention);  // no keys and values there
  model.decoder.experts.dense_layers.push_back(kind != Kind::kExperts);
  model.mamba.layer_count += kind == Kind::kMamba;
}

// A layer without keys and values and without a width is a Mamba-2 layer.
void read_gguf_kinds(const Config& config, const std::string& prefix, Model& model) {
  Decoder& decoder = model.decoder;
  const std::vector<bool> without = std::move(decoder.recurrent_layers);
  decoder.recurrent_layers.clear();
  const std::string key = prefix + ".feed_forward_length";
  const auto widths = config.optional_numbers(key, decoder.layer_count);
  if (without.size() != decoder.layer_count || !widths || widths->size() != decoder.layer_count)
    config.fail_key(without.empty() ? prefix + ".attention.head_count_kv" : key,
                    "does not say a number for each layer");
  for (std::uint32_t layer = 0; layer < decoder.layer_count; ++layer) {
    const Kind own = decoder.experts.count ? Kind::kExperts : Kind::kFeedForward;
    set_kind(model, (*widths)[layer] != 0 ? own : without[layer] ? Kind::kMamba : Kind::kAttention);
  }
}

void read_gguf_experts(const Config& config, const std::string& prefix, Experts& experts) {
  const auto key = [&](const char* name) { return prefix + "." + name; };
  experts.scale = config.optional_number(key("expert_weights_scale")).value_or(1);
  experts.renormalise = config.optional_bool(key("expert_weights_norm")).value_or(false);
  experts.shared_width = config.optional_size(key("expert_shared_feed_forward_length"), 0).value_or(0);
  if (config.optional_size(key("expert_group_count"), 0).value_or(1) > 1)
    config.fail_key(key("expert_group_count"), "is above 1: groups of experts are not supported");
  if (config.optional_size(key("moe_latent_size"), 0).value_or(0))
    config.fail_key(key("moe_latent_size"), "is not 0: experts of latent vectors are not supported");
}

void read_gguf_hybrid(const Config& config, Model& model) {
  const std::string prefix(config.architecture());
  Decoder& decoder = model.decoder = read_gguf_decoder(config, prefix, NACELLE_ROPE_HALF);
  decoder.qkv_bias = decoder.output_bias = decoder.feed_forward_bias = Bias::kOptional;
  if (config.optional_size(prefix + ".nextn_predict_layers", 0).value_or(0))
    config.fail_key(prefix + ".nextn_predict_layers",
                    "is not 0: files with layers for further tokens are not supported");
  model.mamba = read_gguf_mamba(config, prefix, decoder);
  if (decoder.experts.count) read_gguf_experts(config, prefix, decoder.experts);
  read_gguf_kinds(config, prefix, model);
}

// hybrid_override_pattern has a letter for each layer, layers_block_type, which replaces it, a word.
void read_huggingface_kinds(const Config& config, Model& model) {
  struct Name {
    char letter;
    std::string_view word, later;
    Kind kind;
  };
  constexpr Name kNames[] = {{'M', "mamba", "linear_attention", Kind::kMamba},
                             {'*', "attention", "full_attention", Kind::kAttention},
                             {'-', "mlp", "mlp", Kind::kFeedForward},
                             {'E', "moe", "moe", Kind::kExperts}};
  const auto pattern = config.optional_string("hybrid_override_pattern");
  if (!pattern && !config.optional_item("layers_block_type", 0))
    config.fail_key("hybrid_override_pattern", "is missing, and so is layers_block_type");
  const char* key = pattern ? "hybrid_override_pattern" : "layers_block_type";
  const std::uint32_t layers = model.decoder.layer_count;
  if (pattern && pattern->size() != layers)
    config.fail_key(key,
                    "has " + std::to_string(pattern->size()) + " letters for " + std::to_string(layers) + " layers");
  for (std::uint32_t layer = 0; layer < layers; ++layer) {
    const std::string own =
        pattern ? std::string(1, (*pattern)[layer]) : config.optional_item(key, layer).value_or("nothing");
    const auto found = std::ranges::find_if(
        kNames, [&](const Name& name) { return own[0] == name.letter || own == name.word || own == name.later; });
    if (found == std::end(kNames))
      config.fail_key(key, "has '" + own + "' for layer " + std::to_string(layer) + ", expected " +
                               (pattern ? "M, *, - or E" : "mamba, attention, mlp or moe"));
    set_kind(model, found->kind);
  }
}

void read_huggingface_experts(const Config& config, Experts& experts) {
  experts.count = config.size("n_routed_experts", 1, 4096);
  experts.used = config.size("num_experts_per_tok", 1, experts.count);
  experts.width = config.size("moe_intermediate_size");
  experts.scale = config.optional_number("routed_scaling_factor").value_or(1);
  experts.renormalise = config.optional_bool("norm_topk_prob").value_or(true);
  if (config.optional_size("n_shared_experts", 0, 64).value_or(1))
    experts.shared_width = config.size("moe_shared_expert_intermediate_size");
  if (config.optional_size("n_group").value_or(1) != 1)
    config.fail_key("n_group", "is not 1: groups of experts are not supported");
  if (config.optional_size("moe_latent_size", 0).value_or(0))
    config.fail_key("moe_latent_size", "is not 0: experts of latent vectors are not supported");
}

void read_huggingface_hybrid(const Config& config, Model& model) {
  Decoder& decoder = model.decoder =
      read_huggingface_decoder(config, {.epsilon = "layer_norm_epsilon", .activation = ""});
  if (!config.optional_number("layer_norm_epsilon")) decoder.epsilon = 1e-5;
  if (!config.optional_integer("head_dim"))
    decoder.head_width = decoder.value_width =
        config.optional_size("attention_head_dim", 1, kMaxHeads).value_or(decoder.head_width);
  if (config.optional_bool("attention_bias").value_or(false)) decoder.qkv_bias = decoder.output_bias = Bias::kAlways;
  model.mamba = read_huggingface_mamba(config,
                                       {.heads = "mamba_num_heads",
                                        .head_width = "mamba_head_dim",
                                        .state = "ssm_state_size",
                                        .activation = "mamba_hidden_act"},
                                       decoder);
  read_huggingface_kinds(config, model);
  if (std::ranges::find(model.kinds, Kind::kExperts) != model.kinds.end())
    read_huggingface_experts(config, decoder.experts);
}

void name_hybrid(Decoder& model) {
  Tensors& tensors = model.tensors;
  tensors.prefix = "backbone.";
  tensors.embedding.huggingface = "embeddings";
  tensors.output_norm.huggingface = "norm_f";
  tensors.attention_norm.huggingface = "norm";
  tensors.q.huggingface = "mixer.q_proj";
  tensors.k.huggingface = "mixer.k_proj";
  tensors.v.huggingface = "mixer.v_proj";
  tensors.attention_output.huggingface = "mixer.o_proj";
  tensors.up.huggingface = "mixer.up_proj";
  tensors.down.huggingface = "mixer.down_proj";
  Experts& experts = model.experts;
  experts.routing = NACELLE_ROUTE_SIGMOID;
  experts.selection_bias = Bias::kAlways;
  experts.router.huggingface = "mixer.gate";
  experts.selection.huggingface = "mixer.gate.e_score_correction_bias";
  experts.huggingface = "mixer.experts.{expert}.";
  experts.module = "mixer.experts.";
  experts.shared_up.huggingface = "mixer.shared_experts.up_proj";
  experts.shared_down.huggingface = "mixer.shared_experts.down_proj";
}

Model read_model(const Config& config) {
  Model model;
  Decoder& decoder = model.decoder;
  if (is_dense(config)) {
    read_dense(config, decoder);
  } else {
    config.is_gguf() ? read_gguf_hybrid(config, model) : read_huggingface_hybrid(config, model);
    decoder.uses_rope = false;
    name_hybrid(decoder);
  }
  decoder.gated = false;
  decoder.activation = NACELLE_ACT_RELU;
  decoder.squared = true;
  if (config.is_gguf()) return model;
  const char* key = is_dense(config) ? "hidden_act" : "mlp_hidden_act";
  if (const auto name = config.optional_string(key); name && *name != "relu2")
    config.fail_key(key, "is '" + *name + "', expected relu2");
  if (config.optional_bool("mlp_bias").value_or(false)) decoder.feed_forward_bias = Bias::kAlways;
  return model;
}

class NemotronGraph : public MambaGraph {
 public:
  NemotronGraph(Builder& builder, const Model& model) : MambaGraph(builder, model), kinds_(model.kinds) {}

 private:
  Value block(Value x) override {
    if (kinds_.empty()) return DecoderGraph::block(x);
    const Value before = norm(x, names_.attention_norm);
    switch (kinds_[layer_]) {
      case Kind::kMamba: return b_.add(x, mamba(before));
      case Kind::kAttention: return b_.add(x, attention(before));
      default: return b_.add(x, feed_forward(before));
    }
  }

  const std::vector<Kind>& kinds_;
};

struct Nemotron : DecoderFamily<Nemotron, NemotronGraph> {
  static bool match(const Config& config) {
    const std::string_view name = config.architecture();
    return is_dense(config) ||
           (config.is_gguf() ? name == "nemotron_h" || name == "nemotron_h_moe" : name == "NemotronHForCausalLM");
  }
  static Model read(const Config& config) { return read_model(config); }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Nemotron, "nemotron", "0.1.0")
