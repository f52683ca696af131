// The limits that `bench` prints, on a model of one layer whose work is counted by hand.
#include "api/cli/limits.hpp"

#include <catch2/catch.hpp>
#include <nacelle/plugin.hpp>
#include <vector>

using namespace nacelle;
using namespace nacelle::cli;

namespace {

// A product within the layer by w[64, 32] and the head by w[128, 32].
struct TwoProducts {
  nacelle_value layer = sdk::make<nacelle_value>(), head = sdk::make<nacelle_value>();
  nacelle_op in_layer = sdk::make<nacelle_op>(), behind = sdk::make<nacelle_op>();
  std::vector<const nacelle_value*> values{&layer, &head};
  std::vector<const nacelle_op*> ops{&in_layer, &behind};
  std::uint32_t layer_inputs[2] = {NACELLE_NO_VALUE, 0}, head_inputs[2] = {NACELLE_NO_VALUE, 1};
  nacelle_graph graph = sdk::make<nacelle_graph>();

  TwoProducts(nacelle_type layer_type, nacelle_type head_type) {
    layer.type = layer_type;
    head.type = head_type;
    layer.rank = head.rank = 2;
    layer.shape[0] = 64;
    head.shape[0] = 128;
    layer.shape[1] = head.shape[1] = 32;
    in_layer.kind = behind.kind = NACELLE_OP_MATMUL;
    in_layer.input_count = behind.input_count = 2;
    behind.layer = 1;
    in_layer.inputs = layer_inputs;
    behind.inputs = head_inputs;
    graph.layer_count = 1;
    graph.values = values.data();
    graph.value_count = 2;
    graph.ops = ops.data();
    graph.op_count = 2;
  }
};

}  // namespace

TEST_CASE("limits follow from the work of the matrix products and the machine's ceilings") {
  const TwoProducts model(NACELLE_TYPE_Q8_0, NACELLE_TYPE_F16);
  const nacelle_graph* graphs[] = {&model.graph};
  const TokenWork work = work_of(graphs);
  CHECK(work.layer_operations == 2 * 64 * 32);
  CHECK(work.operations == 2 * (64 + 128) * 32);
  CHECK(work.bytes == 64 * 34 + 128 * 64);
  CHECK_FALSE(work.is_integer);

  auto ceilings = sdk::make<nacelle_ceilings>();
  ceilings.read_bytes = 1e9;
  ceilings.int8_ops = 8e9;
  ceilings.bf16_ops = 4e9;
  ceilings.f32_ops = 2e9;
  const Limits limits = limits_of(work, ceilings);
  CHECK(limits.prompt == Approx(4e9 / work.layer_operations));
  CHECK(limits.generation == Approx(1e9 / work.bytes));
  CHECK(limits.batch == Approx(4e9 / work.operations));

  const TwoProducts quantised(NACELLE_TYPE_Q8_0, NACELLE_TYPE_Q8_0);
  graphs[0] = &quantised.graph;
  CHECK(limits_of(work_of(graphs), ceilings).prompt == Approx(8e9 / work.layer_operations));
}

TEST_CASE("of a mixture a token needs the experts that it takes") {
  TwoProducts model(NACELLE_TYPE_Q8_0, NACELLE_TYPE_F16);
  auto moe = sdk::make<nacelle_moe_attributes>();
  moe.expert_count = 16;
  moe.used_count = 2;
  model.in_layer.kind = NACELLE_OP_MOE_MATMUL;
  model.in_layer.attributes = &moe;
  model.layer.rank = 3;
  model.layer.shape[0] = 16;
  model.layer.shape[1] = 64;
  model.layer.shape[2] = 32;
  const nacelle_graph* graphs[] = {&model.graph};
  const TokenWork work = work_of(graphs);
  CHECK(work.layer_operations == 2 * 2 * 64 * 32);
  CHECK(work.operations == 2 * (2 * 64 + 128) * 32);
  CHECK(work.bytes == 2 * 64 * 34 + 128 * 64);
}

TEST_CASE("there are no limits where the device says nothing") {
  const TwoProducts model(NACELLE_TYPE_Q8_0, NACELLE_TYPE_Q8_0);
  const nacelle_graph* graphs[] = {&model.graph};
  CHECK(limits_of(work_of(graphs), sdk::make<nacelle_ceilings>()).prompt == 0);
}
