// Records the graph of a Decoder: the methods of DecoderGraph are the parts of a block, in the order in which they run.
// The weights of the graph bear the GGUF names whatever the file.
#pragma once

#include <algorithm>
#include <nacelle/architecture.hpp>
#include <nacelle/decoder_model.hpp>
#include <string>
#include <vector>

namespace nacelle::sdk {

class DecoderGraph {
 public:
  virtual ~DecoderGraph() = default;
  DecoderGraph(const DecoderGraph&) = delete;
  DecoderGraph& operator=(const DecoderGraph&) = delete;
  DecoderGraph(Builder& builder, const Decoder& model) : b_(builder), model_(model), names_(model.tensors) {
    for (std::uint32_t layer = 0; layer < model.windows.size(); ++layer)
      if (!is_recurrent(layer)) ++group_of(model.windows[layer]).layer_count;
    for (Group& group : groups_)
      group.index = b_.paged_cache(group.layer_count, model.kv_head_count * model.head_width,
                                   model.values_in_keys ? 0 : model.kv_head_count * model.value_width, group.window);
    positions_ = b_.positions();
    if (model.uses_rope) rope_factors();
  }

  // Everything, for families that add nothing of their own.
  void build() {
    Value x = embedding();
    for (std::uint32_t layer = 0; layer < model_.layer_count; ++layer)
      x = b_.layer(layer, {x}, [&] {
        layer_ = layer;
        return block(x);
      });
    logits(x);
  }

 protected:
  struct Group {
    std::uint32_t window, index, layer_count, used;
  };
  // Rows [begin, end) of a fused matrix; where heads are grouped, heads [first, last) of each group.
  struct Part {
    std::int64_t begin, end;
    std::int64_t first = 0, last = 0;
  };

  Group& group_of(std::uint32_t window) {
    for (Group& group : groups_)
      if (group.window == window) return group;
    return groups_.emplace_back(Group{window, 0, 0, 0});
  }

  bool is_recurrent(std::uint32_t layer) const {
    return layer < model_.recurrent_layers.size() && model_.recurrent_layers[layer];
  }

  // ---- What recurrent layers keep of a sequence ----

  // States, one of each layer that has one: layers take them in turn.
  struct States {
    std::uint32_t group = 0, used = 0;
  };

  std::uint32_t recurrent_count() const {
    return static_cast<std::uint32_t>(std::ranges::count(model_.recurrent_layers, true));
  }

  // `values` of each layer's.
  States keep(std::uint32_t layers, std::int64_t values) {
    if (layers == 0) return {};
    if (values > INT32_MAX) throw Failure(NACELLE_INVALID_ARGUMENT, "a layer's state has more than 2^31-1 values");
    return {b_.state_cache(layers, static_cast<std::uint32_t>(values))};
  }

  // Of this layer; `states` keeps length - 1 rows of x.
  Value convolution(Value x, Value filters, Value bias, States& states, std::uint32_t length,
                    std::uint32_t activation) {
    auto a = make<nacelle_convolution_attributes>();
    a.cache_group = states.group;
    a.cache_layer = states.used++;
    a.length = length;
    a.activation = activation;
    return b_.convolution(x, filters, bias, a);
  }

  // Of this layer; the sizes are the family's to add.
  static nacelle_scan_attributes scan_attributes(States& states, std::uint32_t rule, float scale) {
    auto a = make<nacelle_scan_attributes>();
    a.cache_group = states.group;
    a.cache_layer = states.used++;
    a.rule = rule;
    a.scale = scale;
    return a;
  }

  // ---- Around the blocks ----

  Value embedding() {
    Source table = outside(names_.embedding, ".weight");
    // A tied head may be stored under either name, or both.
    if (model_.tied)
      table.huggingface = first_of({table.huggingface, std::string(names_.head.huggingface) + ".weight"});
    table_ = b_.weight("token_embd.weight", {model_.vocabulary, model_.width}, table);
    const Value x = b_.embedding(b_.tokens(), table_, static_cast<float>(model_.embedding_scale));
    if (!names_.positions) return x;
    const Value places =
        b_.weight("position_embd.weight", {model_.context_length, model_.width}, outside(names_.positions, ".weight"));
    return b_.add(x, b_.embedding(positions_, places));
  }

  void logits(Value x) {
    x = b_.gather(x, b_.output_rows());
    const Value weight = b_.weight("output_norm.weight", {model_.width}, outside(names_.output_norm, ".weight"));
    Value bias;
    if (model_.norm_bias == Bias::kAlways)
      bias = b_.weight("output_norm.bias", {model_.width}, outside(names_.output_norm, ".bias"));
    if (model_.norm_bias == Bias::kOptional)
      bias = b_.optional_weight("output_norm.bias", {model_.width}, outside(names_.output_norm, ".bias"));
    x = normed(x, weight, bias, 0);
    Value head = table_;
    if (!model_.tied) {
      Expr own = std::string(names_.head.huggingface) + ".weight";
      if (*names_.other_head) own = first_of({own, std::string(names_.other_head) + ".weight"});
      head = b_.weight("output.weight", {model_.vocabulary, model_.width}, {"output.weight", own});
    }
    x = b_.matmul(x, head, head_bias());
    if (model_.logit_scale != 1 || model_.logit_soft_cap != 0)
      x = b_.scale(x, static_cast<float>(model_.logit_scale), 0, static_cast<float>(model_.logit_soft_cap));
    b_.mark_logits(x);
  }

  Value head_bias() {
    const Source source{"output.bias", std::string(names_.head.huggingface) + ".bias"};
    if (model_.head_bias == Bias::kNever) return {};
    return model_.head_bias == Bias::kAlways ? b_.weight("output.bias", {model_.vocabulary}, source)
                                             : b_.optional_weight("output.bias", {model_.vocabulary}, source);
  }

  // Llama 3's GGUF files keep its scaling as one list of factors, Phi-3's keep LongRoPE's two.
  void rope_factors() {
    const auto listed = [&](const char* name, const std::vector<float>& values) {
      return b_.optional_weight(name, {model_.rope.rotary_width / 2},
                                {name, values.empty() ? Expr(name) : constants(values)});
    };
    const bool two = model_.rope.scaling == NACELLE_ROPE_SCALE_LONGROPE;
    short_factors_ = listed(two ? "rope_factors_short.weight" : "rope_freqs.weight", model_.short_factors);
    if (two) long_factors_ = listed("rope_factors_long.weight", model_.long_factors);
  }

  // ---- A block ----

  virtual Value block(Value x) {
    const Value before = norm(x, names_.attention_norm);
    const Value mixed = is_recurrent(layer_) ? recurrent(before) : attention(before);
    Value y = scaled(norm(mixed, names_.attention_post_norm));
    if (model_.residual == Residual::kParallel) {
      const Value own = names_.feed_forward_norm ? norm(x, names_.feed_forward_norm) : before;
      return b_.add(b_.add(x, y), scaled(feed_forward(own)));
    }
    x = b_.add(x, y);
    y = feed_forward(norm(x, names_.feed_forward_norm));
    return b_.add(x, scaled(norm(y, names_.feed_forward_post_norm)));
  }

  Value scaled(Value x) {
    return model_.residual_scale == 1 ? x : b_.scale(x, static_cast<float>(model_.residual_scale));
  }

  // x itself where the model has no such norm.
  Value norm(Value x, const Names& names) { return names ? norm(x, names, model_.width, 0) : x; }

  Value norm(Value x, const Names& names, std::int64_t width, std::uint32_t group) {
    const Value weight = block_weight(names, ".weight", {width}, inside(names, ".weight"));
    return normed(x, weight, bias_of(names, model_.norm_bias, {width}), group);
  }

  Value normed(Value x, Value weight, Value bias, std::uint32_t group) {
    const auto attributes = norm_attributes(model_.epsilon, model_.norm_offset, group);
    return model_.norm == NormKind::kRms ? b_.rms_norm(x, weight, attributes)
                                         : b_.layer_norm(x, weight, bias, attributes);
  }

  // What stands where other layers have attention; the family makes the groups of states that it needs.
  virtual Value recurrent(Value) {
    throw Failure(NACELLE_INVALID_ARGUMENT, "layer " + std::to_string(layer_) +
                                                " has no heads for keys and values, which this family does not know");
  }

  // What a family may have otherwise.
  virtual Value attention(Value x) {
    const std::uint32_t heads = model_.head_count, kv_heads = model_.kv_head_count;
    const std::int64_t queries = heads * model_.head_width, keys = kv_heads * model_.head_width;
    const std::int64_t after_keys = queries + keys, all = after_keys + kv_heads * model_.value_width;
    const std::int64_t share = heads / kv_heads;
    Value q = fused(x, names_.q, names_.qkv, {0, queries, 0, share}, model_.qkv_bias);
    Value k = fused(x, names_.k, names_.qkv, {queries, after_keys, share, share + 1}, model_.qkv_bias);
    const Value v = fused(x, names_.v, names_.qkv, {after_keys, all, share + 1, share + 2}, model_.qkv_bias);
    const auto norm_heads = [&] {
      q = head_norm(q, names_.q_norm, heads);
      k = head_norm(k, names_.k_norm, kv_heads);
    };
    const bool has_norm = model_.head_norm != HeadNorm::kNone && model_.head_norm != HeadNorm::kUnweighted;
    if (has_norm && !model_.head_norm_behind_rope) norm_heads();
    const nacelle_rope_attributes& rope = model_.layer_ropes.empty() ? model_.rope : model_.layer_ropes[layer_];
    const bool turns = model_.uses_rope && rope.rotary_width;
    if (turns) {
      // Factors belong to the scaling of `rope`; a layer with another scaling has none.
      const bool same = rope.scaling == model_.rope.scaling && rope.base == model_.rope.base;
      const Value first = same ? short_factors_ : Value{}, second = same ? long_factors_ : Value{};
      q = b_.rope(q, positions_, rope, first, second);
      k = b_.rope(k, positions_, rope, first, second);
    }
    if (has_norm && model_.head_norm_behind_rope) norm_heads();
    if (turns && model_.head_norm == HeadNorm::kUnweighted)
      for (Value* heads_of : {&q, &k})
        *heads_of = b_.rms_norm(*heads_of, {}, norm_attributes(model_.epsilon, 0, model_.head_width));
    q = grown(q, turns);
    Value sinks;
    if (names_.sinks) sinks = block_weight(names_.sinks, ".weight", {heads}, whole_name(names_.sinks, ".weight"));
    const auto attributes = attention_of_layer();
    const bool chunked = model_.chunked && attributes.window != 0;
    const Value y =
        chunked ? b_.chunked_attention(q, k, v, attributes, sinks) : b_.attention(q, k, v, attributes, sinks);
    return linear(y, names_.attention_output, model_.width, heads * model_.value_width, model_.output_bias);
  }

  // Of queries or keys.
  Value head_norm(Value x, const Names& names, std::int64_t heads) {
    const std::int64_t all = heads * model_.head_width;
    if (model_.head_norm == HeadNorm::kWhole) return norm(x, names, all, 0);
    if (model_.head_norm == HeadNorm::kEachHead) return norm(x, names, model_.head_width, model_.head_width);
    Source source = inside(names, ".weight");  // rows, or in Hugging Face's files a tensor for each {expert}
    source.gguf = reshape(source.gguf, {all});
    const bool apart = std::string_view(names.huggingface).find("{expert}") != std::string_view::npos;
    source.huggingface = reshape(apart ? stack(source.huggingface, heads) : source.huggingface, {all});
    const Value weight = block_weight(names, ".weight", {all}, source);
    return b_.mul(normed(x, {}, {}, model_.head_width), weight);
  }

  Value grown(Value q, bool turns) {
    const QueryGrowth& of = model_.query_growth;
    if (of.strength == 0 || (of.without_rope && turns)) return q;
    return b_.position_scale(q, positions_, static_cast<float>(of.strength), of.length, of.offset);
  }

  nacelle_attention_attributes attention_of_layer() {
    Group& group = group_of(model_.windows[layer_]);
    auto attributes = attention_attributes(model_.head_count, model_.kv_head_count, model_.head_width);
    attributes.value_width = model_.value_width;
    attributes.window = group.window;
    attributes.cache_group = group.index;
    attributes.cache_layer = group.used++;
    attributes.soft_cap = static_cast<float>(model_.attention_soft_cap);
    attributes.alibi_bias = static_cast<float>(model_.alibi_bias);
    if (model_.attention_scale > 0) attributes.scale = static_cast<float>(model_.attention_scale);
    return attributes;
  }

  nacelle_activation_attributes gate_attributes() const {
    auto attributes = activation_attributes(model_.activation);
    attributes.clamp = model_.gate_clamp;
    attributes.alpha = model_.gate_alpha;
    attributes.up_offset = model_.up_offset;
    return attributes;
  }

  Value feed_forward(Value x) {
    const auto& dense = model_.experts.dense_layers;
    if (model_.experts.count && !(layer_ < dense.size() && dense[layer_])) return experts(x);
    const std::int64_t width = model_.feed_forward_width;
    const Bias bias = model_.feed_forward_bias;
    Value y = fused(x, names_.up, names_.gate_up, {width, 2 * width}, bias);
    y = model_.gated ? b_.gated(fused(x, names_.gate, names_.gate_up, {0, width}, bias), y, gate_attributes())
                     : activated(y);
    return linear(y, names_.down, model_.width, width, bias);
  }

  // Without a gate.
  virtual Value activated(Value x) {
    const Value y = b_.unary(x, model_.activation);
    return model_.squared ? b_.mul(y, y) : y;
  }

  // ---- Experts ----

  Value experts(Value x) {
    const Experts& of = model_.experts;
    auto moe = make<nacelle_moe_attributes>();
    moe.expert_count = of.count;
    moe.used_count = of.used;
    moe.routing = of.routing;
    moe.renormalise = of.renormalise;
    moe.scale = static_cast<float>(of.scale);
    moe.group_count = of.group_count;
    moe.group_used = of.group_used;
    Value selection;
    if (of.selection_bias != Bias::kNever) {
      Source source = whole_name(of.selection, ".bias");
      source.huggingface = reshape(source.huggingface, {of.count});  // some have it as a row
      selection = block_weight(of.selection, ".bias", {of.count}, source, of.selection_bias == Bias::kOptional);
    }
    const auto route = b_.moe_route(linear(x, of.router, of.count, model_.width, of.router_bias), selection, moe);
    const auto each = [&](Value input, const Names& names, std::int64_t outputs, std::int64_t inputs) {
      const Value w = block_weight(names, ".weight", {of.count, outputs, inputs}, expert_source(names, false));
      Value bias;
      if (of.bias != Bias::kNever)
        bias =
            block_weight(names, ".bias", {of.count, outputs}, expert_source(names, true), of.bias == Bias::kOptional);
      return b_.moe_matmul(input, w, route.experts, bias, moe);
    };
    // The rows, each times its weight.
    const Value input = of.weighs_input ? b_.moe_combine(x, route.weights, moe) : x;
    const Value gate = model_.gated ? each(input, of.gate, of.width, model_.width) : Value{};
    const Value up = each(input, of.up, of.width, model_.width);
    const Value y = gate ? b_.gated(gate, up, gate_attributes()) : activated(up);
    moe.x_per_expert = 1;
    Value chosen = each(y, of.down, model_.width, of.width);
    if (!of.weighs_input) chosen = b_.moe_combine(chosen, route.weights, moe);
    return of.shared_width ? b_.add(chosen, shared_expert(x)) : chosen;
  }

  Value shared_expert(Value x) {
    const Experts& of = model_.experts;
    const std::int64_t width = of.shared_width;
    const Value gate = model_.gated ? fused(x, of.shared_gate, of.shared_gate_up, {0, width}, Bias::kNever) : Value{};
    const Value up = fused(x, of.shared_up, of.shared_gate_up, {width, 2 * width}, Bias::kNever);
    const Value inner = gate ? b_.gated(gate, up, gate_attributes()) : activated(up);
    const Value y = linear(inner, of.shared_down, model_.width, width, Bias::kNever);
    if (!of.shared_router) return y;
    // A mixture of this one expert, which a row takes as far as the sigmoid of its score says.
    auto moe = make<nacelle_moe_attributes>();
    moe.expert_count = moe.used_count = 1;
    moe.routing = NACELLE_ROUTE_SIGMOID;
    moe.scale = 1;
    Source row = inside(of.shared_router, ".weight");
    row.gguf = reshape(row.gguf, {1, model_.width});
    const Value score = b_.matmul(x, block_weight(of.shared_router, ".weight", {1, model_.width}, row));
    return b_.moe_combine(y, b_.moe_route(score, {}, moe).weights, moe);
  }

  Source expert_source(const Names& names, bool is_bias) const {
    const Experts& of = model_.experts;
    const std::string suffix = is_bias ? ".bias" : ".weight", stacked(names.gguf);
    const std::string single = "blk.{layer}." + stacked.substr(0, stacked.rfind("_exps")) + ".{expert}" + suffix;
    const Expr gguf = first_of({gguf_in_block(names, suffix), stack(single, of.count)});
    if (of.huggingface_source) return {gguf, of.huggingface_source(names, is_bias)};
    const Expr single_source = stack(huggingface_in_block(of.huggingface, names, suffix), of.count);
    return {gguf, is_bias ? single_source : first_of({single_source, module_source(names)})};
  }

  // As transformers holds them since 5.0, one tensor for all experts and one for gate and up: so they may be saved, and
  // so PEFT changes them.
  Expr module_source(const Names& names) const {
    const Experts& of = model_.experts;
    if (&names == &of.down) return huggingface_in_block(of.module, {"", "down_proj"}, "");
    if (!model_.gated) return huggingface_in_block(of.module, {"", "up_proj"}, "");
    const std::int64_t which = &names == &of.up;
    const Expr both = huggingface_in_block(of.module, {"", "gate_up_proj"}, "");
    const Expr halves = reshape(both, {of.count, 2, of.width, model_.width});
    return reshape(slice(halves, 1, which, which + 1), {of.count, of.width, model_.width});
  }

  // ---- Weights ----

  // A product with its own matrix, or with rows of the fused one.
  Value fused(Value x, const Names& own, const Names& all, const Part& part, Bias bias) {
    const std::int64_t rows = part.end - part.begin;
    if (!all && (&own == &names_.q || &own == &names_.k))
      return b_.matmul(x,
                       block_weight(own, ".weight", {rows, model_.width},
                                    rows_of_heads(matrix(own), rows / model_.head_width, model_.width)),
                       bias_of_heads(own, bias, rows));
    if (!all) return linear(x, own, rows, model_.width, bias);
    const bool turns = &own == &names_.q || &own == &names_.k;
    const auto in_order = [&](Source source, std::int64_t columns) {
      return turns ? rows_of_heads(std::move(source), rows / model_.head_width, columns) : source;
    };
    const Value w =
        block_weight(own, ".weight", {rows, model_.width}, in_order(part_of(own, all, ".weight", part), model_.width));
    Value b;
    if (bias != Bias::kNever)
      b = block_weight(own, ".bias", {rows}, in_order(part_of(own, all, ".bias", part), 0), bias == Bias::kOptional);
    return b_.matmul(x, w, b);
  }

  Source part_of(const Names& own, const Names& all, const std::string& suffix, const Part& part) const {
    const bool is_matrix = suffix == ".weight";
    const Source whole = is_matrix ? matrix(all) : inside(all, suffix);
    const Expr apart = gguf_in_block(own, suffix);
    const Expr gguf = all.gguf[0] ? first_of({slice(whole.gguf, 0, part.begin, part.end), apart}) : apart;
    if (names_.layout != Layout::kGroupHeads) return {gguf, slice(whole.huggingface, 0, part.begin, part.end)};
    const std::int64_t groups = model_.kv_head_count, width = model_.head_width, rows = part.end - part.begin;
    const std::int64_t heads = model_.head_count / groups + 2;
    const auto heads_of = [&](Expr shaped) { return slice(std::move(shaped), 1, part.first, part.last); };
    if (!is_matrix) return {gguf, reshape(heads_of(reshape(whole.huggingface, {groups, heads, width})), {rows})};
    return {gguf,
            reshape(heads_of(reshape(whole.huggingface, {groups, heads, width, model_.width})), {rows, model_.width})};
  }

  // Of queries and keys, which may lie otherwise in the file that is not at hand.
  // `columns` 0: of a bias.
  Source rows_of_heads(Source source, std::int64_t heads, std::int64_t columns) const {
    const std::int64_t rows = heads * model_.head_width;
    if (Expr* other = of_other_file(source)) {
      const Expr each = turned(*other, heads, std::max<std::int64_t>(columns, 1));
      *other = columns ? reshape(each, {rows, columns}) : reshape(each, {rows});
    }
    return source;
  }

  // The same of their biases.
  Value bias_of_heads(const Names& names, Bias bias, std::int64_t rows) {
    if (bias == Bias::kNever) return {};
    const Source source = rows_of_heads(inside(names, ".bias"), rows / model_.head_width, 0);
    return block_weight(names, ".bias", {rows}, source, bias == Bias::kOptional);
  }

  Expr* of_other_file(Source& source) const {
    if (!names_.gguf_pairs) return nullptr;
    return model_.rope.style == NACELLE_ROPE_INTERLEAVED ? &source.huggingface : &source.gguf;
  }

  // Of each head the rows that turn, from halves to pairs or back, in front of those that stay: [heads, head_width,
  // columns].
  Expr turned(const Expr& from, std::int64_t heads, std::int64_t columns) const {
    const std::int64_t turning = model_.rope.rotary_width, width = model_.head_width, half = turning / 2;
    const bool to_pairs = model_.rope.style == NACELLE_ROPE_INTERLEAVED;
    const auto swapped = [&](const Expr& part) {
      return permute(reshape(part, {heads, to_pairs ? 2 : half, to_pairs ? half : 2, columns}), {0, 2, 1, 3});
    };
    if (turning == width) return swapped(from);
    const Expr each = reshape(from, {heads, width, columns});
    return concat(
        1, {reshape(swapped(slice(each, 1, 0, turning)), {heads, turning, columns}), slice(each, 1, turning, width)});
  }

  Value linear(Value x, const Names& names, std::int64_t outputs, std::int64_t inputs, Bias bias) {
    return b_.matmul(x, block_weight(names, ".weight", {outputs, inputs}, matrix(names)),
                     bias_of(names, bias, {outputs}));
  }

  Value bias_of(const Names& names, Bias bias, std::initializer_list<std::int64_t> shape) {
    if (bias == Bias::kNever) return {};
    return block_weight(names, ".bias", shape, inside(names, ".bias"), bias == Bias::kOptional);
  }

  Value block_weight(const Names& names, const char* suffix, std::initializer_list<std::int64_t> shape,
                     const Source& source, bool optional = false) {
    const std::string name = "blk." + std::to_string(layer_) + "." + names.gguf + suffix;
    return optional ? b_.optional_weight(name, shape, source) : b_.weight(name, shape, source);
  }

  Source matrix(const Names& names) const {
    Source source = inside(names, ".weight");
    if (names_.layout == Layout::kTransposed) source.huggingface = transpose(source.huggingface);
    return source;
  }
  Source inside(const Names& names, const std::string& suffix) const {
    return {gguf_in_block(names, suffix), huggingface_in_block("", names, suffix)};
  }
  // Of a tensor whose name in Hugging Face's files has no suffix.
  Source whole_name(const Names& names, const char* suffix) const {
    return {gguf_in_block(names, suffix), huggingface_in_block("", names, "")};
  }
  Source outside(const Names& names, const char* suffix) const {
    const Expr own = names_.prefix + names.huggingface + suffix;
    if (names_.other_prefix.empty()) return {std::string(names.gguf) + suffix, own};
    return {std::string(names.gguf) + suffix, first_of({own, names_.other_prefix + names.huggingface + suffix})};
  }
  static std::string gguf_in_block(const Names& names, const std::string& suffix) {
    return std::string("blk.{layer}.") + names.gguf + suffix;
  }
  Expr huggingface_in_block(const char* before, const Names& names, const std::string& suffix) const {
    const std::string inside = std::string(names_.blocks) + ".{layer}." + before + names.huggingface + suffix;
    const Expr own = names_.prefix + inside;
    return names_.other_prefix.empty() ? own : first_of({own, names_.other_prefix + inside});
  }

  Builder& b_;
  const Decoder& model_;
  const Tensors& names_;
  std::vector<Group> groups_;
  Value positions_, short_factors_, long_factors_, table_;
  std::uint32_t layer_ = 0;
};

}  // namespace nacelle::sdk
