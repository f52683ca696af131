// The architecture "@NAME@". It is whole as it stands: a small decoder with grouped attention and a gated feed-forward.
// FILL IN marks the places where your family differs. It says what is computed, and never sees a device: whatever
// backend is there runs it.
#include <nacelle/architecture.hpp>

namespace {

using namespace nacelle::sdk;

struct Sizes {
  std::uint32_t layers, width, heads, kv_heads, head_width, inner, vocabulary, context;
  double epsilon, rope_base;
  bool tied;  // the head is the embedding
};

// FILL IN: the keys of your family's files; `size` throws one line that names the key where it is missing or senseless.
Sizes read(const Config& config) {
  const bool gguf = config.is_gguf();
  Sizes s{};
  s.layers = config.size(gguf ? "@NAME@.block_count" : "num_hidden_layers", 1, 1024);
  s.width = config.size(gguf ? "@NAME@.embedding_length" : "hidden_size");
  s.heads = config.size(gguf ? "@NAME@.attention.head_count" : "num_attention_heads", 1, 1024);
  s.kv_heads = config.size(gguf ? "@NAME@.attention.head_count_kv" : "num_key_value_heads", 1, s.heads);
  s.inner = config.size(gguf ? "@NAME@.feed_forward_length" : "intermediate_size");
  s.vocabulary = config.size(gguf ? "@NAME@.vocab_size" : "vocab_size");
  s.context = config.size(gguf ? "@NAME@.context_length" : "max_position_embeddings");
  s.epsilon = config.number(gguf ? "@NAME@.attention.layer_norm_rms_epsilon" : "rms_norm_eps");
  s.rope_base = config.optional_number(gguf ? "@NAME@.rope.freq_base" : "rope_theta").value_or(10000);
  // GGUF says it by leaving the head out, config.json by a key.
  s.tied = gguf ? !config.has_tensor("output.weight") : config.optional_bool("tie_word_embeddings").value_or(false);
  s.head_width = s.width / s.heads;
  if (s.width % s.heads || s.heads % s.kv_heads || s.head_width % 2)
    throw Failure(NACELLE_INVALID_ARGUMENT, "@NAME@: width " + std::to_string(s.width) + ", " +
                                                std::to_string(s.heads) + " heads and " + std::to_string(s.kv_heads) +
                                                " of keys do not divide each other");
  return s;
}

class Graph {
 public:
  Graph(Builder& builder, const Sizes& sizes) : b_(builder), s_(sizes) {}

  // FILL IN: your block. Layers may use only what they make and what is carried in: there the host may cut the model.
  void build() {
    cache_ = b_.paged_cache(s_.layers, s_.kv_heads * s_.head_width, s_.kv_heads * s_.head_width);
    positions_ = b_.positions();
    Source embedding = {"token_embd.weight", "model.embed_tokens.weight"};
    if (s_.tied)
      embedding.huggingface = first_of({"model.embed_tokens.weight", "lm_head.weight"});  // some keep this one
    const Value table = b_.weight("token_embd", {s_.vocabulary, s_.width}, embedding);
    Value x = b_.embedding(b_.tokens(), table);
    for (std::uint32_t layer = 0; layer < s_.layers; ++layer)
      x = b_.layer(layer, {x}, [&] {
        layer_ = layer;
        const Value h = b_.add(x, attention(norm(x, "attn_norm", "input_layernorm")));
        return b_.add(h, feed_forward(norm(h, "ffn_norm", "post_attention_layernorm")));
      });
    x = b_.gather(x, b_.output_rows());  // only these rows' logits are wanted
    x = b_.rms_norm(x, weight("output_norm", "model.norm", {s_.width}), norm_attributes(s_.epsilon));
    b_.mark_logits(b_.matmul(x, s_.tied ? table : weight("output", "lm_head", {s_.vocabulary, s_.width})));
  }

 private:
  Value attention(Value x) {
    const std::uint32_t q_width = s_.heads * s_.head_width, k_width = s_.kv_heads * s_.head_width;
    const auto turned = rope_attributes(NACELLE_ROPE_HALF, s_.head_width, s_.rope_base);
    const Value q = b_.rope(linear(x, "attn_q", "self_attn.q_proj", q_width, s_.width), positions_, turned);
    const Value k = b_.rope(linear(x, "attn_k", "self_attn.k_proj", k_width, s_.width), positions_, turned);
    const Value v = linear(x, "attn_v", "self_attn.v_proj", k_width, s_.width);
    auto attributes = attention_attributes(s_.heads, s_.kv_heads, s_.head_width);
    attributes.cache_group = cache_;
    attributes.cache_layer = layer_;
    return linear(b_.attention(q, k, v, attributes), "attn_output", "self_attn.o_proj", s_.width, q_width);
  }

  Value feed_forward(Value x) {
    const Value gate = linear(x, "ffn_gate", "mlp.gate_proj", s_.inner, s_.width);
    const Value up = linear(x, "ffn_up", "mlp.up_proj", s_.inner, s_.width);
    return linear(b_.gated(gate, up, activation_attributes(NACELLE_ACT_SILU)), "ffn_down", "mlp.down_proj", s_.width,
                  s_.inner);
  }

  Value norm(Value x, const char* gguf, const char* huggingface) {
    return b_.rms_norm(x, block_weight(gguf, huggingface, {s_.width}), norm_attributes(s_.epsilon));
  }
  Value linear(Value x, const char* gguf, const char* huggingface, std::int64_t outputs, std::int64_t inputs) {
    return b_.matmul(x, block_weight(gguf, huggingface, {outputs, inputs}));
  }

  // FILL IN: the names of your family's tensors. Source has an expression for each format: tensor, concat, slice, ...
  Value weight(const std::string& gguf, const std::string& huggingface, std::initializer_list<std::int64_t> shape) {
    return b_.weight(gguf, shape, {gguf + ".weight", huggingface + ".weight"});
  }
  Value block_weight(const std::string& gguf, const std::string& huggingface,
                     std::initializer_list<std::int64_t> shape) {
    const std::string layer = std::to_string(layer_);
    return weight("blk." + layer + "." + gguf, "model.layers." + layer + "." + huggingface, shape);
  }

  Builder& b_;
  const Sizes& s_;
  Value positions_;
  std::uint32_t cache_ = 0, layer_ = 0;
};

struct Family {
  // FILL IN: which models are yours; nobody else may say yes to them.
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "@NAME@" : "@NAME@ForCausalLM");
  }
  // FILL IN: what the engine and `nacelle inspect` must know beside the graph.
  static nacelle_model_description describe(const Config& config) {
    const Sizes s = read(config);
    auto description = make<nacelle_model_description>();
    description.kind = NACELLE_MODEL_DECODER;
    description.context_length = s.context;
    description.layer_count = s.layers;
    description.width = s.width;
    description.head_count = s.heads;
    description.kv_head_count = s.kv_heads;
    description.head_width = s.head_width;
    description.feed_forward_width = s.inner;
    description.vocabulary = s.vocabulary;
    return description;
  }
  static void build(const Config& config, Builder& builder) {
    const Sizes sizes = read(config);
    Graph(builder, sizes).build();
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Family, "@NAME@", "0.1.0")
