// Llama 4, of checkpoints that see images the part about text. Most layers turn, and attend within chunks of positions;
// every fourth turns nothing, sees everything, and its queries grow with their position. Where there are experts each
// row has one, which reads the row times the sigmoid of its score, and one that all rows share.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

// What GGUF leaves unsaid: llama.cpp knows no other.
constexpr std::uint32_t kChunk = 8192, kGrowthLength = 8192, kNoRopeInterval = 4;
constexpr double kGrowth = 0.1;

// True or false, or, in older files, a number.
bool is_set(const Config& config, const char* key, bool otherwise) {
  try {
    return config.optional_bool(key).value_or(otherwise);
  } catch (const Failure&) {
    return config.number(key) != 0;
  }
}

void set_layer(Decoder& model, std::uint32_t layer, bool turns, bool chunked, std::uint32_t chunk) {
  if (!turns) model.layer_ropes[layer].rotary_width = 0;
  if (chunked && chunk < model.context_length) model.windows[layer] = chunk;
}

// no_rope_layers has a 1 for each layer that turns.
void read_layers(const Config& config, Decoder& model) {
  const std::uint32_t chunk = config.optional_size("attention_chunk_size").value_or(kChunk);
  const std::uint32_t interval = config.optional_size("no_rope_layer_interval").value_or(kNoRopeInterval);
  const auto kept = config.optional_numbers("no_rope_layers", model.layer_count).value_or(std::vector<double>());
  if (!kept.empty() && kept.size() != model.layer_count)
    config.fail_key("no_rope_layers", "has " + std::to_string(kept.size()) + " entries for " +
                                          std::to_string(model.layer_count) + " layers");
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer) {
    const bool turns = kept.empty() ? (layer + 1) % interval != 0 : kept[layer] != 0;
    const auto kind = config.optional_item("layer_types", layer);
    if (kind && *kind != "chunked_attention" && *kind != "full_attention")
      config.fail_key("layer_types", "has '" + *kind + "' for layer " + std::to_string(layer));
    set_layer(model, layer, turns, kind ? *kind == "chunked_attention" : turns, chunk);
  }
}

// Those that moe_layers lists, or the last of each step.
void read_expert_layers(Decoder& model, const std::optional<std::vector<double>>& listed, std::uint32_t step) {
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer)
    model.experts.dense_layers.push_back(listed ? std::ranges::find(*listed, layer) == listed->end()
                                                : (layer + 1) % step != 0);
}

void name_experts(Decoder& model) {
  Experts& experts = model.experts;
  experts.router.huggingface = "feed_forward.router";
  experts.module = "feed_forward.experts.";
  experts.shared_gate.huggingface = "feed_forward.shared_expert.gate_proj";
  experts.shared_up.huggingface = "feed_forward.shared_expert.up_proj";
  experts.shared_down.huggingface = "feed_forward.shared_expert.down_proj";
  model.tensors.gate.huggingface = "feed_forward.gate_proj";
  model.tensors.up.huggingface = "feed_forward.up_proj";
  model.tensors.down.huggingface = "feed_forward.down_proj";
  // [experts, inputs, outputs], gate before up.
  const auto named = [names = model.tensors](const char* name) -> Expr {
    const std::string inside = std::string("layers.{layer}.feed_forward.experts.") + name;
    const Expr own = names.prefix + inside;
    return names.other_prefix.empty() ? own : first_of({own, names.other_prefix + inside});
  };
  const std::int64_t count = experts.count, inner = experts.width, width = model.width;
  experts.huggingface_source = [=](const Names& part, bool) -> Expr {
    if (std::string_view(part.huggingface) == "down_proj") return permute(named("down_proj"), {0, 2, 1});
    const std::int64_t which = std::string_view(part.huggingface) == "up_proj";
    const Expr halves = reshape(permute(named("gate_up_proj"), {0, 2, 1}), {count, 2, inner, width});
    return reshape(slice(halves, 1, which, which + 1), {count, inner, width});
  };
}

Decoder read_gguf(const Config& config) {
  Decoder model = read_gguf_decoder(config, "llama4", NACELLE_ROPE_INTERLEAVED);
  const auto key = [](const char* name) { return std::string("llama4.") + name; };
  const std::uint32_t chunk = config.optional_size(key("attention.sliding_window")).value_or(kChunk);
  const auto period = config.optional_size(key("attention.sliding_window_pattern")).value_or(kNoRopeInterval);
  if (period != kNoRopeInterval)
    config.fail_key(key("attention.sliding_window_pattern"), "is " + std::to_string(period) + ", expected 4");
  model.windows.assign(model.layer_count, 0);
  model.layer_ropes.assign(model.layer_count, model.rope);
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer) {
    const bool turns = (layer + 1) % kNoRopeInterval != 0;
    set_layer(model, layer, turns, turns, chunk);
  }
  model.query_growth.strength = config.optional_number(key("attention.temperature_scale")).value_or(kGrowth);
  model.query_growth.length = config.optional_size(key("attention.temperature_length")).value_or(kGrowthLength);
  read_expert_layers(model, std::nullopt, config.size(key("interleave_moe_layer_step")));
  // No key says it: the one with 128 experts, Maverick, has no norms.
  if (model.experts.count != 128) model.head_norm = HeadNorm::kUnweighted;
  model.qkv_bias = model.output_bias = Bias::kOptional;
  return model;
}

Decoder read_huggingface(const Config& config) {
  Decoder model = read_huggingface_decoder(config, {.feed_forward = ""});
  model.rope.style = NACELLE_ROPE_INTERLEAVED;
  model.feed_forward_width = config.optional_size("intermediate_size_mlp").value_or(16384);
  model.layer_ropes.assign(model.layer_count, model.rope);
  read_layers(config, model);
  if (is_set(config, "attn_temperature_tuning", true)) {
    model.query_growth.strength = config.optional_number("attn_scale").value_or(kGrowth);
    model.query_growth.length = config.optional_size("floor_scale").value_or(kGrowthLength);
  }
  model.experts.count = config.size("num_local_experts", 1, 4096);
  model.experts.used = config.optional_size("num_experts_per_tok").value_or(1);
  model.experts.width = config.size("intermediate_size");
  read_expert_layers(model, config.optional_numbers("moe_layers", model.layer_count),
                     config.optional_size("interleave_moe_layer_step").value_or(1));
  if (config.optional_bool("use_qk_norm").value_or(true)) model.head_norm = HeadNorm::kUnweighted;
  if (config.optional_bool("attention_bias").value_or(false)) model.qkv_bias = model.output_bias = Bias::kAlways;
  return model;
}

struct Llama4 : DecoderFamily<Llama4> {
  static bool match(const Config& config) {
    const auto name = config.architecture();
    return config.is_gguf() ? name == "llama4"
                            : name == "Llama4ForCausalLM" || name == "Llama4ForConditionalGeneration";
  }
  static Decoder read(const Config& whole) {
    const Config config = text_part(whole);
    Decoder model = config.is_gguf() ? read_gguf(config) : read_huggingface(config);
    model.chunked = true;
    model.query_growth.offset = 1;
    model.query_growth.without_rope = true;
    Experts& experts = model.experts;
    if (experts.used != 1)
      config.fail_key(config.is_gguf() ? "llama4.expert_used_count" : "num_experts_per_tok",
                      "is " + std::to_string(experts.used) +
                          ", expected 1: what an expert reads is multiplied by its weight, which others do not share");
    experts.routing = NACELLE_ROUTE_SIGMOID;
    experts.renormalise = false;
    experts.weighs_input = true;
    experts.shared_width = experts.width;
    name_text_part(whole, model);
    name_experts(model);
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Llama4, "llama4", "0.1.0")
