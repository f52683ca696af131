// Every operation kind: the output's shape and type, then a table of what must be refused and with which words.
#include <catch2/catch.hpp>
#include <functional>
#include <string>
#include <vector>

#include "tests/unit/runtime/graphs.hpp"

using namespace nacelle;
using namespace nacelle::sdk;
using namespace nacelle::test;

namespace {

constexpr std::int64_t kRows = NACELLE_DIM_ROWS;

nacelle_moe_attributes moe(std::uint32_t experts, std::uint32_t used) {
  auto a = make<nacelle_moe_attributes>();
  a.expert_count = experts;
  a.used_count = used;
  a.routing = NACELLE_ROUTE_SOFTMAX_THEN_TOP;
  a.scale = 1;
  return a;
}

// `change` edits the attributes of an otherwise sound operation.
template <class T>
T changed(T attributes, const std::function<void(T&)>& change) {
  change(attributes);
  return attributes;
}

void rope(Sketch& s, const std::function<void(nacelle_rope_attributes&)>& change) {
  s.b.rope(s.x(32), s.b.positions(), changed(rope_attributes(NACELLE_ROPE_HALF, 16), change));
}

// 4 heads of 8 over 2 kv heads, in a group of one layer.
void attention(Sketch& s, const std::function<void(nacelle_attention_attributes&)>& change) {
  s.b.paged_cache(1, 16, 16);
  s.b.attention(s.x(32), s.x(16), s.x(16), changed(attention_attributes(4, 2, 8), change));
}

void chunked_attention(Sketch& s, const std::function<void(nacelle_attention_attributes&)>& change) {
  s.b.paged_cache(1, 16, 16);
  auto of = attention_attributes(4, 2, 8);
  of.window = 32;
  s.b.chunked_attention(s.x(32), s.x(16), s.x(16), changed(of, change));
}

void norm(Sketch& s, const std::function<void(nacelle_norm_attributes&)>& change) {
  s.b.rms_norm(s.x(32), {}, changed(norm_attributes(1e-5), change));
}

void gated(Sketch& s, const std::function<void(nacelle_activation_attributes&)>& change) {
  s.b.gated(s.x(8), s.x(8), changed(activation_attributes(NACELLE_ACT_SILU), change));
}

void route(Sketch& s, const std::function<void(nacelle_moe_attributes&)>& change) {
  s.b.moe_route(s.x(8), {}, changed(moe(8, 2), change));
}

// 4 heads of keys of 3 and values of 5 over 2 groups, in a group of two layers where the sketch has none yet.
void scan(Sketch& s, const std::function<void(nacelle_scan_attributes&)>& change,
          const std::function<void(Sketch&, Builder::Scan&)>& change_inputs = {}) {
  auto a = make<nacelle_scan_attributes>();
  a.rule = NACELLE_SCAN_DELTA;
  a.head_count = 4;
  a.group_count = 2;
  a.key_width = 3;
  a.value_width = 5;
  a.scale = 1;
  s.b.state_cache(2, 60);
  Builder::Scan inputs{s.x(6), s.x(6), s.x(20), s.x(4), s.weight({4}), {}, {}, {}};
  if (change_inputs) change_inputs(s, inputs);
  s.b.state_scan(inputs, changed(a, change));
}

nacelle_convolution_attributes convolution_attributes(std::uint32_t length) {
  auto a = make<nacelle_convolution_attributes>();
  a.length = length;
  a.activation = NACELLE_ACT_SILU;
  return a;
}

// 8 columns by filters of 4.
void convolution(Sketch& s, const std::function<void(nacelle_convolution_attributes&)>& change) {
  s.b.state_cache(1, 24);
  s.b.convolution(s.x(8), s.weight({8, 4}), s.weight({8}), changed(convolution_attributes(4), change));
}

// An operation past the author's layer, which cannot write these.
void raw(Sketch& s, std::uint32_t kind, std::vector<std::uint32_t> inputs, std::uint32_t outputs,
         const void* attributes = nullptr) {
  auto op = make<nacelle_op>();
  op.kind = kind;
  op.inputs = inputs.data();
  op.input_count = static_cast<std::uint32_t>(inputs.size());
  op.output_count = outputs;
  op.attributes = attributes;
  std::vector<std::uint32_t> made(outputs + 1);
  const auto* table = s.host.table();
  if (table->op(table->context, &op, nullptr, made.data()) != NACELLE_OK) throw Failure(NACELLE_INVALID_ARGUMENT, "");
}

}  // namespace

TEST_CASE("output shapes follow from the inputs") {
  struct Case {
    const char* name;
    std::function<Value(Sketch&)> make;
    Shape shape;
  };
  const Case cases[] = {
      {"embedding",
       [](Sketch& s) {
         return s.b.embedding(s.b.tokens(), s.weight({100, 24}));
       },
       {kRows, 24}},
      {"matmul",
       [](Sketch& s) {
         return s.b.matmul(s.x(24), s.weight({40, 24}), s.weight({40}));
       },
       {kRows, 40}},
      {"quantised matmul",
       [](Sketch& s) {
         return s.b.matmul(s.x(64), s.weight({40, 64}, "q8"));
       },
       {kRows, 40}},
      {"rms_norm",
       [](Sketch& s) { return s.b.rms_norm(s.x(24), s.weight({24}, "f16"), norm_attributes(1e-5)); },
       {kRows, 24}},
      {"head norm",
       [](Sketch& s) { return s.b.rms_norm(s.x(24), s.weight({8}), norm_attributes(1e-5, 0, 8)); },
       {kRows, 24}},
      {"layer_norm",
       [](Sketch& s) { return s.b.layer_norm(s.x(24), s.weight({24}), s.weight({24}), norm_attributes(1e-5)); },
       {kRows, 24}},
      {"rope",
       [](Sketch& s) {
         return s.b.rope(s.x(32), s.b.positions(), rope_attributes(NACELLE_ROPE_HALF, 16), s.weight({8}));
       },
       {kRows, 32}},
      {"attention",
       [](Sketch& s) {
         s.b.paged_cache(1, 16, 8);
         auto a = attention_attributes(4, 2, 8);
         a.value_width = 4;
         return s.b.attention(s.x(32), s.x(16), s.x(8), a, s.weight({4}), s.weight({4, 65}));
       },
       {kRows, 16}},
      {"attention whose values are in its keys",
       [](Sketch& s) {
         s.b.paged_cache(1, 16, 0);
         auto a = attention_attributes(4, 1, 16);
         a.value_width = 12;
         return s.b.attention(s.x(64), s.x(16), {}, a);
       },
       {kRows, 48}},
      {"unary", [](Sketch& s) { return s.b.unary(s.x(8), NACELLE_ACT_GELU_TANH); }, {kRows, 8}},
      {"gated",
       [](Sketch& s) { return s.b.gated(s.x(8), s.x(8), activation_attributes(NACELLE_ACT_SILU)); },
       {kRows, 8}},
      {"softmax", [](Sketch& s) { return s.b.softmax(s.x(8)); }, {kRows, 8}},
      {"add", [](Sketch& s) { return s.b.add(s.x(8), s.x(8)); }, {kRows, 8}},
      {"add a row", [](Sketch& s) { return s.b.add(s.x(8), s.weight({8})); }, {kRows, 8}},
      {"mul", [](Sketch& s) { return s.b.mul(s.x(8), s.weight({8}, "f16")); }, {kRows, 8}},
      {"scale", [](Sketch& s) { return s.b.scale(s.x(8), 2, 1, 30); }, {kRows, 8}},
      {"split",
       [](Sketch& s) {
         return s.b.split(s.x(24), {16, 5, 3})[1];
       },
       {kRows, 5}},
      {"concat",
       [](Sketch& s) {
         return s.b.concat({s.x(8), s.x(3), s.x(2)});
       },
       {kRows, 13}},
      {"gather", [](Sketch& s) { return s.b.scale(s.b.gather(s.x(8), s.b.positions()), 1); }, {kRows, 8}},
      {"normalise", [](Sketch& s) { return s.b.normalise(s.x(8)); }, {kRows, 8}},
      {"moe",
       [](Sketch& s) {
         const auto a = moe(8, 2);
         const auto [experts, weights] = s.b.moe_route(s.x(8), s.weight({8}), a);
         const Value up = s.b.moe_matmul(s.x(24), s.weight({8, 40, 24}), experts, s.weight({8, 40}), a);
         auto down = a;
         down.x_per_expert = 1;
         return s.b.moe_combine(s.b.moe_matmul(up, s.weight({8, 24, 40}), experts, {}, down), weights, a);
       },
       {kRows, 24}},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    Sketch sketch;
    const Value value = c.make(sketch);
    CHECK(sketch.shape(value) == c.shape);
    CHECK(sketch.value(value).type == NACELLE_TYPE_F32);
  }
}

TEST_CASE("pooled and gathered rows have extents of their own") {
  Sketch sketch;
  const Value pooled = sketch.b.pool(sketch.x(8), NACELLE_POOL_MEAN);
  sketch.b.mark_embedding(pooled);
  const auto graph = sketch.host.build();
  CHECK(graph->record().values[pooled.id].shape[0] == NACELLE_DIM_SEQUENCES);
  CHECK(graph->find_output(NACELLE_OUTPUT_EMBEDDING) == pooled.id);
}

TEST_CASE("routed experts are u32, their weights f32") {
  Sketch sketch;
  const auto route_outputs = sketch.b.moe_route(sketch.x(8), {}, moe(8, 3));
  const Value y = sketch.b.scale(sketch.x(4), 1);
  sketch.b.mark_embedding(sketch.b.gather(y, sketch.b.output_rows()));
  const auto graph = sketch.host.build();
  CHECK(graph->record().values[route_outputs.experts.id].type == NACELLE_TYPE_U32);
  CHECK(graph->record().values[route_outputs.weights.id].type == NACELLE_TYPE_F32);
  CHECK(graph->record().values[route_outputs.experts.id].shape[1] == 3);
}

TEST_CASE("an adapter of experts gives what it is added to, where the experts divide it") {
  const auto make_adapter = [](Sketch& s, std::int64_t width, std::int64_t experts_of) {
    const auto choice = s.b.moe_route(s.x(8), {}, moe(8, static_cast<std::uint32_t>(experts_of)));
    auto attributes = make<nacelle_adapter_attributes>();
    attributes.target = s.weight({8, 5, 6}).id;
    raw(s, NACELLE_OP_MOE_ADAPTER_MATMUL, {s.x(width).id, s.x(6).id, s.b.positions().id, choice.experts.id}, 1,
        &attributes);
  };
  Sketch sound, odd;
  CHECK_NOTHROW(make_adapter(sound, 10, 2));
  CHECK_THROWS(make_adapter(odd, 10, 3));
  CHECK(
      odd.host.error() ==
      "operation moe_adapter_matmul before the first layer: the experts U32 [rows, 3] do not divide the width of y F32 "
      "[rows, 10]");
}

TEST_CASE("operations with a state give a row for each row, whatever they are given beside it") {
  const auto shape_of = [](const std::function<Value(Sketch&)>& make_value) {
    Sketch sketch;
    const Value value = make_value(sketch);
    return sketch.shape(value);
  };
  for (const bool by_key : {false, true})
    for (const bool all : {false, true})
      CHECK(shape_of([=](Sketch& s) {
              auto a = make<nacelle_scan_attributes>();
              a.rule = NACELLE_SCAN_ADD;
              a.cache_group = s.b.state_cache(1, 60);
              a.head_count = 4;
              a.group_count = 2;
              a.key_width = 3;
              a.value_width = 5;
              a.scale = 1;
              const std::int64_t steps = by_key ? 12 : 4;
              Builder::Scan of{s.x(6), s.x(6), s.x(20), s.x(steps), s.weight({4}), {}, {}, {}};
              if (all) of.step_bias = s.weight({steps}), of.skip = s.weight({4}, "f16");
              if (all || by_key) of.strength = s.x(4);
              return s.b.state_scan(of, a);
            }) == Shape{kRows, 20});
  CHECK(shape_of([](Sketch& s) {
          auto a = make<nacelle_scan_attributes>();
          a.rule = NACELLE_SCAN_ADD;
          a.cache_group = s.b.state_cache(1, 12);
          a.head_count = 4;
          a.group_count = 2;
          a.key_width = 3;
          a.value_width = 1;
          a.scale = 1;
          return s.b.state_scan({s.x(6), s.x(6), s.x(4), s.x(4), s.weight({12}), {}, {}, {}}, a);
        }) == Shape{kRows, 4});
  CHECK(shape_of([](Sketch& s) {
          s.b.state_cache(1, 24);
          return s.b.convolution(s.x(8), s.weight({8, 4}, "f16"), {}, convolution_attributes(4));
        }) == Shape{kRows, 8});
}

TEST_CASE("chunks, growth with the position and xIELU give what they are given") {
  Sketch chunks, growth, activation;
  chunks.b.paged_cache(1, 16, 16, 32);
  auto of = attention_attributes(4, 2, 8);
  of.window = 32;
  const Value mixed = chunks.b.chunked_attention(chunks.x(32), chunks.x(16), chunks.x(16), of, chunks.weight({4}));
  CHECK(chunks.shape(mixed) == Shape{kRows, 32});
  CHECK(growth.shape(growth.b.position_scale(growth.x(7), growth.b.positions(), 0.1f, 16, 1)) == Shape{kRows, 7});
  CHECK(activation.shape(activation.b.xielu(activation.x(9), activation.weight({4}, "f16"))) == Shape{kRows, 9});
}

TEST_CASE("what an operation does not take is refused in words") {
  using S = Sketch;
  struct Case {
    std::function<void(S&)> make;
    const char* error;  // after "operation NAME before the first layer: "
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Case cases[] = {
      {[](S& s) {
         s.b.embedding(s.x(8), s.weight({9, 8}));
       },
       "embedding: tokens is not u32 [rows] but F32 [rows, 8]"},
      {[](S& s) { s.b.embedding(s.b.tokens(), s.x(8)); },
       "embedding: table is not a weight of rank 2 but F32 [rows, 8]"},
      {[](S& s) {
         s.b.embedding(s.b.tokens(), s.weight({9, 8}), 0);
       },
       "embedding: scale is zero or not finite (1 leaves the rows as they are)"},
      {[](S& s) {
         s.b.matmul(s.x(8), s.weight({8, 9}));
       },
       "matmul: the weight F32 [8, 9] does not take rows of x F32 [rows, 8]"},
      {[](S& s) {
         s.b.matmul(s.x(8), s.weight({9, 8}), s.weight({8}));
       },
       "matmul: bias is F32 [8], a float weight [9] was expected"},
      {[](S& s) {
         s.b.matmul(s.x(8), s.weight({32, 8}), s.weight({32}, "q8"));
       },
       "matmul: bias is Q8_0 [32], a float weight [32] was expected"},
      {[](S& s) {
         s.b.matmul(s.weight({3, 8}), s.weight({9, 8}));
       },
       "matmul: x is not an f32 activation [rows, width] but F32 [3, 8]"},
      {[](S& s) { s.b.matmul(s.x(8), {}); }, "matmul: input 1 is absent"},
      {[](S& s) {
         s.b.matmul({99}, s.weight({9, 8}));
       },
       "matmul: value 99 does not exist"},
      {[=](S& s) { norm(s, [=](auto& a) { a.epsilon = nan; }); }, "rms_norm: epsilon or weight_offset is out of range"},
      {[](S& s) { norm(s, [](auto& a) { a.group = 5; }); },
       "rms_norm: group 5 does not divide the width of x F32 [rows, 32]"},
      {[](S& s) { norm(s, [](auto& a) { a.struct_size = 8; }); },
       "rms_norm: its attributes have 8 bytes, 32 were expected"},
      {[](S& s) { rope(s, [](auto& a) { a.style = 3; }); }, "rope: style is out of range"},
      {[](S& s) { rope(s, [](auto& a) { a.scaling = 5; }); }, "rope: scaling is out of range"},
      {[](S& s) { rope(s, [](auto& a) { a.head_width = 0; }); },
       "rope: head_width 0 does not divide the width of x F32 [rows, 32]"},
      {[](S& s) { rope(s, [](auto& a) { a.rotary_width = 17; }); },
       "rope: rotary_width must be even and between 2 and head_width"},
      {[](S& s) { rope(s, [](auto& a) { a.base = 1; }); },
       "rope: base must be above 1, factor above 0 and attention_factor at least 0"},
      {[](S& s) { rope(s, [](auto& a) { a.scaling = NACELLE_ROPE_SCALE_YARN; }); },
       "rope: original_context must be above 1"},
      {[](S& s) { rope(s, [](auto& a) { a.scaling = NACELLE_ROPE_SCALE_LLAMA3, a.original_context = 8192; }); },
       "rope: llama3 scaling needs 0 < low_frequency_factor < high_frequency_factor"},
      {[](S& s) { rope(s, [](auto& a) { a.scaling = NACELLE_ROPE_SCALE_LONGROPE, a.original_context = 8192; }); },
       "rope: longrope scaling needs factors"},
      {[](S& s) { s.b.rope(s.x(32), s.b.output_rows(), rope_attributes(NACELLE_ROPE_HALF, 16)); },
       "rope: positions is not u32 [rows] but U32 [output rows]"},
      {[](S& s) { attention(s, [](auto& a) { a.kv_head_count = 3; }); },
       "attention: head_count is not a multiple of kv_head_count"},
      {[](S& s) { attention(s, [](auto& a) { a.head_count = 8; }); },
       "attention: q is F32 [rows, 32], [rows, 64] was expected"},
      {[](S& s) { attention(s, [](auto& a) { a.head_count = a.kv_head_count = 1u << 31; }); },
       "attention: head_count, key_width or value_width is above 65536"},
      {[](S& s) { attention(s, [](auto& a) { a.causal = 2; }); }, "attention: causal is neither 0 nor 1"},
      {[](S& s) { attention(s, [](auto& a) { a.scale = 0; }); },
       "attention: scale, soft_cap or alibi_bias is out of range"},
      {[](S& s) { attention(s, [](auto& a) { a.cache_group = 1; }); }, "attention: cache group 1 does not exist"},
      {[](S& s) { attention(s, [](auto& a) { a.cache_layer = 1; }); },
       "attention: cache_layer 1 is not below the group's 1 layers"},
      {[](S& s) {
         s.b.paged_cache(1, 16, 16, 100);
         s.b.attention(s.x(32), s.x(16), s.x(16), attention_attributes(4, 2, 8));
       },
       "attention: the window reaches behind what its cache group keeps"},
      {[](S& s) {
         s.b.paged_cache(1, 8, 16);
         s.b.attention(s.x(32), s.x(16), s.x(16), attention_attributes(4, 2, 8));
       },
       "attention: key_width of the cache group is not kv_head_count * key_width"},
      {[](S& s) {
         s.b.paged_cache(1, 16, 16);
         s.b.attention(s.x(32), s.x(16), {}, attention_attributes(4, 2, 8));
       },
       "attention: value_width of the cache group is not kv_head_count * value_width (0 where v is absent)"},
      {[](S& s) {
         s.b.paged_cache(2, 16, 16);
         for (int i = 0; i < 2; ++i) s.b.attention(s.x(32), s.x(16), s.x(16), attention_attributes(4, 2, 8));
       },
       "attention: layer 0 of cache group 0 is used twice"},
      {[](S& s) {
         s.b.paged_cache(1, 16, 16);
         s.b.attention(s.x(32), s.x(16), s.x(16), attention_attributes(4, 2, 8), {}, s.weight({4, 64}));
       },
       "attention: bias table F32 [4, 64] is not [head_count, 2 * reach + 1]"},
      {[](S& s) { chunked_attention(s, [](auto& a) { a.window = 0; }); },
       "chunked_attention: attention in chunks is causal, has a cache and a window above 0, the length of a chunk"},
      {[](S& s) { chunked_attention(s, [](auto& a) { a.causal = 0; }); },
       "chunked_attention: attention in chunks is causal, has a cache and a window above 0, the length of a chunk"},
      {[](S& s) { chunked_attention(s, [](auto& a) { a.cache_group = NACELLE_NO_CACHE; }); },
       "chunked_attention: attention in chunks is causal, has a cache and a window above 0, the length of a chunk"},
      {[](S& s) { chunked_attention(s, [](auto& a) { a.scale = 0; }); },
       "chunked_attention: scale, soft_cap or alibi_bias is out of range"},
      {[](S& s) { s.b.position_scale(s.x(8), s.b.positions(), 0.1f, 0, 0); },
       "position_scale: strength must be finite, length above 0 and offset 0 or 1"},
      {[](S& s) { s.b.position_scale(s.x(8), s.b.positions(), 0.1f, 4, 2); },
       "position_scale: strength must be finite, length above 0 and offset 0 or 1"},
      {[](S& s) { s.b.position_scale(s.x(8), s.b.output_rows(), 0.1f, 4, 0); },
       "position_scale: positions is not u32 [rows] but U32 [output rows]"},
      {[](S& s) { s.b.xielu(s.x(8), s.weight({3})); }, "xielu: parameters is F32 [3], a float weight [4] was expected"},
      {[](S& s) { s.b.xielu(s.x(8), s.x(4)); }, "xielu: the parameters are not a weight"},
      {[](S& s) { s.b.unary(s.x(8), 8); }, "unary: activation is out of range"},
      {[](S& s) { s.b.unary(s.x(8), 0); }, "unary: activation is out of range"},
      {[](S& s) { gated(s, [](auto& a) { a.alpha = 0; }); },
       "gated: clamp must be at least 0, alpha above 0 (1 for most) and up_offset finite"},
      {[](S& s) { gated(s, [](auto& a) { a.alpha = 1.7f, a.activation = NACELLE_ACT_RELU; }); },
       "gated: alpha other than 1 belongs to silu"},
      {[](S& s) { s.b.gated(s.x(8), s.x(9), activation_attributes(NACELLE_ACT_SILU)); },
       "gated: up is F32 [rows, 9], [rows, 8] was expected"},
      {[](S& s) { s.b.add(s.x(8), s.x(1)); }, "add: b is F32 [rows, 1], [rows, 8] was expected"},
      {[](S& s) { s.b.add(s.x(8), s.b.gather(s.x(8), s.b.output_rows())); },
       "add: b is F32 [output rows, 8], [rows, 8] was expected"},
      {[](S& s) { s.b.mul(s.x(8), s.weight({7})); }, "mul: b is F32 [7], a float weight [8] was expected"},
      {[=](S& s) { s.b.scale(s.x(8), nan); }, "scale: scale, shift or soft_cap is out of range"},
      {[](S& s) {
         s.b.split(s.x(8), {4, 3});
       },
       "split: the widths leave 1 columns of x F32 [rows, 8]"},
      {[](S& s) {
         s.b.split(s.x(8), {4, 5});
       },
       "split: the widths do not add up to those of x F32 [rows, 8]"},
      {[](S& s) {
         s.b.split(s.x(8), {9, -1});
       },
       "split: the widths do not add up to those of x F32 [rows, 8]"},
      {[](S& s) { raw(s, NACELLE_OP_SPLIT, {s.x(8).id}, 1); }, "split: the widths are missing"},
      {[](S& s) {
         s.b.concat({s.x(8), {}});
       },
       "concat: input 1 is absent"},
      {[](S& s) { s.b.concat({}); }, "concat: 0 inputs were given, 1 to 256 were expected"},
      {[](S& s) { s.b.gather(s.x(8), s.x(8)); }, "gather: indices is not u32 [rows] but F32 [rows, 8]"},
      {[](S& s) { s.b.pool(s.x(8), 4); }, "pool: pooling is out of range"},
      {[](S& s) { route(s, [](auto& a) { a.used_count = 9; }); },
       "moe_route: used_count is not between 1 and expert_count"},
      {[](S& s) { route(s, [](auto& a) { a.routing = 0; }); }, "moe_route: routing is out of range"},
      {[](S& s) { route(s, [](auto& a) { a.expert_count = 7; }); },
       "moe_route: scores is F32 [rows, 8], [rows, 7] was expected"},
      {[](S& s) { route(s, [](auto& a) { a.group_count = 3; }); },
       "moe_route: group_count does not divide expert_count"},
      {[](S& s) { route(s, [](auto& a) { a.group_count = 8, a.group_used = 1; }); },
       "moe_route: the groups that are kept have fewer than used_count experts"},
      {[](S& s) {
         s.b.moe_matmul(s.x(24), s.weight({8, 40, 24}), s.x(2), {}, moe(8, 2));
       },
       "moe_matmul: experts is F32 [rows, 2], U32 [rows, 2] was expected"},
      {[](S& s) { s.b.moe_combine(s.x(25), s.x(2), moe(8, 2)); },
       "moe_combine: used_count does not divide the width of y F32 [rows, 25]"},
      {[](S& s) {
         raw(s, NACELLE_OP_SOFTMAX, {s.x(8).id, s.x(8).id}, 1);
       },
       "softmax: 2 inputs were given, 1 to 1 were expected"},
      {[](S& s) { raw(s, NACELLE_OP_SOFTMAX, {s.x(8).id}, 2); }, "softmax: 2 outputs were asked for"},
      {[](S& s) { raw(s, NACELLE_OP_UNARY, {s.x(8).id}, 1); }, "unary: its attributes have 0 bytes, 32 were expected"},
      {[](S& s) { raw(s, NACELLE_OP_LOGITS_SELECT, {s.x(8).id}, 0); }, "logits_select: it is added by the host"},
      {[](S& s) { scan(s, [](auto& a) { a.rule = 3; }); }, "state_scan: rule is out of range"},
      {[](S& s) { scan(s, [](auto& a) { a.group_count = 3; }); },
       "state_scan: head_count is not a multiple of group_count"},
      {[](S& s) { scan(s, [](auto& a) { a.key_width = 0; }); },
       "state_scan: key_width and value_width must be above 0"},
      {[](S& s) { scan(s, [](auto& a) { a.key_width = 1u << 17; }); },
       "state_scan: head_count, key_width or value_width is above 65536"},
      {[](S& s) { scan(s, [](auto& a) { a.scale = 0; }); },
       "state_scan: scale must be above 0 (1 leaves the output as it is)"},
      {[](S& s) { scan(s, [](auto& a) { a.key_width = 4; }); },
       "state_scan: q is F32 [rows, 6], [rows, 8] was expected"},
      {[](S& s) { scan(s, [](auto& a) { a.cache_group = 1; }); }, "state_scan: cache group 1 does not exist"},
      {[](S& s) { scan(s, [](auto& a) { a.cache_layer = 2; }); },
       "state_scan: cache_layer 2 is not below the group's 2 layers"},
      {[](S& s) {
         scan(
             s, [](auto&) {}, [](S& of, auto& in) { in.v = of.x(19); });
       },
       "state_scan: v is F32 [rows, 19], [rows, 20] was expected"},
      {[](S& s) {
         scan(
             s, [](auto&) {}, [](S& of, auto& in) { in.step = of.x(5); });
       },
       "state_scan: step is F32 [rows, 5], [rows, 4] was expected"},
      {[](S& s) {
         scan(
             s, [](auto&) {}, [](S&, auto& in) { in.rate = {}; });
       },
       "state_scan: input 4 is absent"},
      {[](S& s) {
         scan(
             s, [](auto& a) { a.rule = NACELLE_SCAN_ADD; }, [](S& of, auto& in) { in.rate = of.weight({12}); });
       },
       "state_scan: a rate for each row of the state is for ADD with a value a head, a step a head and no strength"},
      {[](S& s) {
         scan(
             s, [](auto&) {}, [](S& of, auto& in) { in.rate = of.weight({8}); });
       },
       "state_scan: rate is F32 [8], a float weight [4] was expected"},
      {[](S& s) {
         scan(
             s, [](auto&) {}, [](S& of, auto& in) { in.step_bias = of.weight({12}); });
       },
       "state_scan: step bias is F32 [12], a float weight [4] was expected"},
      {[](S& s) {
         scan(
             s, [](auto&) {}, [](S& of, auto& in) { in.strength = of.x(2); });
       },
       "state_scan: strength is F32 [rows, 2], [rows, 4] was expected"},
      {[](S& s) {
         scan(
             s, [](auto&) {}, [](S& of, auto& in) { in.step = of.x(12), in.strength = {}; });
       },
       "state_scan: a step for each row of the state says no strength"},
      {[](S& s) {
         scan(
             s, [](auto&) {}, [](S& of, auto& in) { in.skip = of.weight({20}); });
       },
       "state_scan: skip is F32 [20], a float weight [4] was expected"},
      {[](S& s) {
         s.b.paged_cache(1, 60, 60);
         s.b.state_cache(1, 60);
         scan(s, [](auto&) {});
       },
       "state_scan: its cache group does not hold states"},
      {[](S& s) {
         s.b.state_cache(1, 61);
         scan(s, [](auto&) {});
       },
       "state_scan: key_width of the cache group is 61, a state has 60 values"},
      {[](S& s) { convolution(s, [](auto& a) { a.length = 1; }); }, "convolution: length is not between 2 and 65536"},
      {[](S& s) { convolution(s, [](auto& a) { a.activation = 8; }); }, "convolution: activation is out of range"},
      {[](S& s) { convolution(s, [](auto& a) { a.length = 3; }); },
       "convolution: the filters is F32 [8, 4], a float weight [8, 3] was expected"},
      {[](S& s) {
         s.b.state_cache(1, 24);
         s.b.convolution(s.x(8), s.x(4), {}, convolution_attributes(4));
       },
       "convolution: the filters are not a weight"},
      {[](S& s) {
         s.b.state_cache(1, 32);
         convolution(s, [](auto&) {});
       },
       "convolution: key_width of the cache group is 32, a state has 24 values"},
      {[](S& s) {
         s.b.state_cache(1, 24);
         for (int i = 0; i < 2; ++i) convolution(s, [](auto&) {});
       },
       "convolution: layer 0 of cache group 0 is used twice"},
      {[](S& s) {
         s.b.state_cache(1, 16);
         s.b.attention(s.x(32), s.x(16), s.x(16), attention_attributes(4, 2, 8));
       },
       "attention: its cache group holds states, not keys and values"},
      {[](S& s) { raw(s, NACELLE_OP_ALL_REDUCE, {s.x(8).id}, 1); }, "all_reduce: kind 66 is reserved or not known"},
      {[](S& s) { raw(s, 4711, {s.x(8).id}, 1); }, "unknown: kind 4711 is reserved or not known"},
  };
  for (const Case& c : cases) {
    const std::string_view text = c.error;
    const std::size_t colon = text.find(':');
    std::string expected("operation ");
    expected.append(text.substr(0, colon)).append(" before the first layer").append(text.substr(colon));
    CHECK(refusal(c.make) == expected);
  }
}
