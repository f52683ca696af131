#include "sdk/conformance/grown_cases.hpp"

#include <algorithm>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>

namespace nacelle::conformance {
namespace {

constexpr std::uint32_t kRows = 33;

sdk::Attributes norm_of(float epsilon, std::uint32_t group = 0, float weight_offset = 0) {
  auto a = sdk::make<nacelle_norm_attributes>();
  a.epsilon = epsilon;
  a.group = group;
  a.weight_offset = weight_offset;
  return sdk::Attributes(a);
}

sdk::Attributes activation_of(std::uint32_t activation, float clamp = 0, float alpha = 1, float up_offset = 0) {
  auto a = sdk::make<nacelle_activation_attributes>();
  a.activation = activation;
  a.clamp = clamp;
  a.alpha = alpha;
  a.up_offset = up_offset;
  return sdk::Attributes(a);
}

sdk::Attributes embedding_of(float scale) {
  auto a = sdk::make<nacelle_embedding_attributes>();
  a.scale = scale;
  return sdk::Attributes(a);
}

sdk::Attributes rope_of(std::uint32_t style, std::uint32_t head_width, std::uint32_t rotary_width) {
  auto a = sdk::make<nacelle_rope_attributes>();
  a.style = style;
  a.head_width = head_width;
  a.rotary_width = rotary_width;
  a.base = 10000;
  a.factor = 1;
  a.attention_factor = 1;
  return sdk::Attributes(a);
}

nacelle_attention_attributes attention_of(std::uint32_t heads, std::uint32_t kv_heads, std::uint32_t key_width,
                                          std::uint32_t value_width) {
  auto a = sdk::make<nacelle_attention_attributes>();
  a.head_count = heads;
  a.kv_head_count = kv_heads;
  a.key_width = key_width;
  a.value_width = value_width;
  a.causal = 1;
  a.scale = 0.5f;
  return a;
}

std::string label(const char* op, nacelle_type type, std::initializer_list<std::int64_t> shape) {
  std::string name = std::string(op) + " " + type_info(type)->name;
  for (const std::int64_t extent : shape) name += " " + std::to_string(extent);
  return name;
}

void finish(std::vector<Case>& cases, Case&& of, std::uint32_t result, std::uint32_t rows = kRows) {
  of.set_result(result);
  of.context = std::max(of.context, rows);
  of.steps = in_chunks(rows, rows);
  cases.push_back(std::move(of));
}

void add_products(std::vector<Case>& cases, nacelle_type type) {
  const std::uint32_t block = type_info(type)->block_elements;
  std::vector<std::pair<std::int64_t, std::int64_t>> shapes = {{1, 32},   {3, 64},    {17, 96},
                                                               {64, 256}, {151, 288}, {8, 1024}};
  if (block == 1) shapes.insert(shapes.end(), {{5, 1}, {2, 7}, {33, 33}, {19, 130}});
  if (block == 256) shapes = {{1, 256}, {3, 512}, {17, 768}, {64, 256}, {151, 256}, {8, 1280}};
  for (const auto& [n, k] : shapes)
    for (const bool biased : {false, true}) {
      Case of(label(biased ? "matmul with bias" : "matmul", type, {n, k}));
      const std::uint32_t x = of.rows(k, 1), w = of.weight(type, {n, k}, 2);
      std::vector<std::uint32_t> inputs = {x, w};
      if (biased) inputs.push_back(of.weight(NACELLE_TYPE_F32, {n}, 3));
      const std::uint32_t y = of.op(NACELLE_OP_MATMUL, inputs)[0];
      finish(cases, std::move(of), y);
    }
  for (const std::int64_t width : {block == 256 ? 256 : 32, block == 256 ? 768 : 96, block == 1 ? 7 : 512}) {
    Case of(label("embedding", type, {width}));
    const std::uint32_t tokens = of.input(NACELLE_INPUT_TOKENS), table = of.weight(type, {kVocabulary, width}, 4);
    const std::uint32_t y = of.op(NACELLE_OP_EMBEDDING, {tokens, table}, embedding_of(0.75f))[0];
    finish(cases, std::move(of), y);
  }
}

void add_experts(std::vector<Case>& cases, nacelle_type type, std::uint32_t rows = kRows) {
  auto moe = sdk::make<nacelle_moe_attributes>();
  moe.expert_count = 5;
  moe.used_count = 2;
  moe.routing = NACELLE_ROUTE_SOFTMAX_THEN_TOP;
  moe.renormalise = 1;
  moe.scale = 1;
  const bool wide = type_info(type)->block_elements == 256;
  const std::int64_t inner = wide ? 256 : 96, width = wide ? 256 : 64;
  Case of(label("moe", type, {5, inner, width, rows}));
  const std::uint32_t x = of.rows(width, 1);
  const auto routed = of.op(NACELLE_OP_MOE_ROUTE, {of.rows(5, 2)}, sdk::Attributes(moe), {}, 2);
  const std::uint32_t up = of.weight(type, {5, inner, width}, 3), bias = of.weight(NACELLE_TYPE_F32, {5, inner}, 4);
  std::uint32_t y = of.op(NACELLE_OP_MOE_MATMUL, {x, up, routed[0], bias}, sdk::Attributes(moe))[0];
  moe.x_per_expert = 1;
  const std::uint32_t down = of.weight(type, {5, 33, inner}, 5);
  y = of.op(NACELLE_OP_MOE_MATMUL, {y, down, routed[0]}, sdk::Attributes(moe))[0];
  y = of.op(NACELLE_OP_MOE_COMBINE, {y, routed[1]}, sdk::Attributes(moe))[0];
  of.subject = NACELLE_OP_MOE_MATMUL;
  finish(cases, std::move(of), y, rows);
}

void add_rowwise(std::vector<Case>& cases, std::int64_t width) {
  const auto unary = [&](const char* name, std::uint32_t kind, sdk::Attributes attributes, float range) {
    Case of(std::string(name) + " " + std::to_string(width));
    const std::uint32_t y = of.op(kind, {of.rows(width, 1, range)}, std::move(attributes))[0];
    finish(cases, std::move(of), y);
  };
  unary("softmax", NACELLE_OP_SOFTMAX, {}, 20);
  unary("normalise", NACELLE_OP_NORMALISE, {}, 3);
  unary("bare rms_norm", NACELLE_OP_RMS_NORM, norm_of(1e-6f), 3);
  for (std::uint32_t act = NACELLE_ACT_SILU; act <= NACELLE_ACT_SIGMOID; ++act) {
    unary(("unary " + std::to_string(act)).c_str(), NACELLE_OP_UNARY, activation_of(act), 12);
    Case of("gated " + std::to_string(act) + " " + std::to_string(width));
    const std::uint32_t gate = of.rows(width, 1, 12), up = of.rows(width, 2);
    const std::uint32_t y = of.op(NACELLE_OP_GATED, {gate, up}, activation_of(act))[0];
    finish(cases, std::move(of), y);
  }
  for (const float range : {12.0f, 0.01f}) {
    Case of("xielu " + std::to_string(width) + (range < 1 ? " near 0" : ""));
    const std::uint32_t y =
        of.op(NACELLE_OP_XIELU, {of.rows(width, 1, range), of.weight(NACELLE_TYPE_F32, {4}, 2, 0.4f, -0.5f)})[0];
    finish(cases, std::move(of), y);
  }
  auto growth = sdk::make<nacelle_position_scale_attributes>();
  growth.strength = 0.1f;
  growth.length = 7;
  growth.offset = 1;
  Case scaled("position_scale " + std::to_string(width));
  const std::uint32_t grown =
      scaled.op(NACELLE_OP_POSITION_SCALE, {scaled.rows(width, 1), scaled.input(NACELLE_INPUT_POSITIONS)},
                sdk::Attributes(growth))[0];
  finish(cases, std::move(scaled), grown);
  for (const std::uint32_t kind : {NACELLE_OP_RMS_NORM, NACELLE_OP_LAYER_NORM}) {
    Case of((kind == NACELLE_OP_RMS_NORM ? "rms_norm " : "layer_norm ") + std::to_string(width));
    std::vector<std::uint32_t> inputs = {of.rows(width, 1), of.weight(NACELLE_TYPE_F32, {width}, 2)};
    if (kind == NACELLE_OP_LAYER_NORM) inputs.push_back(of.weight(NACELLE_TYPE_F32, {width}, 3));
    const std::uint32_t y = of.op(kind, inputs, norm_of(1e-5f, 0, 1))[0];
    finish(cases, std::move(of), y);
  }
  for (const std::uint32_t kind : {NACELLE_OP_ADD, NACELLE_OP_MUL}) {
    Case of((kind == NACELLE_OP_ADD ? "add " : "mul ") + std::to_string(width));
    const std::uint32_t a = of.rows(width, 1), b = of.rows(width, 2), row = of.weight(NACELLE_TYPE_F32, {width}, 3);
    const std::uint32_t y = of.op(kind, {of.op(kind, {a, b})[0], row})[0];
    finish(cases, std::move(of), y);
  }
  if (width < 3) return;
  Case of("split and concat " + std::to_string(width));
  const auto parts = of.op(NACELLE_OP_SPLIT, {of.rows(width, 1)}, {}, {1, width - 2, 1}, 3);
  const std::uint32_t y = of.op(NACELLE_OP_CONCAT, {parts[2], parts[1], parts[0]})[0];
  finish(cases, std::move(of), y);
}

void add_ropes(std::vector<Case>& cases) {
  struct Shape {
    std::uint32_t heads, width, rotary;
  };
  for (const Shape& shape : {Shape{1, 2, 2}, {3, 8, 6}, {5, 48, 48}, {2, 128, 64}, {4, 64, 64}})
    for (const std::uint32_t style : {NACELLE_ROPE_HALF, NACELLE_ROPE_INTERLEAVED}) {
      Case of("rope style " + std::to_string(style) + " " + std::to_string(shape.heads) + "x" +
              std::to_string(shape.width) + "/" + std::to_string(shape.rotary));
      const std::uint32_t x = of.rows(std::int64_t{shape.heads} * shape.width, 1);
      const std::uint32_t positions = of.input(NACELLE_INPUT_POSITIONS);
      const std::uint32_t y = of.op(NACELLE_OP_ROPE, {x, positions}, rope_of(style, shape.width, shape.rotary))[0];
      finish(cases, std::move(of), y);
    }
}

// One layer of tiny_decoder; returns its output.
std::uint32_t add_layer(Case& of, nacelle_type type, std::uint32_t layer, std::uint32_t x, std::uint32_t positions) {
  constexpr std::uint32_t kWidth = 64, kHeads = 4, kKvHeads = 2, kHead = 16, kInner = 96;
  const std::uint64_t seed = 100 * (layer + 1);
  const auto linear = [&](std::uint32_t from, std::int64_t n, std::int64_t k, std::uint64_t offset) {
    return of.op(NACELLE_OP_MATMUL, {from, of.weight(type, {n, k}, seed + offset, 0.25f)})[0];
  };
  const auto norm = [&](std::uint32_t from, std::uint64_t offset) {
    return of.op(NACELLE_OP_RMS_NORM, {from, of.weight(NACELLE_TYPE_F32, {kWidth}, seed + offset, 0.25f, 1)},
                 norm_of(1e-5f))[0];
  };
  const std::uint32_t h = norm(x, 1);
  const auto rope = rope_of(NACELLE_ROPE_HALF, kHead, kHead);
  const std::uint32_t q = of.op(NACELLE_OP_ROPE, {linear(h, kHeads * kHead, kWidth, 2), positions}, rope)[0];
  const std::uint32_t k = of.op(NACELLE_OP_ROPE, {linear(h, kKvHeads * kHead, kWidth, 3), positions}, rope)[0];
  const std::uint32_t v = linear(h, kKvHeads * kHead, kWidth, 4);
  auto attention = attention_of(kHeads, kKvHeads, kHead, kHead);
  attention.cache_group = layer;
  attention.window = layer == 1 ? 40 : 0;
  attention.scale = 0.25f;
  const std::uint32_t mixed = of.op(NACELLE_OP_ATTENTION, {q, k, v}, sdk::Attributes(attention))[0];
  x = of.op(NACELLE_OP_ADD, {x, linear(mixed, kWidth, kHeads * kHead, 5)})[0];
  const std::uint32_t g = norm(x, 6);
  const std::uint32_t gated = of.op(NACELLE_OP_GATED, {linear(g, kInner, kWidth, 7), linear(g, kInner, kWidth, 8)},
                                    activation_of(NACELLE_ACT_SILU))[0];
  return of.op(NACELLE_OP_ADD, {x, linear(gated, kWidth, kInner, 9)})[0];
}

}  // namespace

std::vector<nacelle_type> weight_types() {
  std::vector<nacelle_type> types = {NACELLE_TYPE_F32, NACELLE_TYPE_F16, NACELLE_TYPE_BF16};
  for (const TypeInfo& info : kTypes)
    if (info.block_elements > 1) types.push_back(info.type);
  return types;
}

std::vector<Case> row_cases() {
  std::vector<Case> cases;
  for (const nacelle_type type : weight_types()) {
    add_products(cases, type);
    add_experts(cases, type);
  }
  // More rows for an expert than share one pass over its weights.
  for (const nacelle_type type : {NACELLE_TYPE_F32, NACELLE_TYPE_Q8_0}) add_experts(cases, type, 201);
  for (const std::int64_t width : {1, 3, 33, 64, 257}) add_rowwise(cases, width);
  add_ropes(cases);
  return cases;
}

std::vector<Case> attention_cases() {
  struct Shape {
    std::uint32_t heads, kv_heads, key_width, value_width;
    bool aliased = false;  // values are the first columns of the keys
  };
  std::vector<Case> cases;
  const auto add = [&](const Shape& s, nacelle_type key_type, nacelle_type value_type, std::uint32_t window,
                       std::uint32_t kind = NACELLE_OP_ATTENTION) {
    Case of(std::string(kind == NACELLE_OP_ATTENTION ? "attention " : "chunked_attention ") + std::to_string(s.heads) +
            "/" + std::to_string(s.kv_heads) + " " + std::to_string(s.key_width) + "," + std::to_string(s.value_width) +
            " keys " + type_info(key_type)->name +
            (s.aliased ? " aliased" : std::string(" values ") + type_info(value_type)->name) +
            (window ? " window" : ""));
    of.key_type = key_type;
    of.value_type = value_type;
    of.context = 160;
    of.block_tokens = 16;
    auto attributes = attention_of(s.heads, s.kv_heads, s.key_width, s.value_width);
    attributes.cache_group =
        of.cache_group(s.kv_heads * s.key_width, s.aliased ? 0 : s.kv_heads * s.value_width, 1, window);
    attributes.window = window;
    const std::uint32_t q = of.rows(std::int64_t{s.heads} * s.key_width, 1);
    const std::uint32_t k = of.rows(std::int64_t{s.kv_heads} * s.key_width, 2);
    std::vector<std::uint32_t> inputs = {q, k};
    if (!s.aliased) inputs.push_back(of.rows(std::int64_t{s.kv_heads} * s.value_width, 3));
    of.set_result(of.op(kind, inputs, sdk::Attributes(attributes))[0]);
    of.steps = in_chunks(150, 75);
    cases.push_back(std::move(of));
  };
  const nacelle_type types[] = {NACELLE_TYPE_F32, NACELLE_TYPE_F16, NACELLE_TYPE_BF16, NACELLE_TYPE_Q8_0,
                                NACELLE_TYPE_Q4_0};
  for (const nacelle_type key_type : types)
    for (const nacelle_type value_type : types) add({4, 2, 32, 32}, key_type, value_type, 0);
  for (const Shape& shape : {Shape{1, 1, 8, 8},
                             {6, 2, 48, 48},
                             {7, 7, 20, 12},
                             {8, 1, 128, 128},
                             {3, 3, 5, 3},
                             {16, 1, 72, 64, true},
                             {6, 2, 40, 24, true}}) {
    add(shape, NACELLE_TYPE_F32, NACELLE_TYPE_F32, 0);
    add(shape, NACELLE_TYPE_F16, NACELLE_TYPE_F16, 21);
    // Chunks that end within a block and with it, and that a step cuts.
    add(shape, NACELLE_TYPE_F32, NACELLE_TYPE_F32, 37, NACELLE_OP_CHUNKED_ATTENTION);
    add(shape, NACELLE_TYPE_F16, NACELLE_TYPE_F16, 64, NACELLE_OP_CHUNKED_ATTENTION);
  }
  Shape latent{2, 1, 576, 512, true};  // DeepSeek's
  add(latent, NACELLE_TYPE_F16, NACELLE_TYPE_F16, 0);
  add(latent, NACELLE_TYPE_Q8_0, NACELLE_TYPE_Q8_0, 0);
  return cases;
}

Case tiny_decoder(nacelle_type type, nacelle_type cache_type) {
  Case of(std::string("decoder ") + type_info(type)->name + " cache " + type_info(cache_type)->name);
  of.key_type = of.value_type = cache_type;
  of.block_tokens = 16;
  of.context = 640;
  of.cache_group(32, 32);
  of.cache_group(32, 32, 1, 40);
  const std::uint32_t tokens = of.input(NACELLE_INPUT_TOKENS), positions = of.input(NACELLE_INPUT_POSITIONS);
  const std::uint32_t table = of.weight(type, {kVocabulary, 64}, 1);
  std::uint32_t x = of.op(NACELLE_OP_EMBEDDING, {tokens, table}, embedding_of(1))[0];
  for (std::uint32_t layer = 0; layer < 2; ++layer) x = add_layer(of, type, layer, x, positions);
  x = of.op(NACELLE_OP_GATHER, {x, of.input(NACELLE_INPUT_OUTPUT_ROWS)})[0];
  x = of.op(NACELLE_OP_RMS_NORM, {x, of.weight(NACELLE_TYPE_F32, {64}, 2, 0.25f, 1)}, norm_of(1e-5f))[0];
  // As many logits as tokens have embeddings, so that the best candidate can be the next token.
  const std::uint32_t logits = of.op(NACELLE_OP_MATMUL, {x, of.weight(type, {kVocabulary, 64}, 3)})[0];
  of.set_result(logits, NACELLE_OUTPUT_LOGITS);
  of.op(NACELLE_OP_LOGITS_SELECT, {logits}, {}, {}, 0);
  of.subject = kDecoder;
  return of;
}

Steps in_chunks(std::uint32_t rows, std::uint32_t chunk) {
  Steps steps;
  for (std::uint32_t start = 0; start < rows; start += chunk)
    steps.push_back({{0, start, std::min(chunk, rows - start)}});
  return steps;
}

Steps in_batches(std::uint32_t sequences, std::uint32_t batch) {
  Steps steps;
  for (std::uint32_t s = 0; s < sequences; ++s) steps.push_back({{s, 0, 3}});
  for (const std::uint32_t position : {3u, 4u})
    for (std::uint32_t first = 0; first < sequences; first += batch) {
      steps.emplace_back();
      for (std::uint32_t s = first; s < std::min(first + batch, sequences); ++s)
        steps.back().push_back({s, position, 1});
    }
  return steps;
}

}  // namespace nacelle::conformance
