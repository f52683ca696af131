// Llama 1 to 3 and what differs from it in settings: Mistral (with its sliding window; of those that see images, as
// Mistral Small 3.1, the part about text), Yi, TinyLlama, SmolLM and many others under Llama's own name; Ministral 3,
// whose queries grow with their position; SmolLM3, whose every fourth layer turns nothing; Seed-OSS and ERNIE 4.5, of
// which only names and rope differ; Arcee, whose feed-forward part is relu squared; Hunyuan, with norms behind rope;
// the mixtures of experts of ERNIE 4.5 and Hunyuan, with a shared expert; InternLM 2 and 3, Xverse, EXAONE 3 and Orion
// (with layer norms), which have names of their own; MiniCPM, with Granite's scales by other names; and the first
// DeepSeek with experts. GGUF stores Q and K permuted, so that its rope turns neighbouring columns; Hugging Face turns
// the two halves.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

// Layers whose entry of no_rope_layers is 0, or every fourth, do without rope.
void smollm3(const Config& config, Decoder& model) {
  model.layer_ropes.assign(model.layer_count, model.rope);
  const auto kept = config.is_gguf() ? std::nullopt : config.optional_numbers("no_rope_layers", model.layer_count);
  const auto interval = config.is_gguf() ? std::nullopt : config.optional_size("no_rope_layer_interval");
  if (kept && kept->size() != model.layer_count)
    config.fail_key("no_rope_layers", "has " + std::to_string(kept->size()) + " entries for " +
                                          std::to_string(model.layer_count) + " layers");
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer)
    if (kept ? (*kept)[layer] == 0 : (layer + 1) % interval.value_or(4) == 0) model.layer_ropes[layer].rotary_width = 0;
  if (config.optional_bool("use_sliding_window").value_or(false))
    read_layer_types(config, model, config.size("sliding_window"));
}

void mistral(const Config& config, Decoder& model) {
  if (const auto window = config.optional_size("sliding_window")) set_window(model, 0, *window);
}

// Ministral 3 also lets queries grow with their position, by steps of the length that the model was first trained for.
void mistral3(const Config& config, Decoder& model) {
  mistral(config, model);
  nacelle_rope_attributes& rope = model.rope;
  QueryGrowth& growth = model.query_growth;
  if (config.is_gguf()) {
    growth.strength = config.optional_number("mistral3.attention.temperature_scale").value_or(0);
    growth.length = config.optional_size("mistral3.attention.temperature_length").value_or(rope.original_context);
    const double divisor = config.optional_number("mistral3.rope.scaling.yarn_log_multiplier").value_or(0);
    if (rope.scaling == NACELLE_ROPE_SCALE_YARN && rope.factor > 1)
      rope.attention_factor /= static_cast<float>(0.1 * divisor * std::log(rope.factor) + 1);
  } else {
    const auto kind = config.optional_string("model_type").value_or("mistral");
    if (kind != "mistral" && kind != "ministral3" && kind != "mistral3")
      config.fail_key("model_type", "is '" + kind + "', expected mistral or ministral3");
    for (const char* block : {"rope_parameters.", "rope_scaling."}) {
      const auto key = [&](const char* name) { return std::string(block) + name; };
      if (const auto strength = config.optional_number(key("llama_4_scaling_beta"))) growth.strength = *strength;
      if (const auto length = config.optional_size(key("original_max_position_embeddings"))) growth.length = *length;
    }
  }
  if (growth.strength != 0 && growth.length == 0)
    config.fail_key(config.is_gguf() ? "mistral3.rope.scaling.original_context_length"
                                     : "rope_parameters.original_max_position_embeddings",
                    "is missing: queries grow with their position by steps of that length");
}

void seed_oss(const Config& config, Decoder& model) {
  model.tensors.feed_forward_norm = {"post_attention_norm", "post_attention_layernorm"};
  if (config.is_gguf()) return;
  model.qkv_bias = config.optional_bool("attention_bias").value_or(true) ? Bias::kAlways : Bias::kNever;
  model.output_bias = config.optional_bool("attention_out_bias").value_or(false) ? Bias::kAlways : Bias::kNever;
}

void ernie(const Config& config, Decoder& model) {
  if (!config.is_gguf() && config.optional_bool("use_bias").value_or(false))
    model.qkv_bias = model.output_bias = model.feed_forward_bias = Bias::kAlways;
}

void hunyuan(const Config& config, Decoder& model) {
  const bool normed = config.is_gguf() ? config.has_tensor("blk.0.attn_q_norm.weight")
                                       : config.optional_bool("use_qk_norm").value_or(true);
  if (!normed) return;
  model.head_norm = HeadNorm::kEachHead;
  model.head_norm_behind_rope = true;
  model.tensors.q_norm.huggingface = "self_attn.query_layernorm";
  model.tensors.k_norm.huggingface = "self_attn.key_layernorm";
}

// Q, K and V of a group of heads lie together in safetensors, apart in GGUF.
void internlm2(const Config& config, Decoder& model) {
  Tensors& names = model.tensors;
  names.layout = Layout::kGroupHeads;
  names.embedding.huggingface = "tok_embeddings";
  names.head.huggingface = "output";
  names.attention_norm.huggingface = "attention_norm";
  names.feed_forward_norm.huggingface = "ffn_norm";
  names.qkv.huggingface = "attention.wqkv";
  names.attention_output.huggingface = "attention.wo";
  names.gate.huggingface = "feed_forward.w1";
  names.up.huggingface = "feed_forward.w3";
  names.down.huggingface = "feed_forward.w2";
  if (!config.is_gguf() && config.optional_bool("bias").value_or(false))
    model.qkv_bias = model.output_bias = Bias::kAlways;
}

void internlm3(const Config& config, Decoder& model) {
  if (config.optional_bool("qkv_bias").value_or(false)) model.qkv_bias = Bias::kAlways;
  if (config.optional_bool("bias").value_or(false)) model.output_bias = model.feed_forward_bias = Bias::kAlways;
}

void exaone(const Config&, Decoder& model) {
  Tensors& names = model.tensors;
  names.prefix = "transformer.";
  names.blocks = "h";
  names.embedding.huggingface = "wte";
  names.output_norm.huggingface = "ln_f";
  names.attention_norm.huggingface = "ln_1";
  names.feed_forward_norm.huggingface = "ln_2";
  names.q.huggingface = "attn.attention.q_proj";
  names.k.huggingface = "attn.attention.k_proj";
  names.v.huggingface = "attn.attention.v_proj";
  names.attention_output.huggingface = "attn.attention.out_proj";
  names.gate.huggingface = "mlp.c_fc_0";
  names.up.huggingface = "mlp.c_fc_1";
  names.down.huggingface = "mlp.c_proj";
}

void orion(const Config&, Decoder& model) {
  model.norm = NormKind::kLayer;
  model.norm_bias = Bias::kAlways;
}

// Files of before 2025 say none of its scales, which were these.
void minicpm(const Config& config, Decoder& model) {
  const auto number = [&](const char* key, double otherwise) {
    const double value = config.optional_number(key).value_or(otherwise);
    if (value <= 0) config.fail_key(key, "is not above 0");
    return value;
  };
  constexpr double kEmbedding = 12, kDepth = 1.4, kBase = 256;
  const double depth = std::sqrt(double{1} * model.layer_count);
  if (config.is_gguf()) {
    model.embedding_scale = number("minicpm.embedding_scale", kEmbedding);
    model.residual_scale = number("minicpm.residual_scale", kDepth / depth);
    model.logit_scale = 1 / number("minicpm.logit_scale", model.width / kBase);
  } else {
    model.embedding_scale = number("scale_emb", kEmbedding);
    model.residual_scale = number("scale_depth", kDepth) / depth;
    model.logit_scale = number("dim_model_base", kBase) / model.width;
  }
}

// Of those that see images, LLaVA's and Pixtral, the part about text.
void llava(const Config& config, Decoder& model) {
  if (config.optional_string("model_type") == "mistral") mistral(config, model);
}

// ---- Mixtures ------------------------------------------------------------------------------------------------------

// Layers before `first`, and those that a step of `interval` leaves out, have none.
void set_mixture_layers(Decoder& model, std::uint32_t first, std::uint32_t end, std::uint32_t interval) {
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer)
    model.experts.dense_layers.push_back(layer < first || layer >= end || (layer + 1) % interval != 0);
}

// Experts are chosen by their share and a bias, and weighed without it.
void ernie_moe(const Config& config, Decoder& model) {
  ernie(config, model);
  Experts& experts = model.experts;
  if (config.is_gguf()) {
    const auto key = [](const char* name) { return std::string("ernie4_5-moe.") + name; };
    set_mixture_layers(model, config.optional_size(key("leading_dense_block_count"), 0).value_or(0), model.layer_count,
                       config.optional_size(key("interleave_moe_layer_step")).value_or(1));
    experts.shared_width = config.optional_size(key("expert_shared_feed_forward_length"), 0).value_or(0);
    experts.selection_bias = Bias::kOptional;
  } else {
    experts.count = config.size("moe_num_experts", 1, 4096);
    experts.used = config.size("moe_k", 1, experts.count);
    experts.width = config.size("moe_intermediate_size");
    experts.shared_width = experts.width * config.optional_size("moe_num_shared_experts", 0, 64).value_or(0);
    const auto last = config.optional_integer("moe_layer_end_index").value_or(-1);  // itself among them; -1: all
    set_mixture_layers(
        model, config.optional_size("moe_layer_start_index", 0).value_or(0),
        last < 0 ? model.layer_count : static_cast<std::uint32_t>(std::min<std::int64_t>(last, 4096) + 1),
        config.optional_size("moe_layer_interval").value_or(1));
    experts.selection_bias = config.optional_bool("moe_use_aux_free").value_or(true) ? Bias::kAlways : Bias::kNever;
  }
  experts.selection.huggingface = "mlp.moe_statics.e_score_correction_bias";
}

// A number, or a list of the same one for each layer.
std::uint32_t one_of_layers(const Config& config, const char* key, const Decoder& model, std::uint32_t otherwise) {
  const auto each = config.optional_numbers(key, model.layer_count);
  if (!each || each->empty()) return otherwise;
  for (const double one : *each)
    if (one != each->front() || !(one >= 0 && one <= 1 << 26) || one != std::floor(one))
      config.fail_key(key, "is no whole number, or not the same for each layer");
  return static_cast<std::uint32_t>(each->front());
}

void hunyuan_moe(const Config& config, Decoder& model) {
  hunyuan(config, model);
  Experts& experts = model.experts;
  if (config.is_gguf()) {
    experts.shared_width =
        config.optional_size("hunyuan-moe.expert_shared_feed_forward_length").value_or(model.feed_forward_width);
  } else {
    experts.count = config.size("num_experts", 2, 4096);
    experts.used = one_of_layers(config, "moe_topk", model, 1);
    if (experts.used == 0 || experts.used > experts.count)
      config.fail_key("moe_topk", "is not between 1 and num_experts");
    experts.width = one_of_layers(config, "moe_intermediate_size", model, model.feed_forward_width);
    if (config.optional_bool("use_mixed_mlp_moe").value_or(true))
      experts.shared_width = model.feed_forward_width * one_of_layers(config, "num_shared_expert", model, 1);
    experts.renormalise = config.optional_bool("norm_topk_prob").value_or(true);
    if (config.optional_bool("use_cla").value_or(false)) config.fail_key("use_cla", "is true, which is not supported");
    if (config.optional_size("moe_layer_num_skipped", 0).value_or(0))
      config.fail_key("moe_layer_num_skipped", "is not 0, which is not supported");
  }
  experts.router.huggingface = "mlp.gate.wg";
  experts.shared_gate.huggingface = "mlp.shared_mlp.gate_proj";
  experts.shared_up.huggingface = "mlp.shared_mlp.up_proj";
  experts.shared_down.huggingface = "mlp.shared_mlp.down_proj";
}

// DeepSeek's first: a softmax over all, not divided by the sum of the best, and plain layers before.
void deepseek(const Config& config, Decoder& model) {
  Experts& experts = model.experts;
  const auto key = [&](const char* gguf, const char* huggingface) {
    return config.is_gguf() ? std::string("deepseek.") + gguf : std::string(huggingface);
  };
  const std::uint32_t shared = config.optional_size(key("expert_shared_count", "n_shared_experts"), 0, 64).value_or(0);
  if (!config.is_gguf()) {
    experts.count = config.size("n_routed_experts", 1, 4096);
    experts.used = config.size("num_experts_per_tok", 1, experts.count);
    experts.width = config.size("moe_intermediate_size");
    if (config.optional_string("scoring_func").value_or("softmax") != "softmax")
      config.fail_key("scoring_func", "is not softmax, which is all that this family is known with");
  }
  experts.renormalise = !config.is_gguf() && config.optional_bool("norm_topk_prob").value_or(false);
  experts.scale = config.optional_number(key("expert_weights_scale", "routed_scaling_factor")).value_or(1);
  experts.shared_width = experts.width * shared;
  set_mixture_layers(model,
                     config.optional_size(key("leading_dense_block_count", "first_k_dense_replace"), 0).value_or(0),
                     model.layer_count, config.is_gguf() ? 1 : config.optional_size("moe_layer_freq").value_or(1));
}

// ---- All of them ---------------------------------------------------------------------------------------------------

void arcee(const Config& config, Decoder& model) {
  model.gated = false;
  model.activation = NACELLE_ACT_RELU;
  model.squared = true;
  const auto name = config.is_gguf() ? std::nullopt : config.optional_string("hidden_act");
  if (name.value_or("relu2") != "relu2") config.fail_key("hidden_act", "is '" + *name + "', expected relu2");
}

struct Variant {
  const char *gguf, *huggingface;  // "": not a name of its own there
  void (*adjust)(const Config&, Decoder&);
  std::uint32_t gguf_rope = NACELLE_ROPE_INTERLEAVED, huggingface_rope = NACELLE_ROPE_HALF;
  HuggingFaceKeys keys = {};
};
constexpr HuggingFaceKeys kDynamic = {.neutral_rope = "dynamic"};
constexpr HuggingFaceKeys kExaone = {
    .layers = "num_layers", .epsilon = "layer_norm_epsilon", .activation = "activation_function"};
constexpr Variant kVariants[] = {
    {"llama", "LlamaForCausalLM", nullptr},
    {"", "MistralForCausalLM", mistral},
    {"mistral3", "Mistral3ForConditionalGeneration", mistral3},
    {"mistral3", "Ministral3ForCausalLM", mistral3},
    {"smollm3", "SmolLM3ForCausalLM", smollm3},
    {"seed_oss", "SeedOssForCausalLM", seed_oss, NACELLE_ROPE_HALF},
    {"hunyuan-dense", "HunYuanDenseV1ForCausalLM", hunyuan, NACELLE_ROPE_HALF},
    {"hunyuan-moe", "HunYuanMoEV1ForCausalLM", hunyuan_moe, NACELLE_ROPE_HALF},
    {"ernie4_5", "Ernie4_5ForCausalLM", ernie, NACELLE_ROPE_INTERLEAVED, NACELLE_ROPE_INTERLEAVED},
    {"ernie4_5-moe", "Ernie4_5_MoeForCausalLM", ernie_moe, NACELLE_ROPE_INTERLEAVED, NACELLE_ROPE_INTERLEAVED},
    {"arcee", "ArceeForCausalLM", arcee, NACELLE_ROPE_INTERLEAVED, NACELLE_ROPE_HALF, {.activation = ""}},
    {"internlm2", "InternLM2ForCausalLM", internlm2, NACELLE_ROPE_INTERLEAVED, NACELLE_ROPE_HALF, kDynamic},
    {"", "InternLM3ForCausalLM", internlm3, NACELLE_ROPE_INTERLEAVED, NACELLE_ROPE_HALF, kDynamic},
    {"xverse", "XverseForCausalLM", nullptr},
    {"deepseek", "DeepseekForCausalLM", deepseek},
    {"", "LlavaForConditionalGeneration", llava},
    {"", "LlavaNextForConditionalGeneration", llava},
    {"exaone", "ExaoneForCausalLM", exaone, NACELLE_ROPE_HALF, NACELLE_ROPE_HALF, kExaone},
    {"orion", "OrionForCausalLM", orion, NACELLE_ROPE_HALF},
    {"minicpm", "MiniCPMForCausalLM", minicpm, NACELLE_ROPE_INTERLEAVED, NACELLE_ROPE_HALF, {.tied = true}}};

const Variant* variant_of(const Config& config) {
  for (const Variant& variant : kVariants)
    if (config.architecture() == (config.is_gguf() ? variant.gguf : variant.huggingface)) return &variant;
  return nullptr;
}

struct Llama : DecoderFamily<Llama> {
  static bool match(const Config& config) {
    const bool is_mixtral = config.is_gguf() && config.optional_integer("llama.expert_count").value_or(0) != 0;
    const Variant* variant = variant_of(config);
    if (variant && variant->adjust == llava) {
      const auto text = config.inside("text_config").optional_string("model_type");
      return text == "llama" || text == "mistral";
    }
    return !is_mixtral && variant;
  }
  static Decoder read(const Config& whole) {
    const Variant& variant = *variant_of(whole);
    const Config config = text_part(whole);
    Decoder model;
    if (config.is_gguf()) {
      const NormKind norm = variant.adjust == orion ? NormKind::kLayer : NormKind::kRms;
      model = read_gguf_decoder(config, variant.gguf, variant.gguf_rope, norm);
      model.qkv_bias = model.output_bias = model.feed_forward_bias = Bias::kOptional;
    } else {
      model = read_huggingface_decoder(config, variant.keys);
      model.rope.style = variant.huggingface_rope;
      if (config.optional_bool("attention_bias").value_or(false)) model.qkv_bias = model.output_bias = Bias::kAlways;
      if (config.optional_bool("mlp_bias").value_or(false)) model.feed_forward_bias = Bias::kAlways;
    }
    model.tensors.gguf_pairs = variant.gguf_rope != variant.huggingface_rope;
    const bool sees = variant.adjust == mistral3 || variant.adjust == llava;
    if (sees || variant.gguf == std::string_view("llama")) name_text_part(whole, model);
    if (variant.adjust) variant.adjust(config, model);
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Llama, "llama", "0.3.0")
