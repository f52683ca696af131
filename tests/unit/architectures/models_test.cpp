// The llama plugin on real files in both layouts: the operations of a layer as its papers give them, shapes, types,
// heads.
#include <catch2/catch.hpp>
#include <map>
#include <vector>

#include "core/formats/model_files.hpp"
#include "core/plugin_host/model_config.hpp"
#include "tests/shared_data.hpp"
#include "tests/unit/architectures/plugin.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

struct Expected {
  const char* path;
  std::uint32_t layers, width, heads, kv_heads, feed_forward, vocabulary, context;
  std::uint32_t rope_style;
  nacelle_type matrix_type;
};

// Read off the files with an independent program.
constexpr Expected kModels[] = {
    {"models/tinystories-656k/tinystories-656k-f32.gguf", 2, 128, 8, 4, 384, 2048, 512, NACELLE_ROPE_INTERLEAVED,
     NACELLE_TYPE_F32},
    {"models/tinystories-656k", 2, 128, 8, 4, 384, 2048, 512, NACELLE_ROPE_HALF, NACELLE_TYPE_F32},
    {"models/stories260K/stories260K.gguf", 5, 64, 8, 4, 172, 512, 512, NACELLE_ROPE_INTERLEAVED, NACELLE_TYPE_F32},
    {"models/nacelle-demo/nacelle-demo-q8_0.gguf", 5, 256, 8, 4, 512, 2048, 1024, NACELLE_ROPE_INTERLEAVED,
     NACELLE_TYPE_Q8_0},
    {"models/nacelle-demo/nacelle-demo-f16.gguf", 5, 256, 8, 4, 512, 2048, 1024, NACELLE_ROPE_INTERLEAVED,
     NACELLE_TYPE_F16},
    {"models/nacelle-demo/hf", 5, 256, 8, 4, 512, 2048, 1024, NACELLE_ROPE_HALF, NACELLE_TYPE_F16},
};

const std::vector<std::uint32_t> kLayer = {
    NACELLE_OP_RMS_NORM, NACELLE_OP_MATMUL,    NACELLE_OP_MATMUL, NACELLE_OP_MATMUL, NACELLE_OP_ROPE,
    NACELLE_OP_ROPE,     NACELLE_OP_ATTENTION, NACELLE_OP_MATMUL, NACELLE_OP_ADD,    NACELLE_OP_RMS_NORM,
    NACELLE_OP_MATMUL,   NACELLE_OP_MATMUL,    NACELLE_OP_GATED,  NACELLE_OP_MATMUL, NACELLE_OP_ADD};

std::vector<std::uint32_t> kinds_of(const sdk::GraphRecord& graph, std::int32_t layer) {
  std::vector<std::uint32_t> kinds;
  for (const sdk::OpRecord& op : graph.ops)
    if (op.layer == layer) kinds.push_back(op.kind);
  return kinds;
}

void check_graph(const sdk::GraphRecord& graph, const Expected& expected) {
  CHECK(graph.layer_count == expected.layers);
  CHECK(graph.vocabulary == expected.vocabulary);
  CHECK(kinds_of(graph, -1) == std::vector<std::uint32_t>{NACELLE_OP_EMBEDDING});
  for (std::uint32_t layer = 0; layer < expected.layers; ++layer)
    CHECK(kinds_of(graph, static_cast<std::int32_t>(layer)) == kLayer);
  CHECK(
      kinds_of(graph, static_cast<std::int32_t>(expected.layers)) ==
      std::vector<std::uint32_t>{NACELLE_OP_GATHER, NACELLE_OP_RMS_NORM, NACELLE_OP_MATMUL, NACELLE_OP_LOGITS_SELECT});
  // 9 weights a layer, the embedding and the last norm: every head here is tied, so it has no weight of its own.
  CHECK(graph.weights.size() == expected.layers * 9 + 2);
  CHECK(graph.ops.back().inputs[0] == graph.ops[graph.ops.size() - 2].outputs[0]);
  CHECK(graph.ops[graph.ops.size() - 2].inputs[1] == graph.ops.front().inputs[1]);

  REQUIRE(graph.cache_groups.size() == 1);
  const std::uint32_t head_width = expected.width / expected.heads;
  CHECK(graph.cache_groups[0].layer_count == expected.layers);
  CHECK(graph.cache_groups[0].key_width == expected.kv_heads * head_width);
  CHECK(graph.cache_groups[0].window == 0);
  for (const sdk::OpRecord& op : graph.ops)
    if (op.kind == NACELLE_OP_ROPE) {
      const auto rope = op.attributes.as<nacelle_rope_attributes>();
      CHECK(rope.style == expected.rope_style);
      CHECK(rope.rotary_width == head_width);
      CHECK(rope.base == 10000.0f);
      CHECK(rope.scaling == NACELLE_ROPE_SCALE_NONE);
      CHECK(op.inputs[2] == NACELLE_NO_VALUE);
    }
  for (const sdk::OpRecord& op : graph.ops)
    if (op.kind == NACELLE_OP_MATMUL) CHECK(graph.values[op.inputs[1]].type == expected.matrix_type);
}

}  // namespace

TEST_CASE("llama describes and builds real models from both layouts") {
  const nacelle_architecture_api& llama = architecture("llama");
  const nacelle_architecture_api& qwen2 = architecture("qwen2");
  for (const Expected& expected : kModels) {
    if (!have_shared(expected.path)) return;
    INFO(expected.path);
    const auto files = ModelFiles::open(shared_dir() / expected.path);
    const ModelConfigAdapter config(*files);
    REQUIRE(llama.match(config.table()) == NACELLE_OK);
    CHECK(qwen2.match(config.table()) == NACELLE_NOT_FOUND);

    const auto [description, error] = describe(llama, *config.table());
    CHECK(error == "");
    CHECK(description.kind == NACELLE_MODEL_DECODER);
    CHECK(description.layer_count == expected.layers);
    CHECK(description.width == expected.width);
    CHECK(description.head_count == expected.heads);
    CHECK(description.kv_head_count == expected.kv_heads);
    CHECK(description.feed_forward_width == expected.feed_forward);
    CHECK(description.vocabulary == expected.vocabulary);
    CHECK(description.context_length == expected.context);
    CHECK(description.window == 0);

    const Built built = build(llama, *config.table());
    CHECK(built.error == "");
    REQUIRE(built.graph);
    check_graph(built.graph->record(), expected);
  }
}

TEST_CASE("the tied head of tinystories is found under the name it was saved with") {
  if (!have_shared("models/tinystories-656k")) return;
  const auto files = ModelFiles::open(shared_dir() / "models/tinystories-656k");
  REQUIRE(files->tensor("model.embed_tokens.weight") == nullptr);
  const ModelConfigAdapter config(*files);
  const Built built = build(architecture("llama"), *config.table());
  REQUIRE(built.graph);
  CHECK(built.graph->weight_source(0).value.tensor == "lm_head.weight");
}
