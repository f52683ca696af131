// One row a family of safetensors; what the rows do not say is alike in all.
#include "core/compress/gguf_keys.hpp"

#include <algorithm>
#include <functional>
#include <nacelle/plugin.hpp>
#include <nacelle/rope.hpp>

#include "core/formats/file_error.hpp"

namespace nacelle::compress {

std::optional<double> number_of(const ConfigValue* value) {
  if (const auto* real = value ? std::get_if<double>(value) : nullptr) return *real;
  const auto* whole = value ? std::get_if<std::int64_t>(value) : nullptr;
  return whole ? std::optional(static_cast<double>(*whole)) : std::nullopt;
}

namespace {

// What a family has keys for beside those of all.
enum Has : std::uint32_t {
  kKvHeadsByLayer = 1 << 0,  // 0 where a layer keeps a state
  kWidthByLayer = 1 << 1,    // of the feed-forward part, 0 where there is none
  kLeadingDense = 1 << 2,    // plain layers before those with experts
  kSharedCount = 1 << 3,     // of the experts that every token uses
  kSharedWidth = 1 << 4,     // of all of them together
  kRouting = 1 << 5,         // scores, their scale and whether they are divided by their sum
  kScan = 1 << 6,            // a state's sizes under ssm.*
  kLatent = 1 << 7,          // multi-head latent attention
  kMayLackRope = 1 << 8,     // and says so
  kBothEpsilons = 1 << 9,    // under the key of layer norms too
  kEachShared = 1 << 10,     // kSharedWidth is that of one
  kEndless = 1 << 11,        // whose context is a million tokens, whatever the configuration says
  kYarnDivided = 1 << 12,    // YaRN's magnitude by that of mscale_all_dim
  kRopeList = 1 << 13,       // a list of what frequencies are divided by is a tensor that all readers know
  kMamba1 = 1 << 14,         // kScan of channels, whose steps come from few numbers
};

class KeyWriter;

struct Family {
  const char *huggingface, *gguf;
  std::uint32_t has = 0;
  void (*more)(KeyWriter&) = nullptr;
};

class KeyWriter {
 public:
  KeyWriter(const ModelFiles& files, const ModelGraph& model, const Family& family, std::string name, GgufWriter& to)
      : files_(files),
        graph_(model.graph),
        about_(model.description),
        has_(family.has),
        name_(std::move(name)),
        to_(to) {}

  void run() {
    to_.set("general.architecture", name_);
    to_.set("general.type", "model");
    to_.set("general.name", files_.stem());
    write_sizes();
    write_attention();
    write_norms();
    write_rope();
    write_experts();
    if (has_ & kScan) write_scan();
    if (has_ & kLatent) write_latent();
  }

  // ---- Keys ----
  template <class T>
  void set(const std::string& key, const T& value) {
    to_.set(name_ + "." + key, value);
  }
  void set_list(const std::string& key, const std::vector<std::int32_t>& values) {
    to_.set(name_ + "." + key, std::span<const std::int32_t>(values));
  }

  // ---- config.json, of a model that sees images the part about text ----
  const ConfigValue* value(const std::string& key) const {
    const ConfigValue* inside = files_.config("text_config." + key);
    return inside ? inside : files_.config(key);
  }
  std::optional<double> number(const std::string& key) const { return number_of(value(key)); }
  float needed(const std::string& key) const {
    const auto found = number(key);
    if (!found) refuse("config.json: '" + key + "' is missing or no number");
    return static_cast<float>(*found);
  }
  std::uint32_t whole(const std::string& key) const { return static_cast<std::uint32_t>(needed(key)); }
  bool flag(const std::string& key, bool otherwise) const {
    const ConfigValue* found = value(key);
    const auto* set = found ? std::get_if<bool>(found) : nullptr;
    return set ? *set : otherwise;
  }
  std::vector<std::int32_t> list(const std::string& key) const {
    std::vector<std::int32_t> out;
    const ConfigValue* found = value(key);
    const auto* array = found ? std::get_if<ConfigArray>(found) : nullptr;
    const auto* all = array ? std::get_if<std::vector<std::int64_t>>(&array->values) : nullptr;
    if (all)
      for (const std::int64_t one : *all) out.push_back(static_cast<std::int32_t>(one));
    return out;
  }

  // ---- The graph ----
  template <class Attributes, class Fits>
  std::optional<Attributes> first(std::uint32_t kind, Fits fits) const {
    for (const sdk::OpRecord& op : graph_.ops)
      if (op.kind == kind)
        if (const auto own = op.attributes.as<Attributes>(); fits(own)) return own;
    return std::nullopt;
  }
  template <class Attributes>
  std::optional<Attributes> first(std::uint32_t kind) const {
    return first<Attributes>(kind, [](const Attributes&) { return true; });
  }
  // Of either kind.
  std::optional<nacelle_attention_attributes> attention() const {
    const auto plain = first<nacelle_attention_attributes>(NACELLE_OP_ATTENTION);
    return plain ? plain : first<nacelle_attention_attributes>(NACELLE_OP_CHUNKED_ATTENTION);
  }
  // Layers that have such an operation.
  std::vector<bool> layers_with(std::uint32_t kind) const {
    std::vector<bool> found(about_.layer_count);
    for (const sdk::OpRecord& op : graph_.ops)
      if (op.kind == kind && op.layer >= 0) found.at(static_cast<std::size_t>(op.layer)) = true;
    return found;
  }
  // An extent of the first weight of that name in any layer, or in one; 0 where there is none.
  std::uint32_t extent(const std::string& weight, std::size_t axis, std::int32_t layer = -1) const {
    for (const sdk::WeightRecord& one : graph_.weights) {
      if (!one.name.ends_with("." + weight) || (layer >= 0 && one.layer != layer)) continue;
      return static_cast<std::uint32_t>(graph_.values[one.value].shape[axis]);
    }
    return 0;
  }
  std::uint32_t layer_count() const { return about_.layer_count; }

  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorKind::kUnsupported, files_.path().string() + ": " + what);
  }

 private:
  void write_sizes() {
    set("block_count", about_.layer_count);
    set("context_length", has_ & kEndless ? std::uint32_t{1} << 20 : about_.context_length);
    set("embedding_length", about_.width);
    set("vocab_size", about_.vocabulary);
    const std::uint32_t dense = extent("ffn_up.weight", 0), experts = extent("ffn_up_exps.weight", 1);
    if (has_ & kWidthByLayer) {
      std::vector<std::int32_t> widths;
      for (std::uint32_t layer = 0; layer < about_.layer_count; ++layer) {
        const auto own = static_cast<std::int32_t>(layer);
        const std::uint32_t plain = extent("ffn_up.weight", 0, own), each = extent("ffn_up_exps.weight", 1, own);
        widths.push_back(static_cast<std::int32_t>(plain ? plain : each));
      }
      return set_list("feed_forward_length", widths);
    }
    const auto said = number("intermediate_size");  // also where all layers have experts
    const auto otherwise = said ? static_cast<std::uint32_t>(*said) : experts;
    if (dense || !experts || otherwise) set("feed_forward_length", dense ? dense : otherwise);
  }

  void write_attention() {
    const auto own = attention();
    set("attention.head_count", own ? own->head_count : std::uint32_t{0});
    if (!own) return;
    if (has_ & kKvHeadsByLayer) {
      std::vector<std::int32_t> heads;
      for (const bool attends : layers_with(NACELLE_OP_ATTENTION))
        heads.push_back(attends ? static_cast<std::int32_t>(own->kv_head_count) : 0);
      set_list("attention.head_count_kv", heads);
    } else {
      set("attention.head_count_kv", own->kv_head_count);
    }
    set("attention.key_length", own->key_width);
    set("attention.value_length", own->value_width);
    if (own->alibi_bias != 0) set("attention.max_alibi_bias", own->alibi_bias);
    if (own->soft_cap != 0) set("attn_logit_softcapping", own->soft_cap);
    const auto cap =
        first<nacelle_scale_attributes>(NACELLE_OP_SCALE, [](const auto& one) { return one.soft_cap != 0; });
    if (cap) set("final_logit_softcapping", cap->soft_cap);
    const auto windowed =
        first<nacelle_attention_attributes>(NACELLE_OP_ATTENTION, [](const auto& one) { return one.window != 0; });
    // A window that the context never leaves is none in the graph, and readers may still want the key.
    const auto said = flag("use_sliding_window", true) ? number("sliding_window") : std::nullopt;
    if (windowed || said)
      set("attention.sliding_window", windowed ? windowed->window : static_cast<std::uint32_t>(*said));
  }

  // The last norm is the one of the whole width.
  void write_norms() {
    const auto last = std::ranges::find_if(graph_.ops.rbegin(), graph_.ops.rend(), [](const sdk::OpRecord& op) {
      return op.kind == NACELLE_OP_RMS_NORM || op.kind == NACELLE_OP_LAYER_NORM;
    });
    if (last == graph_.ops.rend()) return;
    const float epsilon = last->attributes.as<nacelle_norm_attributes>().epsilon;
    const bool is_rms = last->kind == NACELLE_OP_RMS_NORM;
    if (is_rms) set("attention.layer_norm_rms_epsilon", epsilon);
    if (!is_rms || (has_ & kBothEpsilons)) set("attention.layer_norm_epsilon", epsilon);
  }

  // Layers with a window may turn otherwise; without a rope of their own the others say nothing.
  std::optional<nacelle_rope_attributes> rope_of_layers(bool windowed) const {
    std::vector<bool> has_window(about_.layer_count);
    for (const sdk::OpRecord& op : graph_.ops)
      if (op.kind == NACELLE_OP_ATTENTION && op.attributes.as<nacelle_attention_attributes>().window != 0)
        has_window.at(static_cast<std::size_t>(op.layer)) = true;
    for (const sdk::OpRecord& op : graph_.ops)
      if (op.kind == NACELLE_OP_ROPE && has_window.at(static_cast<std::size_t>(op.layer)) == windowed)
        return op.attributes.as<nacelle_rope_attributes>();
    return std::nullopt;
  }

  void write_rope() {
    const auto wide = rope_of_layers(false), narrow = rope_of_layers(true);
    const auto rope = wide ? wide : narrow;
    if (!rope) return write_no_rope(attention());
    if (narrow && narrow->base != rope->base) set("rope.freq_base_swa", narrow->base);
    set("rope.dimension_count", rope->rotary_width);
    set("rope.freq_base", rope->base);
    for (const sdk::WeightRecord& weight : graph_.weights)
      if (weight.name == "rope_freqs.weight" && !(has_ & kRopeList))
        refuse("a rope scaling whose frequencies are a list (YaRN with truncate: false) cannot be said in GGUF");
    switch (rope->scaling) {
      case NACELLE_ROPE_SCALE_NONE:
      case NACELLE_ROPE_SCALE_LLAMA3: return;  // the latter becomes a tensor
      case NACELLE_ROPE_SCALE_LINEAR:
        set("rope.scaling.type", "linear");
        return set("rope.scaling.factor", rope->factor);
      case NACELLE_ROPE_SCALE_YARN: return write_yarn(*rope);
      case NACELLE_ROPE_SCALE_LONGROPE:  // whose factors are tensors
        set("rope.scaling.original_context_length", rope->original_context);
        return set("rope.scaling.attn_factor", make_rope_table(*rope, about_.context_length).magnitude);
      default: refuse("its rope scaling is not known in GGUF");
    }
  }

  // Readers want the sizes all the same.
  void write_no_rope(const std::optional<nacelle_attention_attributes>& attention) {
    if (!(has_ & (kMayLackRope | kLatent)) || !attention) return;
    set("rope.dimension_count", has_ & kLatent ? whole("qk_rope_head_dim") : attention->key_width);
    if (const auto base = number("rope_theta")) set("rope.freq_base", static_cast<float>(*base));
    if (has_ & kMayLackRope) set("rope.scaling.finetuned", false);
  }

  void write_yarn(const nacelle_rope_attributes& rope) {
    set("rope.scaling.type", "yarn");
    set("rope.scaling.factor", rope.factor);
    set("rope.scaling.original_context_length", rope.original_context);
    if (rope.beta_fast != 32) set("rope.scaling.yarn_beta_fast", rope.beta_fast);
    if (rope.beta_slow != 1) set("rope.scaling.yarn_beta_slow", rope.beta_slow);
    if (has_ & kLatent) {  // whose scores grow instead
      const auto before = number("rope_scaling.mscale_all_dim");
      const auto grown = before ? before : number("rope_parameters.mscale_all_dim");
      return set("rope.scaling.yarn_log_multiplier", static_cast<float>(0.1 * grown.value_or(0)));
    }
    auto plain = rope;
    plain.attention_factor = 0;
    float own = make_rope_table(plain, about_.context_length).magnitude;
    if (has_ & kYarnDivided) {
      const auto all = static_cast<float>(number("rope_parameters.mscale_all_dim").value_or(0));
      set("rope.scaling.yarn_log_multiplier", all);
      own /= 0.1f * all * std::log(rope.factor) + 1;
    }
    const float found = make_rope_table(rope, about_.context_length).magnitude;
    if (std::abs(found / own - 1) > 1e-6f) set("rope.scaling.attn_factor", found / own);
  }

  void write_experts() {
    const std::uint32_t count = extent("ffn_up_exps.weight", 0), width = extent("ffn_up_exps.weight", 1);
    if (count == 0) return;
    // Heads may go as experts, of which all are used.
    const auto route = first<nacelle_moe_attributes>(NACELLE_OP_MOE_ROUTE, [&](const nacelle_moe_attributes& one) {
      return one.expert_count == count && one.used_count < count;
    });
    if (!route) refuse("a mixture that uses all of its experts is not written as GGUF");
    set("expert_count", count);
    set("expert_used_count", route->used_count);
    set("expert_feed_forward_length", width);
    const std::uint32_t shared = extent("ffn_up_shexp.weight", 0);
    auto several = number("num_shared_experts");
    for (const char* key : {"n_shared_experts", "moe_num_shared_experts"})
      if (!several) several = number(key);
    const auto shared_count = several ? static_cast<std::uint32_t>(*several) : shared / width;
    if (has_ & kSharedCount) set("expert_shared_count", shared_count);
    if ((has_ & kSharedWidth) && shared)
      set("expert_shared_feed_forward_length", has_ & kEachShared ? shared / std::max(shared_count, 1u) : shared);
    if (has_ & kLeadingDense) {
      std::uint32_t leading = 0;
      while (leading < about_.layer_count && !extent("ffn_up_exps.weight", 0, static_cast<std::int32_t>(leading)))
        ++leading;
      set("leading_dense_block_count", leading);
    }
    if (!(has_ & kRouting)) return;
    set("expert_weights_scale", route->scale);
    set("expert_weights_norm", route->renormalise != 0);
    set("expert_gating_func", std::uint32_t{route->routing == NACELLE_ROUTE_SIGMOID ? 2u : 1u});
    if (route->group_count > 1) {
      set("expert_group_count", route->group_count);
      set("expert_group_used_count", route->group_used);
    }
  }

  void write_scan() {
    const auto scan = first<nacelle_scan_attributes>(NACELLE_OP_STATE_SCAN);
    const auto window = first<nacelle_convolution_attributes>(NACELLE_OP_CONVOLUTION);
    if (!scan || !window) return;
    set("ssm.conv_kernel", window->length);
    set("ssm.inner_size", scan->head_count * scan->value_width);
    set("ssm.state_size", scan->key_width);
    if (has_ & kMamba1) return set("ssm.time_step_rank", extent("ssm_dt.weight", 1));
    set("ssm.time_step_rank", scan->head_count);
    set("ssm.group_count", scan->group_count);
  }

  void write_latent() {
    if (const auto rank = number("q_lora_rank")) set("attention.q_lora_rank", static_cast<std::uint32_t>(*rank));
    set("attention.kv_lora_rank", whole("kv_lora_rank"));
    set("attention.key_length_mla", whole("qk_nope_head_dim") + whole("qk_rope_head_dim"));
    set("attention.value_length_mla", whole("v_head_dim"));
  }

  const ModelFiles& files_;
  const sdk::GraphRecord& graph_;
  const nacelle_model_description& about_;
  const std::uint32_t has_;
  const std::string name_;
  GgufWriter& to_;
};

// ---- What a family alone has ---------------------------------------------------------------------------------------

void granite(KeyWriter& keys) {
  keys.set("embedding_scale", keys.needed("embedding_multiplier"));
  keys.set("residual_scale", keys.needed("residual_multiplier"));
  keys.set("attention.scale", keys.needed("attention_multiplier"));
  keys.set("logit_scale", keys.needed("logits_scaling"));
}

void logit_scale(KeyWriter& keys) {
  keys.set("logit_scale", static_cast<float>(keys.number("logit_scale").value_or(0.0625)));
}

void parallel_residual(KeyWriter& keys, bool otherwise) {
  keys.set("use_parallel_residual", keys.flag("use_parallel_residual", otherwise));
}
void gpt_neox(KeyWriter& keys) { parallel_residual(keys, true); }
void stablelm(KeyWriter& keys) { parallel_residual(keys, false); }

// Steps are of the length that YaRN starts from, where no other is said.
void mistral3(KeyWriter& keys) {
  const auto growth = keys.first<nacelle_position_scale_attributes>(NACELLE_OP_POSITION_SCALE);
  if (!growth) return;
  keys.set("attention.temperature_scale", growth->strength);
  const auto rope = keys.first<nacelle_rope_attributes>(NACELLE_OP_ROPE);
  if (!rope || rope->original_context != growth->length) keys.set("attention.temperature_length", growth->length);
}

// What readers take for granted is left out; another order of the layers that turn cannot be said, which the comparison
// of the graphs tells.
void llama4(KeyWriter& keys) {
  const std::vector<bool> mixed = keys.layers_with(NACELLE_OP_MOE_ROUTE);
  const auto first = std::ranges::find(mixed, true) - mixed.begin();
  keys.set("interleave_moe_layer_step", static_cast<std::uint32_t>(first + 1));
  keys.set("feed_forward_length", static_cast<std::uint32_t>(keys.number("intermediate_size_mlp").value_or(16384)));
  const auto chunks = keys.first<nacelle_attention_attributes>(NACELLE_OP_CHUNKED_ATTENTION);
  if (chunks && chunks->window != 8192) keys.set("attention.sliding_window", chunks->window);
  const auto growth = keys.first<nacelle_position_scale_attributes>(NACELLE_OP_POSITION_SCALE);
  const float strength = growth ? growth->strength : 0;
  if (strength != 0.1f) keys.set("attention.temperature_scale", strength);
  if (growth && growth->length != 8192) keys.set("attention.temperature_length", growth->length);
}

// Experts in each layer behind the plain ones.
void mixture_step(KeyWriter& keys) { keys.set("interleave_moe_layer_step", std::uint32_t{1}); }

void lfm2(KeyWriter& keys) {
  const auto window = keys.first<nacelle_convolution_attributes>(NACELLE_OP_CONVOLUTION);
  if (!window) keys.refuse("a model of the family without convolutions is not written as GGUF");
  keys.set("shortconv.l_cache", window->length);
}

// The norms in a layer, without weights, may have an epsilon of their own, which llama.cpp does not know.
void mamba(KeyWriter& keys) {
  const auto is_inner = [](const nacelle_norm_attributes& norm) { return norm.group != 0; };
  const auto inner = keys.first<nacelle_norm_attributes>(NACELLE_OP_RMS_NORM, is_inner);
  const auto outer = keys.first<nacelle_norm_attributes>(NACELLE_OP_RMS_NORM, std::not_fn(is_inner));
  keys.set("ssm.dt_b_c_rms", inner.has_value());
  if (inner && outer && inner->epsilon != outer->epsilon) keys.set("ssm.dt_b_c_rms_epsilon", inner->epsilon);
}

// Readers want them in models without a mixture, too.
void jamba(KeyWriter& keys) {
  const auto route = keys.first<nacelle_moe_attributes>(NACELLE_OP_MOE_ROUTE);
  if (route) return;
  keys.set("expert_count", std::uint32_t{1});
  keys.set("expert_used_count", std::uint32_t{1});
}

void kimi_linear(KeyWriter& keys) {
  const auto window = keys.first<nacelle_convolution_attributes>(NACELLE_OP_CONVOLUTION);
  const auto scan = keys.first<nacelle_scan_attributes>(NACELLE_OP_STATE_SCAN);
  if (!window || !scan) keys.refuse("a model of the family without delta attention is not written as GGUF");
  keys.set("ssm.conv_kernel", window->length);
  keys.set("kda.head_dim", scan->key_width);
}

// Every so many layers attend; another order cannot be said, which the comparison of the graphs tells.
void attention_interval(KeyWriter& keys) {
  const std::vector<bool> attending = keys.layers_with(NACELLE_OP_ATTENTION);
  const auto at = std::ranges::find(attending, true);
  keys.set("full_attention_interval", static_cast<std::uint32_t>(at - attending.begin() + 1));
}

void minicpm(KeyWriter& keys) {
  const auto number = [&](const char* key, double otherwise) {
    return static_cast<float>(keys.number(key).value_or(otherwise));
  };
  const float width = keys.needed("hidden_size"), layers = static_cast<float>(keys.layer_count());
  keys.set("embedding_scale", number("scale_emb", 12));
  keys.set("residual_scale", number("scale_depth", 1.4) / std::sqrt(layers));
  keys.set("logit_scale", width / number("dim_model_base", 256));
}

// How the columns of rope are divided among time, height and width: for text all three are alike.
void sections_of_rope(KeyWriter& keys) {
  std::vector<std::int32_t> sections = keys.list("rope_parameters.mrope_section");
  if (sections.empty()) sections = keys.list("rope_scaling.mrope_section");
  if (sections.empty())
    if (const auto rope = keys.first<nacelle_rope_attributes>(NACELLE_OP_ROPE)) {
      const auto pairs = static_cast<std::int32_t>(rope->rotary_width / 2), third = (pairs + 2) / 3;
      sections = {third, (pairs - third + 1) / 2, (pairs - third) / 2};
    }
  sections.resize(4);
  keys.set_list("rope.dimension_sections", sections);
}

void image_sections(KeyWriter& keys) {
  attention_interval(keys);
  sections_of_rope(keys);
}

constexpr std::uint32_t kHybrid = kKvHeadsByLayer | kScan | kMayLackRope;
constexpr std::uint32_t kMixture = kLeadingDense | kSharedCount | kRouting;
constexpr std::uint32_t kDeepSeek = kMixture | kLatent;
constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama"},
    {"MistralForCausalLM", "llama"},
    {"MixtralForCausalLM", "llama"},
    {"Qwen2ForCausalLM", "qwen2"},
    {"Qwen3ForCausalLM", "qwen3"},
    {"Qwen3MoeForCausalLM", "qwen3moe"},
    {"GemmaForCausalLM", "gemma"},
    {"Gemma2ForCausalLM", "gemma2"},
    {"Gemma3ForCausalLM", "gemma3"},
    {"Phi3ForCausalLM", "phi3"},
    {"Mistral3ForConditionalGeneration", "llama", kYarnDivided, mistral3},
    {"Ministral3ForCausalLM", "mistral3", kYarnDivided, mistral3},
    {"Gemma3ForConditionalGeneration", "gemma3"},
    {"SmolLM3ForCausalLM", "smollm3"},
    {"SeedOssForCausalLM", "seed_oss"},
    {"HunYuanDenseV1ForCausalLM", "hunyuan-dense"},
    {"Ernie4_5ForCausalLM", "ernie4_5"},
    {"Ernie4_5_MoeForCausalLM", "ernie4_5-moe", kLeadingDense | kSharedCount | kSharedWidth, mixture_step},
    {"HunYuanMoEV1ForCausalLM", "hunyuan-moe", kSharedCount | kSharedWidth},
    {"ArceeForCausalLM", "arcee"},
    {"InternLM2ForCausalLM", "internlm2"},
    {"InternLM3ForCausalLM", "llama"},
    {"XverseForCausalLM", "xverse"},
    {"DeepseekForCausalLM", "deepseek", kMixture},
    {"LlavaForConditionalGeneration: llama", "llama"},
    {"LlavaForConditionalGeneration: mistral", "llama"},
    {"LlavaNextForConditionalGeneration: llama", "llama"},
    {"LlavaNextForConditionalGeneration: mistral", "llama"},
    {"LlavaNextForConditionalGeneration: granite", "granite", 0, granite},
    {"ExaoneForCausalLM", "exaone"},
    {"OrionForCausalLM", "orion"},
    {"MiniCPMForCausalLM", "minicpm", 0, minicpm},
    {"MiMoForCausalLM", "qwen2"},
    {"Qwen2VLForConditionalGeneration", "qwen2vl", 0, sections_of_rope},
    {"Qwen2_5_VLForConditionalGeneration", "qwen2vl", 0, sections_of_rope},
    {"Qwen3VLForConditionalGeneration", "qwen3vl", 0, sections_of_rope},
    {"Qwen3VLMoeForConditionalGeneration", "qwen3vlmoe", 0, sections_of_rope},
    {"GlmForCausalLM", "chatglm"},
    {"ChatGLMModel", "chatglm"},
    {"ChatGLMForConditionalGeneration", "chatglm"},
    {"Llama4ForCausalLM", "llama4", kRopeList, llama4},
    {"Llama4ForConditionalGeneration", "llama4", kRopeList, llama4},
    {"ApertusForCausalLM", "apertus"},
    {"Dots1ForCausalLM", "dots1", kMixture},
    {"BailingMoeV2ForCausalLM", "bailingmoe2", kMixture | kSharedWidth | kEachShared},
    {"MiniMaxM2ForCausalLM", "minimax-m2", kRouting},
    {"GraniteForCausalLM", "granite", 0, granite},
    {"GraniteMoeForCausalLM", "granitemoe", 0, granite},
    {"GraniteMoeSharedForCausalLM", "granitemoe", kSharedWidth, granite},
    {"GraniteMoeHybridForCausalLM", "granitehybrid", kHybrid | kSharedWidth, granite},
    {"BambaForCausalLM", "granitehybrid", kHybrid},
    {"Qwen2MoeForCausalLM", "qwen2moe", kSharedWidth},
    {"Olmo2ForCausalLM", "olmo2"},
    {"Olmo3ForCausalLM", "olmo2"},
    {"OlmoeForCausalLM", "olmoe"},
    {"Glm4ForCausalLM", "glm4"},
    {"Glm4MoeForCausalLM", "glm4moe", kMixture},
    {"CohereForCausalLM", "command-r", 0, logit_scale},
    {"Cohere2ForCausalLM", "cohere2", 0, logit_scale},
    {"DeepseekV2ForCausalLM", "deepseek2", kDeepSeek},
    {"DeepseekV3ForCausalLM", "deepseek2", kDeepSeek},
    {"Glm4MoeLiteForCausalLM", "deepseek2", kDeepSeek},
    {"GptOssForCausalLM", "gpt-oss"},
    {"Exaone4ForCausalLM", "exaone4"},
    {"Starcoder2ForCausalLM", "starcoder2"},
    {"StableLmForCausalLM", "stablelm", 0, stablelm},
    {"PhiForCausalLM", "phi2"},
    {"GPT2LMHeadModel", "gpt2"},
    {"GPTBigCodeForCausalLM", "starcoder"},
    {"GPTNeoXForCausalLM", "gptneox", 0, gpt_neox},
    {"FalconForCausalLM", "falcon"},
    {"MPTForCausalLM", "mpt"},
    {"MptForCausalLM", "mpt"},
    {"Mamba2ForCausalLM", "mamba2", kScan | kEndless},
    {"MambaForCausalLM", "mamba", kScan | kMamba1 | kEndless, mamba},
    {"FalconMambaForCausalLM", "mamba", kScan | kMamba1 | kEndless, mamba},
    {"JambaForCausalLM", "jamba", kScan | kMamba1 | kKvHeadsByLayer, jamba},
    {"NemotronForCausalLM", "nemotron"},
    {"NemotronHForCausalLM", "nemotron_h",
     kHybrid | kWidthByLayer | kBothEpsilons | kSharedWidth | kSharedCount | kRouting},
    {"FalconH1ForCausalLM", "falcon-h1", kScan},
    {"Lfm2ForCausalLM", "lfm2", kKvHeadsByLayer, lfm2},
    {"Lfm2MoeForCausalLM", "lfm2moe", kKvHeadsByLayer | kLeadingDense | kRouting, lfm2},
    {"Qwen3NextForCausalLM", "qwen3next", kScan | kSharedWidth, attention_interval},
    {"Qwen3_5ForConditionalGeneration", "qwen35", kScan, image_sections},
    {"Qwen3_5ForCausalLM", "qwen35", kScan, image_sections},
    {"Qwen3_5MoeForConditionalGeneration", "qwen35moe", kScan | kSharedWidth, image_sections},
    {"Qwen3_5MoeForCausalLM", "qwen35moe", kScan | kSharedWidth, image_sections},
    {"KimiLinearForCausalLM", "kimi-linear", kDeepSeek | kKvHeadsByLayer, kimi_linear},
};

// Some classes have several names in GGUF, by what is in them.
std::string name_in_gguf(const Family& family, const sdk::GraphRecord& graph) {
  const auto has = [&](std::uint32_t kind) {
    return std::ranges::find(graph.ops, kind, &sdk::OpRecord::kind) != graph.ops.end();
  };
  std::string name = family.gguf;
  const bool has_experts = has(NACELLE_OP_MOE_ROUTE);
  if (name == "granitehybrid" && !has(NACELLE_OP_STATE_SCAN)) return has_experts ? "granitemoe" : "granite";
  if (name == "nemotron_h" && has_experts) return "nemotron_h_moe";
  if (family.huggingface == std::string_view("Mistral3ForConditionalGeneration") && has(NACELLE_OP_POSITION_SCALE))
    return "mistral3";
  return name;
}

}  // namespace

GgufFamily write_gguf_keys(const ModelFiles& files, const ModelGraph& model, GgufWriter& to) {
  std::string architecture = files.architecture();
  if (architecture.starts_with("Llava")) {  // whose part about text may be of several families
    const ConfigValue* text = files.config("text_config.model_type");
    const auto* name = text ? std::get_if<std::string_view>(text) : nullptr;
    if (name) architecture += ": " + std::string(*name);
  }
  const auto family = std::ranges::find(kFamilies, architecture, &Family::huggingface);
  if (family == std::end(kFamilies))
    throw Error(ErrorKind::kUnsupported, files.path().string() + ": the family " + in_quotes(architecture) +
                                             " is not written as GGUF here: convert it with llama.cpp's "
                                             "convert_hf_to_gguf.py first");
  const std::string name = name_in_gguf(*family, model.graph);
  Family own = *family;
  if (name == "granite" || name == "granitemoe") own.has &= ~kHybrid;
  if (name == "llama") own.has &= ~kYarnDivided;
  KeyWriter keys(files, model, own, name, to);
  keys.run();
  if (family->more) family->more(keys);
  return {name, name == "falcon-h1"};
}

}  // namespace nacelle::compress
