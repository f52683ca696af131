// A graph cut between layers: what crosses, what both sides get, and what cannot be cut.
#include "sdk/runtime/segments.hpp"

#include "sdk/runtime/cache_use.hpp"
#include "tests/unit/runtime/graphs.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

// Three layers x = x + attention(x), the first and last in one cache group, the second in another; the second layer
// also reads what the first one got.
std::unique_ptr<sdk::Graph> three_layers() {
  Sketch s;
  const std::uint32_t groups[] = {s.b.paged_cache(2, 8, 8), s.b.paged_cache(1, 8, 8, 5)};
  const std::uint32_t group_of[] = {0, 1, 0}, place_of[] = {0, 0, 1};
  const sdk::Value table = s.weight({7, 8}), start = s.b.embedding(s.b.tokens(), table);
  sdk::Value x = start;
  for (std::uint32_t layer = 0; layer < 3; ++layer) {
    const auto body = [&] {
      auto attributes = sdk::attention_attributes(2, 2, 4);
      attributes.cache_group = groups[group_of[layer]];
      attributes.cache_layer = place_of[layer];
      attributes.window = layer == 1 ? 5 : 0;
      const sdk::Value y = s.b.add(x, s.b.attention(x, x, x, attributes));
      return layer == 1 ? s.b.add(y, start) : y;
    };
    x = layer < 2 ? s.b.layer(layer, {x, start}, body) : s.b.layer(layer, {x}, body);
  }
  const sdk::Value logits = s.b.matmul(s.b.gather(x, s.b.output_rows()), table);
  s.b.mark_logits(logits);
  s.host.add_logits_select();
  return s.host.build();
}

const std::uint32_t kEach[] = {1, 2, 3};

std::size_t ops_of(const sdk::Segment& segment, std::uint32_t kind) {
  return static_cast<std::size_t>(
      std::ranges::count_if(segment.record.ops, [&](const sdk::OpRecord& op) { return op.kind == kind; }));
}

}  // namespace

TEST_CASE("each segment has its layers, the first what comes before and the last what follows") {
  const auto graph = three_layers();
  const auto segments = sdk::cut_graph(graph->record(), kEach);
  REQUIRE(segments.size() == 3);
  std::size_t ops = 0;
  for (const sdk::Segment& segment : segments) {
    ops += segment.record.ops.size();
    CHECK(ops_of(segment, NACELLE_OP_ATTENTION) == 1);
    const sdk::Graph frozen(segment.record);  // every id is one of its own
    for (std::uint32_t i = 0; i < frozen.view().op_count; ++i)
      for (std::uint32_t k = 0; k < frozen.view().ops[i]->input_count; ++k)
        CHECK((frozen.view().ops[i]->inputs[k] < frozen.view().value_count ||
               frozen.view().ops[i]->inputs[k] == NACELLE_NO_VALUE));
  }
  CHECK(ops == graph->record().ops.size());
  CHECK(ops_of(segments[0], NACELLE_OP_EMBEDDING) == 1);
  CHECK(ops_of(segments[2], NACELLE_OP_LOGITS_SELECT) == 1);
  CHECK(segments[0].record.vocabulary == 0);
  CHECK(segments[2].record.vocabulary == 7);
  // The tied table is in both.
  CHECK(segments[0].record.weights.size() == 1);
  CHECK(segments[1].record.weights.empty());
  CHECK(segments[2].record.weights.at(0).name == segments[0].record.weights.at(0).name);
}

TEST_CASE("what crosses is an output on one side and a boundary on the other") {
  const auto segments = sdk::cut_graph(three_layers()->record(), kEach);
  CHECK(segments[0].inputs.empty());
  REQUIRE(segments[1].inputs.size() == 2);  // what layer 0 made, and the embedding
  REQUIRE(segments[2].inputs.size() == 1);
  for (std::size_t s = 1; s < 3; ++s)
    for (const sdk::BoundaryLink& link : segments[s].inputs) {
      CHECK(link.segment == s - 1);
      CHECK(segments[link.segment].record.values.at(link.from).output == NACELLE_OUTPUT_BOUNDARY);
      CHECK(segments[s].record.values.at(link.to).kind == NACELLE_VALUE_BOUNDARY);
      CHECK(segments[s].record.values.at(link.to).output == NACELLE_OUTPUT_NONE);
      CHECK(segments[s].record.values.at(link.to).shape[1] == 8);
    }
}

TEST_CASE("cache groups keep the layers that a segment has, in order") {
  const auto graph = three_layers();
  const auto segments = sdk::cut_graph(graph->record(), kEach);
  const std::uint32_t group_of[] = {0, 1, 0};
  for (std::size_t s = 0; s < 3; ++s) {
    REQUIRE(segments[s].record.cache_groups.size() == 1);
    CHECK(segments[s].record.cache_groups[0].layer_count == 1);
    CHECK(segments[s].cache_groups == std::vector<std::uint32_t>{group_of[s]});
    for (const sdk::OpRecord& op : segments[s].record.ops) {
      if (op.kind != NACELLE_OP_ATTENTION) continue;
      CHECK(op.attributes.as<nacelle_attention_attributes>().cache_group == 0);
      CHECK(op.attributes.as<nacelle_attention_attributes>().cache_layer == 0);
    }
  }
  const std::uint32_t ends[] = {3};
  const auto whole = sdk::cut_graph(graph->record(), ends);
  CHECK(whole[0].record.cache_groups[0].layer_count == 2);
  CHECK(whole[0].record.ops.size() == graph->record().ops.size());
  CHECK(whole[0].inputs.empty());
}

// Layers of a convolution and a recurrence, which share a group where their states are alike, with attention between.
std::unique_ptr<sdk::Graph> three_layers_with_states() {
  Sketch s;
  const std::uint32_t states = s.b.state_cache(4, 16), keys = s.b.paged_cache(1, 8, 8);
  sdk::Value x = s.b.embedding(s.b.tokens(), s.weight({7, 8}));
  auto convolution = sdk::make<nacelle_convolution_attributes>();
  convolution.cache_group = states;
  convolution.length = 3;
  auto scan = sdk::make<nacelle_scan_attributes>();
  scan.cache_group = states;
  scan.rule = NACELLE_SCAN_ADD;
  scan.head_count = scan.group_count = 4;
  scan.key_width = scan.value_width = 2;
  scan.scale = 1;
  for (std::uint32_t layer = 0; layer < 3; ++layer) {
    x = s.b.layer(layer, {x}, [&] {
      if (layer == 1) {
        auto attention = sdk::attention_attributes(2, 2, 4);
        attention.cache_group = keys;
        return s.b.add(x, s.b.attention(x, x, x, attention));
      }
      convolution.cache_layer = layer;
      scan.cache_layer = layer + 1;
      const sdk::Value y = s.b.convolution(x, s.weight({8, 3}), {}, convolution);
      const sdk::Value step = s.b.matmul(x, s.weight({4, 8}));
      return s.b.add(x, s.b.state_scan({y, y, y, step, s.weight({4}), {}, {}, {}}, scan));
    });
  }
  return s.finish(x);
}

TEST_CASE("a segment keeps the states of its operations, each in a layer of its own") {
  const auto graph = three_layers_with_states();
  const auto segments = sdk::cut_graph(graph->record(), kEach);
  for (const std::size_t s : {std::size_t{0}, std::size_t{2}}) {
    REQUIRE(segments[s].record.cache_groups.size() == 1);
    CHECK(segments[s].cache_groups == std::vector<std::uint32_t>{0});
    const nacelle_cache_group& group = segments[s].record.cache_groups[0];
    CHECK((group.kind == NACELLE_CACHE_STATE && group.layer_count == 2 && group.key_width == 16));
    for (const sdk::OpRecord& op : segments[s].record.ops) {
      const auto use = sdk::cache_use(op.kind, op.attributes);
      if (!use) continue;
      CHECK((use->group == 0 && use->layer == (op.kind == NACELLE_OP_CONVOLUTION ? 0u : 1u)));
    }
  }
  REQUIRE(segments[1].record.cache_groups.size() == 1);
  CHECK(segments[1].record.cache_groups[0].kind == NACELLE_CACHE_PAGED);
  CHECK(segments[1].cache_groups == std::vector<std::uint32_t>{1});
}

TEST_CASE("what keeps something says where, and can be told another place") {
  const auto graph = three_layers_with_states();
  std::size_t found = 0;
  for (sdk::OpRecord op : graph->record().ops) {
    const auto use = sdk::cache_use(op.kind, op.attributes);
    if (!use) continue;
    ++found;
    sdk::set_cache_use(op, {5, 6});
    const auto moved = sdk::cache_use(op.kind, op.attributes);
    REQUIRE(moved);
    CHECK((moved->group == 5 && moved->layer == 6));
    if (op.kind == NACELLE_OP_STATE_SCAN) CHECK(op.attributes.as<nacelle_scan_attributes>().head_count == 4);
    if (op.kind == NACELLE_OP_CONVOLUTION) CHECK(op.attributes.as<nacelle_convolution_attributes>().length == 3);
  }
  CHECK(found == 5);
  auto none = sdk::attention_attributes(2, 2, 4);
  none.cache_group = NACELLE_NO_CACHE;
  CHECK_FALSE(sdk::cache_use(NACELLE_OP_ATTENTION, sdk::Attributes(none)));
  CHECK_FALSE(sdk::cache_use(NACELLE_OP_ADD, sdk::Attributes()));
  auto chunks = sdk::attention_attributes(2, 2, 4);
  chunks.window = 16;
  sdk::OpRecord op{NACELLE_OP_CHUNKED_ATTENTION, 0, {}, {}, sdk::Attributes(chunks)};
  sdk::set_cache_use(op, {1, 2});
  REQUIRE(sdk::cache_use(op.kind, op.attributes));
  CHECK(sdk::cache_use(op.kind, op.attributes)->layer == 2);
  CHECK(op.attributes.as<nacelle_attention_attributes>().window == 16);
}

TEST_CASE("ends that are none are refused") {
  const auto graph = three_layers();
  using Ends = std::vector<std::uint32_t>;
  for (const Ends& ends : {Ends{}, Ends{0, 3}, Ends{2, 2, 3}, Ends{2, 1, 3}, Ends{1, 2}, Ends{1, 4}})
    CHECK_THROWS_AS(sdk::cut_graph(graph->record(), ends), sdk::Failure);
}
