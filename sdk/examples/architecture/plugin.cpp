// "Twin", an invented family: attention and feed-forward look at the same normalised rows, side by side, and both are
// added. Queries, keys and values are stored as one weight, of which the host cuts three parts; the feed-forward is a
// plain GELU; the logits are capped. Hugging Face layout only.
#include <nacelle/architecture.hpp>

namespace {

using namespace nacelle::sdk;

struct Sizes {
  std::uint32_t layers, width, heads, inner, vocabulary, context;
  double cap;
  std::uint32_t head_width() const { return width / heads; }
};

Sizes read(const Config& config) {
  Sizes s{};
  s.layers = config.size("n_layer", 1, 256);
  s.width = config.size("n_embd");
  s.heads = config.size("n_head", 1, 1024);
  s.inner = config.size("n_inner");
  s.vocabulary = config.size("vocab_size");
  s.context = config.size("n_ctx");
  s.cap = config.number("logit_cap");
  if (s.width % (2 * s.heads)) config.fail_key("n_head", "does not cut " + std::to_string(s.width) + " columns evenly");
  if (s.cap <= 0) config.fail_key("logit_cap", "is not above 0");
  return s;
}

// Both formats in one: this family has no GGUF files.
Source only(const Expr& expression) { return {expression, expression}; }

class TwinGraph {
 public:
  TwinGraph(Builder& builder, const Sizes& sizes) : b_(builder), s_(sizes) {}

  void build() {
    cache_ = b_.paged_cache(s_.layers, s_.width, s_.width);
    positions_ = b_.positions();
    const Value table = b_.weight("embed.weight", {s_.vocabulary, s_.width}, only("embed.weight"));
    Value x = b_.embedding(b_.tokens(), table);
    for (std::uint32_t layer = 0; layer < s_.layers; ++layer)
      x = b_.layer(layer, {x}, [&] {
        layer_ = layer;
        const Value h = norm(x, "blocks." + std::to_string(layer) + ".norm");
        return b_.add(b_.add(x, attention(h)), feed_forward(h));
      });
    x = norm(b_.gather(x, b_.output_rows()), "norm");
    // The head is the table again; scale with a soft cap is 30 tanh(x / 30).
    b_.mark_logits(b_.scale(b_.matmul(x, table), 1, 0, static_cast<float>(s_.cap)));
  }

 private:
  Value attention(Value x) {
    const Value q = turned(b_.matmul(x, third("q", 0))), k = turned(b_.matmul(x, third("k", 1)));
    const Value v = b_.matmul(x, third("v", 2));
    auto attributes = attention_attributes(s_.heads, s_.heads, s_.head_width());
    attributes.cache_group = cache_;
    attributes.cache_layer = layer_;
    return b_.matmul(b_.attention(q, k, v, attributes), block("out.weight", {s_.width, s_.width}));
  }

  Value feed_forward(Value x) {
    const Value up = b_.matmul(x, block("up.weight", {s_.inner, s_.width}), block("up.bias", {s_.inner}));
    return b_.matmul(b_.unary(up, NACELLE_ACT_GELU_TANH), block("down.weight", {s_.width, s_.inner}));
  }

  Value turned(Value x) { return b_.rope(x, positions_, rope_attributes(NACELLE_ROPE_INTERLEAVED, s_.head_width())); }

  Value norm(Value x, const std::string& name) {
    const Value weight = b_.weight(name + ".weight", {s_.width}, only(name + ".weight"));
    const Value bias = b_.weight(name + ".bias", {s_.width}, only(name + ".bias"));
    return b_.layer_norm(x, weight, bias, norm_attributes(1e-5));
  }

  Value block(const std::string& name, std::initializer_list<std::int64_t> shape) {
    const std::string full = "blocks." + std::to_string(layer_) + "." + name;
    return b_.weight(full, shape, only(full));
  }

  // Rows of the fused [3 * width, width].
  Value third(const std::string& name, std::int64_t index) {
    const std::string prefix = "blocks." + std::to_string(layer_) + ".";
    const std::int64_t width = s_.width;
    return b_.weight(prefix + name + ".weight", {width, width},
                     only(slice(tensor(prefix + "qkv.weight"), 0, index * width, (index + 1) * width)));
  }

  Builder& b_;
  const Sizes& s_;
  Value positions_;
  std::uint32_t cache_ = 0, layer_ = 0;
};

struct Twin {
  static bool match(const Config& config) { return !config.is_gguf() && config.architecture() == "TwinForCausalLM"; }
  static nacelle_model_description describe(const Config& config) {
    const Sizes s = read(config);
    auto description = make<nacelle_model_description>();
    description.kind = NACELLE_MODEL_DECODER;
    description.context_length = s.context;
    description.layer_count = s.layers;
    description.width = s.width;
    description.head_count = description.kv_head_count = s.heads;
    description.head_width = s.head_width();
    description.feed_forward_width = s.inner;
    description.vocabulary = s.vocabulary;
    return description;
  }
  static void build(const Config& config, Builder& builder) {
    const Sizes sizes = read(config);
    TwinGraph(builder, sizes).build();
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Twin, "twin", "1.0.0")
