// The decoder families whose GGUF form follows from a table: names of tensors, and which keys of config.json go where.
#include "core/compress/huggingface.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <nacelle/rope.hpp>
#include <optional>

#include "core/compress/huggingface_tokenizer.hpp"
#include "core/formats/file_error.hpp"

namespace nacelle::compress {
namespace {

struct Family {
  const char *huggingface, *gguf;
  bool interleaved;   // GGUF turns neighbouring columns of Q and K, so their rows change places
  float norm_addend;  // Gemma's norms lack the 1 that GGUF's have
  bool norms_around;  // a norm behind attention and feed-forward too: post_attention_layernorm is such a one
};
constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", true, 0, false},   {"MistralForCausalLM", "llama", true, 0, false},
    {"MixtralForCausalLM", "llama", true, 0, false}, {"Qwen2ForCausalLM", "qwen2", false, 0, false},
    {"Qwen3ForCausalLM", "qwen3", false, 0, false},  {"Qwen3MoeForCausalLM", "qwen3moe", false, 0, false},
    {"GemmaForCausalLM", "gemma", false, 1, false},  {"Gemma2ForCausalLM", "gemma2", false, 1, true},
    {"Gemma3ForCausalLM", "gemma3", false, 1, true}, {"Phi3ForCausalLM", "phi3", false, 0, false},
};

struct Name {
  const char *huggingface, *gguf;
};
constexpr Name kWholeNames[] = {
    {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}};
constexpr Name kLayerNames[] = {
    {"input_layernorm", "attn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.gate_up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"block_sparse_moe.gate", "ffn_gate_inp"},
};
// Behind "mlp.experts.N." or "block_sparse_moe.experts.N.".
constexpr Name kExpertNames[] = {{"gate_proj", "ffn_gate_exps"}, {"up_proj", "ffn_up_exps"},
                                 {"down_proj", "ffn_down_exps"}, {"w1", "ffn_gate_exps"},
                                 {"w3", "ffn_up_exps"},          {"w2", "ffn_down_exps"}};

const char* find(std::span<const Name> names, std::string_view name) {
  for (const Name& one : names)
    if (name == one.huggingface) return one.gguf;
  return nullptr;
}

// Takes "PREFIX12." off the front of `text`.
std::optional<std::uint32_t> take_number(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return std::nullopt;
  std::uint32_t number;
  const char* begin = text.data() + prefix.size();
  const auto [end, code] = std::from_chars(begin, text.data() + text.size(), number);
  if (code != std::errc() || end == text.data() + text.size() || *end != '.') return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end + 1 - text.data()));
  return number;
}

class Converter {
 public:
  Converter(const ModelFiles& files, const Family& family)
      : files_(files),
        family_(family),
        prefix_(std::string(family.gguf) + "."),
        model_{.files = files, .tensors = {}, .metadata = {}, .traits = {}} {}

  SourceModel run() {
    refuse_quantized();
    read_sizes();
    write_sizes();
    write_attention();
    write_rope();
    for (const TensorInfo& info : files_.tensors()) add(info);
    join_experts();
    std::ranges::stable_sort(model_.tensors, {}, [](const SourceTensor& one) { return layer_of(one.name); });
    const auto embedding = std::ranges::find(model_.tensors, "token_embd.weight", &SourceTensor::name);
    if (embedding == model_.tensors.end())
      throw Error(ErrorKind::kCorrupt, files_.path().string() + ": tensor 'model.embed_tokens.weight' is missing");
    add_tokenizer(files_.path(), embedding->shape[0], model_.metadata);
    model_.traits.tied =
        std::ranges::find(model_.tensors, "output.weight", &SourceTensor::name) == model_.tensors.end();
    return std::move(model_);
  }

 private:
  static int layer_of(const std::string& name) {
    std::string_view rest = name;
    const auto layer = take_number(rest, "blk.");
    return layer ? static_cast<int>(*layer) : name.starts_with("output") ? 1 << 20 : -1;
  }

  void refuse_quantized() const {
    if (const auto method = text("quantization_config.quant_method"))
      throw Error(ErrorKind::kUnsupported, files_.path().string() + ": its weights are quantized by " +
                                               in_quotes(*method) + " already: give the folder they were made from");
  }

  // ---- config.json ----
  template <class T>
  std::optional<T> get(const std::string& key) const {
    const ConfigValue* value = files_.config(key);
    const T* typed = value ? std::get_if<T>(value) : nullptr;
    return typed ? std::optional<T>(*typed) : std::nullopt;
  }
  std::optional<std::uint32_t> whole(const std::string& key) const {
    const auto value = get<std::int64_t>(key);
    if (value && (*value < 0 || *value > INT32_MAX)) bad(key, "is out of range");
    return value ? std::optional(static_cast<std::uint32_t>(*value)) : std::nullopt;
  }
  std::uint32_t needed(const std::string& key) const {
    const auto value = whole(key);
    if (!value || *value == 0) bad(key, "is missing or no positive integer");
    return *value;
  }
  std::optional<float> number(const std::string& key) const {
    if (const auto value = get<double>(key)) return static_cast<float>(*value);
    const auto value = get<std::int64_t>(key);
    return value ? std::optional(static_cast<float>(*value)) : std::nullopt;
  }
  std::optional<std::string> text(const std::string& key) const {
    const auto value = get<std::string_view>(key);
    return value ? std::optional(std::string(*value)) : std::nullopt;
  }
  std::vector<float> list(const std::string& key) const {
    const auto array = get<ConfigArray>(key);
    std::vector<float> out;
    if (array)
      std::visit(
          [&](const auto& values) {
            if constexpr (std::is_arithmetic_v<typename std::decay_t<decltype(values)>::value_type>)
              for (const auto value : values) out.push_back(static_cast<float>(value));
          },
          array->values);
    return out;
  }
  [[noreturn]] void bad(const std::string& key, const std::string& what) const {
    throw Error(ErrorKind::kCorrupt, (files_.path() / "config.json").string() + ": " + key + ": " + what);
  }

  void read_sizes() {
    layers_ = needed("num_hidden_layers");
    width_ = needed("hidden_size");
    heads_ = needed("num_attention_heads");
    kv_heads_ = whole("num_key_value_heads").value_or(heads_);
    head_width_ = whole("head_dim").value_or(width_ / heads_);
    context_ = whole("max_position_embeddings").value_or(2048);
    experts_ = whole("num_local_experts").value_or(whole("num_experts").value_or(0));
    rotary_ =
        static_cast<std::uint32_t>(static_cast<float>(head_width_) * rope_number("partial_rotary_factor").value_or(1));
    if (kv_heads_ == 0 || heads_ % kv_heads_ != 0 || head_width_ == 0)
      bad("num_key_value_heads", "does not divide the heads");
    model_.traits = {.architecture = family_.gguf,
                     .layers = layers_,
                     .experts = experts_,
                     .kv_heads = kv_heads_,
                     .heads_per_kv_head = heads_ / kv_heads_};
  }

  template <class T>
  void set(const char* key, T value) {
    model_.metadata.set(prefix_ + key, value);
  }
  template <class T>
  void set_if(const char* key, const std::optional<T>& value) {
    if (value) set(key, *value);
  }

  void write_sizes() {
    model_.metadata.set("general.architecture", family_.gguf);
    model_.metadata.set("general.type", "model");
    model_.metadata.set("general.name", files_.stem());
    set("block_count", layers_);
    set("context_length", context_);
    set("embedding_length", width_);
    set("feed_forward_length", needed("intermediate_size"));
    set_if("vocab_size", whole("vocab_size"));
    if (experts_ == 0) return;
    set("expert_count", experts_);
    set("expert_used_count", needed("num_experts_per_tok"));
    set_if("expert_feed_forward_length", whole("moe_intermediate_size"));
  }

  void write_attention() {
    set("attention.head_count", heads_);
    set("attention.head_count_kv", kv_heads_);
    set("attention.key_length", head_width_);
    set("attention.value_length", head_width_);
    set("attention.layer_norm_rms_epsilon", number("rms_norm_eps").value_or(1e-6f));
    // Qwen writes its window also where it does not use it.
    if (get<bool>("use_sliding_window").value_or(true)) set_if("attention.sliding_window", whole("sliding_window"));
    set_if("attn_logit_softcapping", number("attn_logit_softcapping"));
    set_if("final_logit_softcapping", number("final_logit_softcapping"));
    check_scale();
  }

  // GGUF does not carry Gemma's scale: readers derive it.
  void check_scale() const {
    const auto scalar = number("query_pre_attn_scalar");
    const bool large = (layers_ == 46 && family_.gguf == std::string_view("gemma2")) ||
                       (layers_ == 62 && family_.gguf == std::string_view("gemma3"));
    const auto expected = static_cast<float>(large ? width_ / heads_ : head_width_);
    if (scalar && *scalar != expected)
      bad("query_pre_attn_scalar",
          "is " + std::to_string(*scalar) + ", which GGUF cannot say (only " + std::to_string(expected) + ")");
  }

  // In either generation's place: rope_parameters holds all, before it rope_scaling and the top level did.
  std::optional<float> rope_number(const std::string& key) const {
    const auto inside = number("rope_parameters." + key);
    return inside ? inside : number(key);
  }

  void write_rope() {
    set("rope.dimension_count", rotary_);
    const float base = rope_number("rope_theta").value_or(10000);
    set("rope.freq_base", base);
    set_if("rope.freq_base_swa", number("rope_local_base_freq"));
    const std::string block = text("rope_parameters.rope_type") ? "rope_parameters." : "rope_scaling.";
    const std::string kind = text(block + "rope_type").value_or(text(block + "type").value_or("default"));
    const auto original = whole("original_max_position_embeddings");
    const auto trained = original ? original : whole(block + "original_max_position_embeddings");
    if (kind == "default") return;
    if (kind == "llama3") return add_llama3(block, base);
    if (kind == "longrope" || kind == "su") return add_longrope(block, trained);
    if (kind != "linear" && kind != "yarn")
      bad(block + "rope_type", "is " + in_quotes(kind) + ", which is not known here (linear, llama3, yarn, longrope)");
    set("rope.scaling.type", kind);
    set("rope.scaling.factor", number(block + "factor").value_or(1));
    if (kind == "yarn") set("rope.scaling.original_context_length", trained.value_or(context_));
  }

  void add_computed(const char* name, std::vector<float> values) {
    const std::uint64_t count = values.size();
    model_.tensors.push_back({.name = name, .shape = {count}, .type = NACELLE_TYPE_F32, .computed = std::move(values)});
  }

  // As what each frequency is divided by.
  void add_llama3(const std::string& block, float base) {
    nacelle_rope_attributes rope{};
    rope.base = base;
    rope.rotary_width = rope.head_width = rotary_;
    const std::vector<float> plain = make_rope_table(rope, context_).frequencies;
    rope.scaling = NACELLE_ROPE_SCALE_LLAMA3;
    rope.factor = number(block + "factor").value_or(8);
    rope.low_frequency_factor = number(block + "low_freq_factor").value_or(1);
    rope.high_frequency_factor = number(block + "high_freq_factor").value_or(4);
    rope.original_context = needed(block + "original_max_position_embeddings");
    std::vector<float> factors = make_rope_table(rope, context_).frequencies;
    for (std::size_t i = 0; i < factors.size(); ++i) factors[i] = plain[i] / factors[i];
    add_computed("rope_freqs.weight", std::move(factors));
  }

  void add_longrope(const std::string& block, std::optional<std::uint32_t> trained) {
    for (const auto& [key, name] : {std::pair("long_factor", "rope_factors_long.weight"),
                                    std::pair("short_factor", "rope_factors_short.weight")}) {
      std::vector<float> factors = list(block + key);
      if (factors.size() != rotary_ / 2)
        bad(block + key, "has " + std::to_string(factors.size()) + " numbers, expected " + std::to_string(rotary_ / 2));
      add_computed(name, std::move(factors));
    }
    const std::uint32_t before = trained.value_or(context_);
    const double stretch = static_cast<double>(context_) / before;
    const double own = stretch > 1 ? std::sqrt(1 + std::log(stretch) / std::log(before)) : 1;
    set("rope.scaling.original_context_length", before);
    set("rope.scaling.attn_factor", number(block + "attention_factor").value_or(static_cast<float>(own)));
  }

  // ---- tensors ----
  void add(const TensorInfo& info) {
    const std::string& name = info.name;
    if (name.ends_with("rotary_emb.inv_freq")) return;  // follows from the configuration
    const auto dot = name.rfind('.');
    const std::string stem = name.substr(0, dot), suffix = dot == std::string::npos ? "" : name.substr(dot);
    if (suffix != ".weight" && suffix != ".bias") unknown(info);
    const bool tied_head = stem == "lm_head" && get<bool>("tie_word_embeddings").value_or(family_.norm_addend != 0);
    if (tied_head && has_embedding()) return;
    std::string_view rest = stem;
    const auto layer = take_number(rest, "model.layers.");
    if (layer && add_expert(info, *layer, rest)) return;
    std::string target;
    if (!layer) {
      const char* whole_name = find(kWholeNames, tied_head ? "model.embed_tokens" : stem);
      if (!whole_name) unknown(info);
      target = whole_name;
    } else {
      const char* own = rest == "post_attention_layernorm" ? (family_.norms_around ? "post_attention_norm" : "ffn_norm")
                                                           : find(kLayerNames, rest);
      if (!own) unknown(info);
      target = "blk." + std::to_string(*layer) + "." + own;
    }
    SourceTensor tensor{.name = target + suffix, .shape = info.shape, .type = stored_type(info), .parts = {&info}};
    if (family_.interleaved && rest == "self_attn.q_proj") tensor.interleaved_heads = heads_;
    if (family_.interleaved && rest == "self_attn.k_proj") tensor.interleaved_heads = kv_heads_;
    if (target.ends_with("norm")) tensor.addend = family_.norm_addend;
    model_.tensors.push_back(std::move(tensor));
  }

  // A tied pair may be stored under the head's name alone.
  bool has_embedding() const {
    return std::ranges::any_of(files_.tensors(),
                               [](const TensorInfo& info) { return info.name == "model.embed_tokens.weight"; });
  }

  // Vectors become F32, as GGUF's readers expect.
  nacelle_type stored_type(const TensorInfo& info) const {
    if (info.type != NACELLE_TYPE_F32 && info.type != NACELLE_TYPE_F16 && info.type != NACELLE_TYPE_BF16) unknown(info);
    return info.shape.size() < 2 ? nacelle_type{NACELLE_TYPE_F32} : info.type;
  }

  bool add_expert(const TensorInfo& info, std::uint32_t layer, std::string_view rest) {
    for (const std::string_view prefix : {"mlp.experts.", "block_sparse_moe.experts."}) {
      std::string_view inner = rest;
      const auto expert = take_number(inner, prefix);
      const char* own = expert ? find(kExpertNames, inner) : nullptr;
      if (!own || !info.name.ends_with(".weight")) continue;
      if (*expert >= experts_) unknown(info);
      stored_type(info);
      auto& parts = stacks_["blk." + std::to_string(layer) + "." + own + ".weight"];
      parts.resize(experts_);
      parts[*expert] = &info;
      return true;
    }
    return false;
  }

  void join_experts() {
    for (auto& [name, parts] : stacks_) {
      for (const TensorInfo* part : parts)
        if (!part || part->shape != parts[0]->shape || part->type != parts[0]->type || part->shape.size() != 2)
          throw Error(ErrorKind::kCorrupt, files_.path().string() + ": the experts of " + in_quotes(name) +
                                               " are not all there, or not alike");
      model_.tensors.push_back({.name = name,
                                .shape = {parts.size(), parts[0]->shape[0], parts[0]->shape[1]},
                                .type = parts[0]->type,
                                .parts = parts});
    }
  }

  [[noreturn]] void unknown(const TensorInfo& info) const {
    throw Error(ErrorKind::kUnsupported, files_.path().string() + ": tensor " + in_quotes(info.name) + " of " +
                                             (type_info(info.type) ? type_info(info.type)->name : "unknown type") +
                                             " has no place in a GGUF of the family '" + family_.gguf + "'");
  }

  const ModelFiles& files_;
  const Family& family_;
  const std::string prefix_;
  SourceModel model_;
  std::uint32_t layers_ = 0, width_ = 0, heads_ = 0, kv_heads_ = 0, head_width_ = 0, context_ = 0, experts_ = 0,
                rotary_ = 0;
  std::map<std::string, std::vector<const TensorInfo*>> stacks_;
};

}  // namespace

SourceModel open_huggingface(const ModelFiles& files) {
  const std::string architecture = files.architecture();
  std::string known;
  for (const Family& family : kFamilies) {
    if (architecture == family.huggingface) return Converter(files, family).run();
    known += (known.empty() ? "" : ", ") + std::string(family.huggingface);
  }
  throw Error(ErrorKind::kUnsupported, files.path().string() + ": the family '" + architecture +
                                           "' is not written as GGUF here (" + known +
                                           " are): convert it with llama.cpp's convert_hf_to_gguf.py first");
}

}  // namespace nacelle::compress
