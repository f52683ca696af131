// The builder around the operations: weights, layers and what crosses them, cache groups, outputs, and what build()
// asks.
#include <catch2/catch.hpp>
#include <string>

#include "sdk/runtime/names.hpp"
#include "tests/unit/runtime/graphs.hpp"

using namespace nacelle;
using namespace nacelle::sdk;
using namespace nacelle::test;

namespace {

std::string build_error(Sketch& sketch) {
  try {
    sketch.host.build();
  } catch (const Failure& failure) {
    return failure.what();
  }
  return {};
}

// A weight of one tensor, with the builder's error or "".
std::string weight_error(const FakeTensors& tensors, const std::string& name, std::initializer_list<std::int64_t> shape,
                         const Expr& source, bool optional = false) {
  GraphBuilder host(lookup(tensors));
  Builder b(host.table(), NACELLE_FORMAT_HUGGINGFACE);
  try {
    const Value value =
        optional ? b.optional_weight(name, shape, {"no", source}) : b.weight(name, shape, {"no", source});
    return value ? "" : "absent";
  } catch (const Failure&) {
    return host.error();
  }
}

}  // namespace

TEST_CASE("a weight has its stored type and its declared shape, or is refused with names and shapes") {
  const FakeTensors tensors = {
      {"a", {NACELLE_TYPE_Q8_0, {4, 64}}},           {"b", {NACELLE_TYPE_F16, {4}}},
      {"five", {NACELLE_TYPE_F32, {1, 1, 1, 1, 1}}}, {"scalar", {NACELLE_TYPE_F32, {}}},
      {"zero", {NACELLE_TYPE_F32, {0, 4}}},          {"huge", {NACELLE_TYPE_F32, {1ll << 40, 4}}},
      {"odd", {NACELLE_TYPE_Q8_0, {4, 33}}},         {"unknown", {4711, {4, 4}}},
      {"negative", {NACELLE_TYPE_F32, {-1, 4}}}};
  CHECK(weight_error(tensors, "w", {4, 64}, "a") == "");
  CHECK(weight_error(tensors, "w", {64, 4}, "a") == "weight w: tensor 'a' has shape [4, 64], [64, 4] was expected");
  CHECK(weight_error(tensors, "w", {4, 64, 1}, "a") ==
        "weight w: tensor 'a' has shape [4, 64], [4, 64, 1] was expected");
  CHECK(weight_error(tensors, "w", {3, 64}, concat(0, {"a", "a"})) ==
        "weight w: its tensors have shape [8, 64], [3, 64] was expected");
  CHECK(weight_error(tensors, "w", {4}, "c") == "weight w: tensor 'c' is missing from the model file");
  CHECK(weight_error(tensors, "w", {4}, "c", true) == "absent");
  CHECK(weight_error(tensors, "w", {5}, "b", true) == "weight w: tensor 'b' has shape [4], [5] was expected");
  CHECK(weight_error(tensors, "w", {1}, "five") == "weight w: tensor 'five' has more than 4 axes");
  CHECK(weight_error(tensors, "w", {1}, "scalar") == "weight w: tensor 'scalar' of shape [] does not have 1 to 4 axes");
  CHECK(weight_error(tensors, "w", {0, 4}, "zero") ==
        "weight w: tensor 'zero' of shape [0, 4] has an extent out of range");
  CHECK(weight_error(tensors, "w", {1, 4}, "negative").find("has an extent out of range") != std::string::npos);
  CHECK(weight_error(tensors, "w", {1ll << 40, 4}, "huge").find("has an extent out of range") != std::string::npos);
  CHECK(weight_error(tensors, "w", {4, 33}, "odd") ==
        "weight w: tensor 'odd' of shape [4, 33] has rows that are not whole blocks of 32 Q8_0 elements");
  CHECK(weight_error(tensors, "w", {4, 4}, "unknown") ==
        "weight w: tensor 'unknown' has an element type that is not known");
  CHECK(weight_error(tensors, "", {4}, "b") == "a weight's name is empty or longer than 256 characters");
  CHECK(weight_error(tensors, "w", {4}, "l.{layer}") == "weight w: tensor name 'l.{layer}' is used outside a layer");
}

TEST_CASE("a weight's name is used once, and its tensor is that of the layer") {
  Sketch s;
  Value x = s.x(8);
  for (std::uint32_t i = 0; i < 2; ++i)
    x = s.b.layer(i, {x}, [&] { return s.b.mul(x, s.weight({8}, "blk.{layer}.")); });
  const auto graph = s.finish(x);
  CHECK(graph->weight_source(1).value.tensor == "blk.0.2");
  CHECK(graph->weight_source(2).value.tensor == "blk.1.3");
  CHECK(graph->record().weights[2].layer == 1);

  CHECK(refusal([](Sketch& t) {
          t.weight({8}, "w");
          t.b.weight("w1", {8}, {"w1", "w1"});
        }) == "weight w1: the name is used twice");
}

TEST_CASE("only carried values cross a layer's border") {
  SECTION("a value of the layer before, not carried") {
    CHECK(refusal([](Sketch& s) {
            const Value x = s.x(8);
            s.b.layer(0, {}, [&] { return s.b.scale(x, 2); });
          }) == "operation scale of layer 0: value 2 crosses a layer border without being carried");
  }
  SECTION("a value of two layers before, which the one between did not carry") {
    CHECK(refusal([](Sketch& s) {
            const Value x = s.x(8);
            const Value y = s.b.layer(0, {x}, [&] { return s.b.scale(x, 2); });
            s.b.layer(1, {y, x}, [&] { return s.b.scale(y, 2); });
            s.b.layer(2, {x}, [&] { return s.b.scale(x, 2); });
            s.b.scale(y, 2);
          }) == "operation scale after the last layer: value 3 crosses a layer border without being carried");
  }
  SECTION("carried all the way") {
    Sketch s;
    const Value x = s.x(8);
    Value y = x;
    for (std::uint32_t i = 0; i < 3; ++i) y = s.b.layer(i, {x, y}, [&] { return s.b.add(x, y); });
    const auto graph = s.finish(s.b.add(x, y));
    CHECK(graph->record().layer_count == 3);
    CHECK(graph->record().ops.back().layer == 3);
    CHECK(graph->record().ops.front().layer == -1);
  }
  SECTION("a value can be carried from where it can be seen only") {
    CHECK(refusal([](Sketch& s) {
            const Value x = s.x(8);
            s.b.layer(0, {x}, [&] { return x; });
            s.b.layer(1, {}, [&] { return x; });
            s.b.layer(2, {x}, [&] { return x; });
          }) == "value 2 crosses a layer border without being carried");
  }
  SECTION("a layer's weight stays in it, one from before the layers does not") {
    CHECK(refusal([](Sketch& s) {
            const Value x = s.x(8);
            Value w;
            const Value y = s.b.layer(0, {x}, [&] { return s.b.mul(x, w = s.weight({8})); });
            s.b.layer(1, {y}, [&] { return s.b.mul(y, w); });
          }) == "operation mul of layer 1: weight f322 belongs to another layer");
    Sketch s;
    const Value w = s.weight({8});
    Value x = s.x(8);
    for (std::uint32_t i = 0; i < 2; ++i) x = s.b.layer(i, {x}, [&] { return s.b.mul(x, w); });
    CHECK(s.finish(s.b.mul(x, w)));
  }
}

TEST_CASE("layers come in order, one after the other") {
  CHECK(refusal([](Sketch& s) { s.b.layer(1, {}, [] { return 0; }); }) == "layer 1 begins, 0 was expected");
  CHECK(refusal([](Sketch& s) { s.b.layer(0, {}, [&] { return s.b.layer(1, {}, [] { return 0; }); }); }) ==
        "layer_begin inside a layer");
  CHECK(refusal([](Sketch& s) {
          const Value x = s.x(8);
          s.b.layer(0, {x}, [] { return 0; });
          s.b.scale(x, 2);
          s.b.layer(1, {x}, [] { return 0; });
        }) == "layer 1 begins after an operation that belongs to no layer");
  CHECK(refusal([](Sketch& s) { s.b.layer(0, {{}}, [] { return 0; }); }) == "a carried value of layer 0 is absent");
  CHECK(refusal([](Sketch& s) {
          for (std::uint32_t i = 0;; ++i) s.b.layer(i, {}, [] { return 0; });
        }) == "there are more than 4096 layers");
}

TEST_CASE("the first failure sticks") {
  Sketch s;
  CHECK_THROWS_AS(s.b.unary(s.x(8), 99), Failure);
  const std::string first = s.host.error();
  CHECK_THROWS_AS(s.b.paged_cache(0, 1, 1), Failure);
  CHECK_THROWS_AS(s.b.tokens(), Failure);
  CHECK(s.host.error() == first);
  CHECK(build_error(s) == first);
}

TEST_CASE("build asks for what a whole graph needs") {
  const auto error_of = [](const std::function<void(Sketch&)>& body) {
    Sketch s;
    body(s);
    return build_error(s);
  };
  const auto output = [](Sketch& s, Value x) { s.b.mark_embedding(s.b.gather(x, s.b.output_rows())); };
  CHECK(error_of([](Sketch& s) { s.x(8); }) == "no output is marked");
  CHECK(error_of([&](Sketch& s) {
          output(s, s.x(8));
          s.b.paged_cache(2, 8, 8);
        }) == "layer 0 of cache group 0 is never used");
  CHECK(error_of([&](Sketch& s) {
          output(s, s.x(8));
          s.host.table()->layer_begin(s.host.table()->context, 0, nullptr, 0);
        }) == "the last layer was not ended");
  const auto encoder = [&](Sketch& s) {
    auto a = attention_attributes(4, 2, 8);
    a.cache_group = NACELLE_NO_CACHE;
    a.causal = 0;
    output(s, s.b.layer(0, {}, [&] { return s.b.attention(s.x(32), s.x(16), s.x(16), a); }));
  };
  CHECK(error_of(encoder) == "attention of layer 0 has no cache, which needs the flag for whole sequences");
  CHECK(error_of([&](Sketch& s) {
          encoder(s);
          s.b.whole_sequences();
        }) == "");
  CHECK(error_of([&](Sketch& s) {
          output(s, s.x(8));
          s.host.table()->set_flags(s.host.table()->context, 2);
        }) == "graph flags 2 are not known");
}

TEST_CASE("outputs are f32 matrices of the wanted rows, each marked once") {
  CHECK(refusal([](Sketch& s) { s.b.mark_logits(s.x(8)); }) ==
        "the logits are not [output rows, vocabulary]: gather the rows");
  CHECK(refusal([](Sketch& s) { s.b.mark_embedding(s.x(8)); }) ==
        "the embedding is not [output rows or sequences, width]: pool or gather");
  CHECK(refusal([](Sketch& s) {
          s.b.mark_logits(s.weight({8, 8}));
        }) == "an output is not a value that an operation made");
  CHECK(refusal([](Sketch& s) {
          for (int i = 0; i < 2; ++i) s.b.mark_logits(s.b.gather(s.x(8), s.b.output_rows()));
        }) == "an output is marked twice");
}

TEST_CASE("the host's selection follows the logits") {
  Sketch s;
  const Value logits = s.b.gather(s.x(50), s.b.output_rows());
  s.b.mark_logits(logits);
  s.host.add_logits_select();
  const auto graph = s.host.build();
  const nacelle_graph& view = graph->view();
  CHECK(view.vocabulary == 50);
  const nacelle_op& last = *view.ops[view.op_count - 1];
  CHECK(last.kind == NACELLE_OP_LOGITS_SELECT);
  CHECK(last.output_count == 0);
  CHECK(last.inputs[0] == logits.id);
  CHECK(graph->find_output(NACELLE_OUTPUT_LOGITS) == logits.id);
}

TEST_CASE("the host's embedding is what the head reads") {
  Sketch s;
  const Value rows = s.b.gather(s.x(8), s.b.output_rows());
  const Value normed = s.b.rms_norm(rows, s.weight({8}), norm_attributes(1e-5));
  s.b.mark_logits(s.b.matmul(normed, s.weight({50, 8})));
  s.host.add_embedding();
  CHECK(s.host.build()->find_output(NACELLE_OUTPUT_EMBEDDING) == normed.id);

  Sketch headless;
  headless.b.mark_logits(headless.b.gather(headless.x(50), headless.b.output_rows()));
  headless.host.add_embedding();
  CHECK(headless.host.build()->find_output(NACELLE_OUTPUT_EMBEDDING) == NACELLE_NO_VALUE);
}

TEST_CASE("where a weight comes from in the other format is kept, and need not be said") {
  const FakeTensors tensors = {{"mine", {NACELLE_TYPE_F32, {4, 8}}}};
  for (const bool said : {true, false}) {
    GraphBuilder host(lookup(tensors));
    const Expr own("mine"), other("theirs");
    auto description = make<nacelle_weight_description>();
    if (!said) description.struct_size = offsetof(nacelle_weight_description, other_source);  // as of 1.0
    description.name = view("w");
    description.source = own.get();
    description.other_source = other.get();
    description.rank = 2;
    description.shape[0] = 4;
    description.shape[1] = 8;
    std::uint32_t value = 0;
    REQUIRE(host.table()->weight(host.table()->context, &description, &value) == NACELLE_OK);
    Builder b(host.table(), NACELLE_FORMAT_GGUF);
    const Value table{value};
    b.mark_embedding(b.gather(b.embedding(b.tokens(), table), b.output_rows()));
    const auto graph = host.build();
    const WeightSource& source = graph->weight_source(0);
    CHECK(source.value.tensor == "mine");
    REQUIRE((source.other != nullptr) == said);
    if (said) CHECK(view(source.other->get()->name) == "theirs");
  }
}

TEST_CASE("a builder that is called with nonsense answers with a status") {
  GraphBuilder host(lookup({}));
  const nacelle_graph_builder* table = host.table();
  std::uint32_t value = 7;
  CHECK(table->input(table->context, 99, &value) == NACELLE_INVALID_ARGUMENT);
  CHECK(host.error() == "input role 99 is not known");
  CHECK(value == 7);  // a failed call leaves its outputs as they were
  CHECK(table->op(table->context, nullptr, nullptr, &value) == NACELLE_FAILED_PRECONDITION);

  GraphBuilder other(lookup({}));
  table = other.table();
  CHECK(table->op(table->context, nullptr, nullptr, &value) == NACELLE_INVALID_ARGUMENT);
  GraphBuilder third(lookup({}));
  table = third.table();
  auto small = make<nacelle_weight_description>();
  small.struct_size = 16;
  CHECK(table->weight(table->context, &small, &value) == NACELLE_INVALID_ARGUMENT);
  CHECK(third.error() == "a weight description is missing or too small");
}

TEST_CASE("operations are described by what a backend may lack") {
  Sketch s;
  s.b.paged_cache(1, 16, 16);
  auto a = attention_attributes(4, 2, 8);
  a.soft_cap = 50;
  const Value x = s.x(32);
  const Value y = s.b.layer(0, {x}, [&] { return s.b.attention(x, s.x(16), s.x(16), a); });
  const auto graph = s.finish(s.b.matmul(y, s.weight({5, 32}, "q8"), s.weight({5})));
  CHECK(describe_op(graph->view(), 0) == "operation embedding (F32 weight) before the first layer");
  CHECK(describe_op(graph->view(), 3) == "operation attention (soft-cap) of layer 0");
  CHECK(describe_op(graph->view(), 4) == "operation matmul (Q8_0 weight, bias) after the last layer");
}
