// Granite 3 and 4: Llama's blocks with four scales, with a plain feed-forward part, with experts, or with experts and a
// shared one; Granite 4-H has Mamba-2 layers in place of most attention, and no rope in the others. Bamba is the same
// without the scales, with rope on half of each head, and bears Granite 4-H's name in GGUF. GGUF stores Q and K
// permuted, so that its rope turns neighbouring columns; Hugging Face turns the two halves.
#include <nacelle/decoder_mamba.hpp>

namespace {

using namespace nacelle::sdk;

struct Variant {
  const char *gguf, *huggingface;  // "": not a name of its own there
  bool has_experts, may_share, is_hybrid;
};
constexpr Variant kVariants[] = {{"granite", "GraniteForCausalLM", false, false, false},
                                 {"granitemoe", "GraniteMoeForCausalLM", true, true, false},
                                 {"", "GraniteMoeSharedForCausalLM", true, true, false},
                                 {"granitehybrid", "GraniteMoeHybridForCausalLM", true, true, true},
                                 {"", "BambaForCausalLM", false, false, true}};

// Granite Vision is LLaVA's class with this part about text.
bool sees(const Config& config) {
  return !config.is_gguf() && config.architecture() == "LlavaNextForConditionalGeneration" &&
         config.inside("text_config").optional_string("model_type") == "granite";
}

const Variant* variant_of(const Config& config) {
  if (sees(config)) return &kVariants[0];
  for (const Variant& variant : kVariants)
    if (config.architecture() == (config.is_gguf() ? variant.gguf : variant.huggingface)) return &variant;
  return nullptr;
}

struct Model {
  Decoder decoder;
  Mamba2 mamba;  // of no layers where the model has none
};

// Under Granite 4-H's name, without Granite's scales.
bool is_bamba(const Config& config) {
  return config.is_gguf()
             ? config.architecture() == "granitehybrid" && !config.optional_number("granitehybrid.embedding_scale")
             : config.architecture() == "BambaForCausalLM";
}

void read_scales(const Config& config, Decoder& model) {
  const auto number = [&](const char* gguf, const char* huggingface) {
    const std::string key = config.is_gguf() ? std::string(config.architecture()) + gguf : huggingface;
    const double value = config.number(key);
    if (value <= 0) config.fail_key(key, "is not above 0");
    return value;
  };
  model.embedding_scale = number(".embedding_scale", "embedding_multiplier");
  model.residual_scale = number(".residual_scale", "residual_multiplier");
  model.attention_scale = number(".attention.scale", "attention_multiplier");
  model.logit_scale = 1 / number(".logit_scale", "logits_scaling");
}

// Hugging Face has gate and up of all experts in one tensor, and those of the shared one in another.
void name_experts(Experts& experts) {
  experts.routing = NACELLE_ROUTE_TOP_THEN_SOFTMAX;
  experts.renormalise = false;
  experts.router.huggingface = "block_sparse_moe.router.layer";
  const std::int64_t inner = experts.width;
  experts.huggingface_source = [inner](const Names& part, bool) -> Expr {
    const std::string block = "model.layers.{layer}.block_sparse_moe.";
    if (std::string_view(part.huggingface) == "down_proj") return block + "output_linear.weight";
    const std::int64_t first = std::string_view(part.huggingface) == "up_proj" ? inner : 0;
    return slice(block + "input_linear.weight", 1, first, first + inner);
  };
  experts.shared_gate_up = {"ffn_gate_up_shexp", "shared_mlp.input_linear"};
  experts.shared_down.huggingface = "shared_mlp.output_linear";
}

// Granite 4 without experts: the shared one is the feed-forward part.
void name_dense(Decoder& model) {
  model.tensors.gate_up = {"ffn_gate_up", "shared_mlp.input_linear"};
  model.tensors.down.huggingface = "shared_mlp.output_linear";
}

void read_gguf(const Config& config, const Variant& variant, Model& model) {
  Decoder& decoder = model.decoder;
  const std::string prefix = variant.gguf;
  decoder = read_gguf_decoder(config, prefix, NACELLE_ROPE_INTERLEAVED);
  decoder.qkv_bias = decoder.output_bias = decoder.feed_forward_bias = Bias::kOptional;
  if (variant.may_share)
    decoder.experts.shared_width = config.optional_size(prefix + ".expert_shared_feed_forward_length", 0).value_or(0);
  if (!variant.is_hybrid) return;
  decoder.uses_rope = config.optional_bool(prefix + ".rope.scaling.finetuned").value_or(true);
  model.mamba = read_gguf_mamba(config, prefix, decoder);
}

// config.json's layer_types: "mamba" or "attention", or, in what transformers 5 writes, "linear_attention" or
// "full_attention".
void read_layers(const Config& config, Decoder& model) {
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer) {
    const std::string kind = config.optional_item("layer_types", layer).value_or("nothing");
    const bool is_mamba = kind == "mamba" || kind == "linear_attention";
    if (!is_mamba && kind != "attention" && kind != "full_attention")
      config.fail_key("layer_types",
                      "has '" + kind + "' for layer " + std::to_string(layer) + ", expected mamba or attention");
    model.recurrent_layers.push_back(is_mamba);
  }
}

void read_hybrid(const Config& config, Model& model) {
  Decoder& decoder = model.decoder;
  read_layers(config, decoder);
  const std::string positions = config.optional_string("position_embedding_type").value_or("nope");
  if (positions != "rope" && positions != "nope")
    config.fail_key("position_embedding_type", "is '" + positions + "', expected rope or nope");
  decoder.uses_rope = positions == "rope";
  if (std::ranges::find(decoder.recurrent_layers, true) == decoder.recurrent_layers.end()) return;
  model.mamba = read_huggingface_mamba(config, kPrefixedMambaKeys, decoder);
}

// attn_layer_indices are the layers that attend; the first half of each head turns.
void read_bamba(const Config& config, Model& model) {
  Decoder& decoder = model.decoder;
  const char* key = "attn_layer_indices";
  decoder.recurrent_layers.assign(decoder.layer_count, true);
  for (const double layer : config.optional_numbers(key, decoder.layer_count).value_or(std::vector<double>())) {
    if (!(layer >= 0 && layer < decoder.layer_count) || layer != std::floor(layer))
      config.fail_key(key, "names a layer that is none of " + std::to_string(decoder.layer_count));
    decoder.recurrent_layers[static_cast<std::size_t>(layer)] = false;
  }
  if (!config.optional_number("partial_rotary_factor") &&
      !config.optional_number("rope_parameters.partial_rotary_factor"))
    decoder.rope.rotary_width = decoder.head_width / 2;
  decoder.rope.style = NACELLE_ROPE_INTERLEAVED;  // as GGUF has it: the halves of a part are turned in this file
  model.mamba = read_huggingface_mamba(config, kPrefixedMambaKeys, decoder);
}

void name_bamba(Tensors& tensors) {
  tensors.output_norm.huggingface = "final_layernorm";
  tensors.feed_forward_norm.huggingface = "pre_ff_layernorm";
  tensors.gate.huggingface = "feed_forward.gate_proj";
  tensors.up.huggingface = "feed_forward.up_proj";
  tensors.down.huggingface = "feed_forward.down_proj";
}

void read_huggingface(const Config& config, const Variant& variant, Model& model) {
  Decoder& decoder = model.decoder;
  decoder = read_huggingface_decoder(config);
  if (is_bamba(config)) return read_bamba(config, model);
  if (config.optional_bool("attention_bias").value_or(false)) decoder.qkv_bias = decoder.output_bias = Bias::kAlways;
  if (config.optional_bool("mlp_bias").value_or(false)) decoder.feed_forward_bias = Bias::kAlways;
  if (variant.is_hybrid) read_hybrid(config, model);
  if (!variant.has_experts) return;
  Experts& experts = decoder.experts;
  experts.count = config.size("num_local_experts", variant.is_hybrid ? 0 : 1, 4096);
  const std::uint32_t shared = config.optional_size("shared_intermediate_size", 0).value_or(0);
  if (experts.count == 0) {
    if (shared == 0) config.fail_key("shared_intermediate_size", "is missing or 0 in a model without experts");
    decoder.feed_forward_width = shared;
    return;
  }
  experts.used = config.size("num_experts_per_tok", 1, experts.count);
  experts.width = decoder.feed_forward_width;
  experts.shared_width = shared;
}

Model read_model(const Config& whole) {
  const Variant& variant = *variant_of(whole);
  const Config config = text_part(whole);
  Model model;
  config.is_gguf() ? read_gguf(config, variant, model) : read_huggingface(config, variant, model);
  Decoder& decoder = model.decoder;
  decoder.tensors.gguf_pairs = true;
  if (sees(whole) || config.architecture() == "granite") name_text_part(whole, decoder);
  const bool bare = is_bamba(config);
  bare ? name_bamba(decoder.tensors) : read_scales(config, decoder);
  if (decoder.experts.count)
    name_experts(decoder.experts);
  else if (variant.is_hybrid && !bare)
    name_dense(decoder);
  model.mamba.tensors = kMambaModule;
  model.mamba.layer_count = static_cast<std::uint32_t>(std::ranges::count(decoder.recurrent_layers, true));
  return model;
}

struct Granite : DecoderFamily<Granite, MambaGraph> {
  static bool match(const Config& config) { return variant_of(config); }
  static Model read(const Config& config) { return read_model(config); }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Granite, "granite", "0.1.0")
