// A graph cut between layers: what crosses, what both sides get, and what cannot be cut.
#include "sdk/runtime/segments.hpp"

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

TEST_CASE("ends that are none are refused") {
  const auto graph = three_layers();
  using Ends = std::vector<std::uint32_t>;
  for (const Ends& ends : {Ends{}, Ends{0, 3}, Ends{2, 2, 3}, Ends{2, 1, 3}, Ends{1, 2}, Ends{1, 4}})
    CHECK_THROWS_AS(sdk::cut_graph(graph->record(), ends), sdk::Failure);
}
