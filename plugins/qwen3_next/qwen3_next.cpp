// Qwen3-Next and the text part of Qwen3.5: three of four layers mix tokens by a gated delta rule (Gated DeltaNet, arXiv
// 2412.06464), the others by attention whose output a gate of each head's own columns multiplies. Norms are centred on
// zero. Qwen3-Next and Qwen3.5-MoE have experts, and one beside them that every token uses as far as its gate says.
//
// A key head serves several value heads, which follow each other in Hugging Face's files. llama.cpp's files of Qwen3.5
// have them tiled: the first value head of each key head, then the second of each, and so on. A graph of such a file
// keeps that order, so that no weight is moved, and repeats the queries and keys instead.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

struct Delta {
  std::uint32_t key_heads = 0, value_heads = 0;
  std::uint32_t key_width = 0, value_width = 0;  // of a head
  std::uint32_t length = 0;                      // of the convolution's filters
  bool fused = false;                            // Hugging Face has one matrix of a key head's q, k, v and gate (Next)
  bool gguf_tiled = false;                       // see above
  bool is_gguf = false;

  std::int64_t keys() const { return std::int64_t{key_heads} * key_width; }
  std::int64_t values() const { return std::int64_t{value_heads} * value_width; }
  std::int64_t share() const { return value_heads / key_heads; }
  bool graph_tiled() const { return is_gguf && gguf_tiled; }
};

struct Model {
  Decoder decoder;
  Delta delta;
};

bool is_any(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}
bool is_next(const Config& config) { return is_any(config.architecture(), {"qwen3next", "Qwen3NextForCausalLM"}); }
bool is_moe(const Config& config) {
  return is_next(config) ||
         is_any(config.architecture(), {"qwen35moe", "Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"});
}

class Reader {
 public:
  // Of a model that sees images, the part that is about text.
  explicit Reader(const Config& config) : config_(text_part(config)), whole_(config), decoder_(model_.decoder) {}

  Model read() {
    Delta& delta = model_.delta;
    delta.is_gguf = config_.is_gguf();
    config_.is_gguf() ? read_gguf() : read_huggingface();
    delta.fused = is_next(config_);
    delta.gguf_tiled = !is_next(config_) && delta.share() > 1;
    decoder_.windows.resize(decoder_.layer_count);
    decoder_.head_norm = HeadNorm::kEachHead;
    decoder_.tensors.feed_forward_norm = {"post_attention_norm", "post_attention_layernorm"};
    if (is_moe(config_)) name_gated_expert(decoder_.experts);
    if (!is_next(config_)) name_text_part();
    return std::move(model_);
  }

 private:
  void read_gguf() {
    const std::string prefix(config_.architecture());
    const auto key = [&](const char* name) { return prefix + "." + name; };
    decoder_ = read_gguf_decoder(config_, prefix, NACELLE_ROPE_HALF);
    // Layers that predict further tokens lie behind the model's own.
    decoder_.layer_count -= config_.optional_size(key("nextn_predict_layers"), 0, decoder_.layer_count - 1).value_or(0);
    Delta& delta = model_.delta;
    delta.length = config_.size(key("ssm.conv_kernel"), 2, 64);
    delta.key_width = config_.size(key("ssm.state_size"), 1, 4096);
    delta.key_heads = config_.size(key("ssm.group_count"), 1, 4096);
    delta.value_heads = config_.size(key("ssm.time_step_rank"), 1, 4096);
    const std::uint32_t values = config_.size(key("ssm.inner_size"));
    delta.value_width = values / delta.value_heads;
    if (!delta.value_width || delta.value_width > 4096 || values % delta.value_heads)
      config_.fail_key(key("ssm.inner_size"), "is " + std::to_string(values) + ", which does not fit " +
                                                  std::to_string(delta.value_heads) + " heads");
    check_heads(key("ssm.time_step_rank"));
    set_interval(config_.optional_size(key("full_attention_interval")).value_or(4));
    if (is_moe(config_))
      decoder_.experts.shared_width =
          config_.optional_size(key("expert_shared_feed_forward_length")).value_or(decoder_.experts.width);
  }

  void read_huggingface() {
    HuggingFaceKeys keys;
    if (is_moe(config_)) keys.feed_forward = "";
    decoder_ = read_huggingface_decoder(config_, keys);
    decoder_.norm_offset = 1;
    if (const auto tied = whole_.optional_bool("tie_word_embeddings")) decoder_.tied = *tied;
    if (decoder_.activation != NACELLE_ACT_SILU)
      config_.fail_key("hidden_act", "is not 'silu', which is all that is supported");
    if (config_.optional_bool("attention_bias").value_or(false))
      config_.fail_key("attention_bias", "is true, which this plugin does not know");
    if (!config_.optional_bool("attn_output_gate").value_or(true))
      config_.fail_key("attn_output_gate", "is false, which this plugin does not know");
    if (!config_.optional_number("partial_rotary_factor") &&
        !config_.optional_number("rope_parameters.partial_rotary_factor"))
      decoder_.rope.rotary_width = decoder_.head_width / 4;
    Delta& delta = model_.delta;
    delta.length = config_.optional_size("linear_conv_kernel_dim", 2, 64).value_or(4);
    delta.key_width = config_.size("linear_key_head_dim", 1, 4096);
    delta.value_width = config_.size("linear_value_head_dim", 1, 4096);
    delta.key_heads = config_.size("linear_num_key_heads", 1, 4096);
    delta.value_heads = config_.size("linear_num_value_heads", 1, 4096);
    check_heads("linear_num_value_heads");
    read_layer_kinds();
    if (!is_moe(config_)) return;
    decoder_.feed_forward_width = config_.optional_size("intermediate_size", 0).value_or(0);
    read_huggingface_experts(config_, decoder_, "moe_intermediate_size");
    decoder_.experts.renormalise = config_.optional_bool("norm_topk_prob").value_or(true);
    decoder_.experts.shared_width = config_.size("shared_expert_intermediate_size");
  }

  void check_heads(const std::string& key) const {
    const Delta& delta = model_.delta;
    if (delta.value_heads % delta.key_heads)
      config_.fail_key(key, "is " + std::to_string(delta.value_heads) + ", which " + std::to_string(delta.key_heads) +
                                " key heads do not divide");
  }

  void set_interval(std::uint32_t interval) {
    for (std::uint32_t layer = 0; layer < decoder_.layer_count; ++layer)
      decoder_.recurrent_layers.push_back((layer + 1) % interval != 0);
  }

  void read_layer_kinds() {
    if (!config_.optional_item("layer_types", 0))
      return set_interval(config_.optional_size("full_attention_interval").value_or(4));
    for (std::uint32_t layer = 0; layer < decoder_.layer_count; ++layer) {
      const std::string kind = config_.optional_item("layer_types", layer).value_or("");
      if (kind != "linear_attention" && kind != "full_attention")
        config_.fail_key("layer_types", "has '" + kind + "' for layer " + std::to_string(layer) +
                                            ", expected 'linear_attention' or 'full_attention'");
      decoder_.recurrent_layers.push_back(kind == "linear_attention");
    }
  }

  // Checkpoints that see images have the text part apart; adapters may have been made of either.
  void name_text_part() {
    Tensors& names = decoder_.tensors;
    const std::string apart = "model.language_model.";
    if (config_.is_gguf()) names.other_prefix = apart;
    if (config_.has_tensor(apart + "embed_tokens.weight")) names.prefix = apart;
  }

  const Config config_, whole_;
  Model model_;
  Decoder& decoder_;
};

class Graph : public DecoderGraph {
 public:
  Graph(Builder& builder, const Model& model) : DecoderGraph(builder, model.decoder), of_(model.delta) {
    windows_ = keep(recurrent_count(), (of_.length - 1) * (2 * of_.keys() + of_.values()));
    states_ = keep(recurrent_count(), of_.values() * of_.key_width);
  }

 private:
  // ---- Gated attention: a head has rows for its query, then for its gate ----

  Value attention(Value x) override {
    const std::int64_t heads = model_.head_count, kv_heads = model_.kv_head_count, width = model_.head_width;
    Value q = b_.matmul(x, half_of_heads("attn_q", 0));
    const Value gate = b_.matmul(x, half_of_heads("attn_q_gate", 1));
    Value k = linear(x, names_.k, kv_heads * width, model_.width, Bias::kNever);
    const Value v = linear(x, names_.v, kv_heads * model_.value_width, model_.width, Bias::kNever);
    q = b_.rope(norm(q, names_.q_norm, width, model_.head_width), positions_, model_.rope, short_factors_,
                long_factors_);
    k = b_.rope(norm(k, names_.k_norm, width, model_.head_width), positions_, model_.rope, short_factors_,
                long_factors_);
    const Value y = b_.attention(q, k, v, attention_of_layer());
    return linear(b_.gated(gate, y, activation_attributes(NACELLE_ACT_SIGMOID)), names_.attention_output, model_.width,
                  heads * model_.value_width, Bias::kNever);
  }

  Value half_of_heads(const char* name, std::int64_t half) {
    const std::int64_t heads = model_.head_count, width = model_.head_width;
    const auto cut = [&](Expr whole) {
      const Expr apart = reshape(std::move(whole), {heads, 2 * width, model_.width});
      return reshape(slice(apart, 1, half * width, (half + 1) * width), {heads * width, model_.width});
    };
    const Source whole = matrix(names_.q);
    return block_weight({name}, ".weight", {heads * width, model_.width}, {cut(whole.gguf), cut(whole.huggingface)});
  }

  // ---- Gated DeltaNet ----

  Value recurrent(Value x) override {
    const std::int64_t keys = of_.keys(), values = of_.values(), heads = of_.value_heads, width = model_.width;
    const Value filters = block_weight({"ssm_conv1d"}, ".weight", {2 * keys + values, of_.length}, filter_source());
    Value mixed = b_.matmul(x, block_weight({"attn_qkv"}, ".weight", {2 * keys + values, width}, qkv_source()));
    mixed = convolution(mixed, filters, {}, windows_, of_.length, NACELLE_ACT_SILU);
    const Value gate = b_.matmul(x, block_weight({"attn_gate"}, ".weight", {values, width}, gate_source()));
    const Value strength = b_.matmul(x, block_weight({"ssm_beta"}, ".weight", {heads, width}, step_source(false)));
    const std::vector<Value> parts = b_.split(mixed, {keys, keys, values});
    Builder::Scan scan;
    scan.q = repeated(unit_heads(parts[0]));
    scan.k = repeated(b_.scale(unit_heads(parts[1]), 1 / std::sqrt(static_cast<float>(of_.key_width))));
    scan.v = parts[2];
    scan.step = b_.matmul(x, block_weight({"ssm_alpha"}, ".weight", {heads, width}, step_source(true)));
    scan.rate = block_weight({"ssm_a"}, "", {heads}, rate_source());
    scan.step_bias = block_weight({"ssm_dt"}, ".bias", {heads}, elements({"ssm_dt", "linear_attn.dt_bias"}, ".bias"));
    scan.strength = b_.unary(strength, NACELLE_ACT_SIGMOID);
    const Value y = b_.state_scan(scan, rule());
    const Value weight =
        block_weight({"ssm_norm"}, ".weight", {of_.value_width}, inside({"ssm_norm", "linear_attn.norm"}, ".weight"));
    const Value normed = b_.rms_norm(y, weight, norm_attributes(model_.epsilon, 0, of_.value_width));
    return b_.matmul(b_.gated(gate, normed, activation_attributes(NACELLE_ACT_SILU)),
                     block_weight({"ssm_out"}, ".weight", {width, values}, output_source()));
  }

  // Each head of length sqrt(key_width): rule() and the scale of the keys know of that.
  Value unit_heads(Value x) { return b_.rms_norm(x, {}, norm_attributes(1e-6 / of_.key_width, 0, of_.key_width)); }

  // Key head h mod key_heads for each value head h, where these are tiled.
  Value repeated(Value x) {
    return of_.graph_tiled() ? b_.concat(std::vector<Value>(static_cast<std::size_t>(of_.share()), x)) : x;
  }

  nacelle_scan_attributes rule() {
    auto a = scan_attributes(states_, NACELLE_SCAN_DELTA, 1 / static_cast<float>(of_.key_width));
    a.head_count = of_.value_heads;
    a.group_count = of_.graph_tiled() ? of_.value_heads : of_.key_heads;
    a.key_width = of_.key_width;
    a.value_width = of_.value_width;
    return a;
  }

  // ---- Where its weights come from, in the order of the graph's value heads ----

  // `each` rows of every value head, `columns` wide, out of the order of a GGUF or a Hugging Face file.
  Expr ordered(Expr rows, bool from_gguf, std::int64_t each, std::int64_t columns) const {
    const bool tiled = from_gguf && of_.gguf_tiled;
    if (tiled == of_.graph_tiled()) return rows;
    const std::int64_t outer = tiled ? of_.share() : of_.key_heads, inner = tiled ? of_.key_heads : of_.share();
    const Expr apart = reshape(std::move(rows), {outer, inner, each, columns});
    return reshape(permute(apart, {1, 0, 2, 3}), {outer * inner * each, columns});
  }
  Expr ordered_qkv(const Expr& rows, bool from_gguf, std::int64_t columns) const {
    const std::int64_t keys = 2 * of_.keys();
    if ((from_gguf && of_.gguf_tiled) == of_.graph_tiled()) return rows;
    return concat(0, {slice(rows, 0, 0, keys),
                      ordered(slice(rows, 0, keys, keys + of_.values()), from_gguf, of_.value_width, columns)});
  }

  // Rows [begin, end) of what a key head has in a fused matrix.
  Expr of_key_heads(const Expr& whole, std::int64_t all, std::int64_t begin, std::int64_t end) const {
    const Expr apart = reshape(whole, {of_.key_heads, all, model_.width});
    return reshape(slice(apart, 1, begin, end), {of_.key_heads * (end - begin), model_.width});
  }
  // The same of its query, key, values and gate: q, k and v of all heads, or their gates.
  Expr of_fused(const Expr& whole, bool gates) const {
    const std::int64_t key = of_.key_width, value = of_.share() * of_.value_width, all = 2 * (key + value);
    if (gates) return of_key_heads(whole, all, 2 * key + value, all);
    return concat(0, {of_key_heads(whole, all, 0, key), of_key_heads(whole, all, key, 2 * key),
                      of_key_heads(whole, all, 2 * key, 2 * key + value)});
  }

  Source qkv_source() const {
    if (of_.fused) return fused_source("attn_qkv", false);
    const Source whole = matrix({"attn_qkv", "linear_attn.in_proj_qkv"});
    return {ordered_qkv(whole.gguf, true, model_.width), ordered_qkv(whole.huggingface, false, model_.width)};
  }
  Source gate_source() const {
    if (of_.fused) return fused_source("attn_gate", true);
    return of_heads(matrix({"attn_gate", "linear_attn.in_proj_z"}), of_.value_width);
  }
  // The first GGUF files have it fused, too.
  Source fused_source(const char* name, bool gates) const {
    const Source whole = matrix({"ssm_in", "linear_attn.in_proj_qkvz"});
    return {first_of({gguf_in_block({name}, ".weight"), of_fused(whole.gguf, gates)}),
            of_fused(whole.huggingface, gates)};
  }
  Source step_source(bool steps) const {
    if (!of_.fused)
      return of_heads(
          matrix(steps ? Names{"ssm_alpha", "linear_attn.in_proj_a"} : Names{"ssm_beta", "linear_attn.in_proj_b"}), 1);
    const Source whole = matrix({"ssm_ba", "linear_attn.in_proj_ba"});
    const std::int64_t share = of_.share(), begin = steps ? share : 0;
    return {of_key_heads(whole.gguf, 2 * share, begin, begin + share),
            of_key_heads(whole.huggingface, 2 * share, begin, begin + share)};
  }
  Source of_heads(const Source& matrix, std::int64_t each) const {
    return {ordered(matrix.gguf, true, each, model_.width), ordered(matrix.huggingface, false, each, model_.width)};
  }

  // A vector with an element a value head.
  Source elements(const Names& names, const char* suffix) const {
    const Source source = whole_name(names, suffix);
    const auto turned = [&](const Expr& vector, bool from_gguf) {
      if ((from_gguf && of_.gguf_tiled) == of_.graph_tiled()) return vector;
      return reshape(ordered(reshape(vector, {of_.value_heads, 1}), from_gguf, 1, 1), {of_.value_heads});
    };
    return {turned(source.gguf, true), turned(source.huggingface, false)};
  }
  Source rate_source() const {
    const Source source = elements({"ssm_a", "linear_attn.A_log"}, "");
    return {source.gguf, scale(exp(source.huggingface), -1)};
  }

  Source filter_source() const {
    const std::int64_t columns = 2 * of_.keys() + of_.values();
    const Source whole = inside({"ssm_conv1d", "linear_attn.conv1d"}, ".weight");
    return {ordered_qkv(whole.gguf, true, of_.length),
            ordered_qkv(reshape(whole.huggingface, {columns, of_.length}), false, of_.length)};
  }

  // Its columns are the values.
  Source output_source() const {
    const Source whole = matrix({"ssm_out", "linear_attn.out_proj"});
    const auto turned = [&](const Expr& from, bool from_gguf) {
      const bool tiled = from_gguf && of_.gguf_tiled;
      if (tiled == of_.graph_tiled()) return from;
      const std::int64_t outer = tiled ? of_.share() : of_.key_heads, inner = tiled ? of_.key_heads : of_.share();
      const Expr apart = reshape(from, {model_.width, outer, inner, of_.value_width});
      return reshape(permute(apart, {0, 2, 1, 3}), {model_.width, of_.values()});
    };
    return {turned(whole.gguf, true), turned(whole.huggingface, false)};
  }

  const Delta& of_;
  States windows_, states_;
};

struct Qwen3Next : DecoderFamily<Qwen3Next, Graph> {
  static bool match(const Config& config) {
    if (is_moe(config)) return true;
    return is_any(config.architecture(), {"qwen35", "Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"});
  }
  static Model read(const Config& config) { return Reader(config).read(); }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Qwen3Next, "qwen3_next", "0.1.0")
