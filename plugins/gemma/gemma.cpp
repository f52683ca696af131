// Gemma 1 to 3, of models that see images the part about text: embeddings scaled by the square root of the width, GELU
// gates, norms whose stored weights lack 1 (GGUF adds it on conversion). Gemma 2 adds norms behind both halves of a
// block, soft caps, and a window on every second layer; Gemma 3 has norms of queries and keys instead of caps, and a
// rope of its own on windowed layers.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

struct Generation {
  const char* gguf;
  std::vector<const char*> huggingface;
  std::uint32_t number;
  std::uint32_t full_attention_period;   // every n-th layer sees everything; 0: all do
  std::uint32_t scaled_by_width_layers;  // GGUF does not say it: the model of so many layers scales by width / heads
};
const Generation kGenerations[] = {{"gemma", {"GemmaForCausalLM"}, 1, 0, 0},
                                   {"gemma2", {"Gemma2ForCausalLM"}, 2, 2, 46},
                                   {"gemma3", {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"}, 3, 6, 62}};

const Generation* generation_of(const Config& config) {
  for (const Generation& generation : kGenerations) {
    if (config.is_gguf() && config.architecture() == generation.gguf) return &generation;
    if (!config.is_gguf())
      for (const char* name : generation.huggingface)
        if (config.architecture() == name) return &generation;
  }
  return nullptr;
}

// Windowed layers of Gemma 3 turn with a base of their own, and without scaling.
void set_local_rope(Decoder& model, const std::vector<bool>& is_local, double base) {
  auto local = rope_attributes(NACELLE_ROPE_HALF, model.head_width, base);
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer)
    model.layer_ropes.push_back(is_local[layer] ? local : model.rope);
}

std::vector<bool> local_layers(const Config& config, const Decoder& model, std::uint32_t period) {
  std::vector<bool> local(model.layer_count);
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer) {
    const auto kind = config.is_gguf() ? std::nullopt : config.optional_item("layer_types", layer);
    local[layer] = kind ? *kind == "sliding_attention" : period && (layer + 1) % period != 0;
  }
  return local;
}

void read_gguf(const Config& config, const Generation& generation, Decoder& model) {
  const auto number = [&](const char* name) {
    return config.optional_number(std::string(generation.gguf) + "." + name).value_or(0);
  };
  model.attention_soft_cap = number("attn_logit_softcapping");
  model.logit_soft_cap = number("final_logit_softcapping");
  if (generation.number == 2 && !model.attention_soft_cap) model.attention_soft_cap = 50;
  if (generation.number == 2 && !model.logit_soft_cap) model.logit_soft_cap = 30;
  if (generation.scaled_by_width_layers == model.layer_count)
    model.attention_scale = 1 / std::sqrt(static_cast<double>(model.width) / model.head_count);
  const auto window = config.optional_size(std::string(generation.gguf) + ".attention.sliding_window").value_or(4096);
  std::ranges::fill(model.windows, 0u);
  if (generation.full_attention_period) set_window_pattern(model, window, generation.full_attention_period);
  if (generation.number == 3) {
    const double base = number("rope.freq_base_swa");
    set_local_rope(model, local_layers(config, model, generation.full_attention_period), base > 0 ? base : 10000);
  }
}

void read_huggingface(const Config& config, const Generation& generation, Decoder& model) {
  const auto activation = config.optional_string("hidden_activation");  // Gemma 1 wrote "gelu" and meant this
  if (activation) model.activation = read_huggingface_activation(config, "hidden_activation");
  model.norm_offset = 1;
  if (generation.number == 1) return;
  model.attention_scale = 1 / std::sqrt(config.optional_number("query_pre_attn_scalar").value_or(256));
  model.attention_soft_cap = config.optional_number("attn_logit_softcapping").value_or(0);
  model.logit_soft_cap = config.optional_number("final_logit_softcapping").value_or(0);
  const std::uint32_t period =
      config.optional_size("sliding_window_pattern").value_or(generation.full_attention_period);
  const std::uint32_t window = config.optional_size("sliding_window").value_or(4096);
  if (!read_layer_types(config, model, window)) set_window_pattern(model, window, period);
  if (generation.number == 3)
    set_local_rope(model, local_layers(config, model, period),
                   config.optional_number("rope_local_base_freq").value_or(10000));
}

struct Gemma : DecoderFamily<Gemma> {
  static bool match(const Config& config) { return generation_of(config) != nullptr; }
  static Decoder read(const Config& whole) {
    const Generation& generation = *generation_of(whole);
    const Config config = text_part(whole);
    HuggingFaceKeys keys{.activation = "", .tied = true};
    const bool sees = !whole.is_gguf() && whole.architecture() == "Gemma3ForConditionalGeneration";
    if (sees) {  // whose files leave out what transformers has as its defaults
      keys.head_count = 8;
      keys.kv_head_count = 4;
      keys.head_width = 256;
      keys.vocabulary = 262208;
      keys.context_length = 131072;
    }
    Decoder model = config.is_gguf() ? read_gguf_decoder(config, generation.gguf, NACELLE_ROPE_HALF)
                                     : read_huggingface_decoder(config, keys);
    if (sees && !config.optional_number("rope_theta")) model.rope.base = 1e6;
    if (generation.number == 3) name_text_part(whole, model);
    model.embedding_scale = std::sqrt(static_cast<double>(model.width));
    model.activation = NACELLE_ACT_GELU_TANH;
    if (generation.number == 3) model.head_norm = HeadNorm::kEachHead;
    if (generation.number > 1) {
      model.tensors.attention_post_norm = {"post_attention_norm", "post_attention_layernorm"};
      model.tensors.feed_forward_norm = {"ffn_norm", "pre_feedforward_layernorm"};
      model.tensors.feed_forward_post_norm = {"post_ffw_norm", "post_feedforward_layernorm"};
    }
    config.is_gguf() ? read_gguf(config, generation, model) : read_huggingface(config, generation, model);
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Gemma, "gemma", "0.1.0")
