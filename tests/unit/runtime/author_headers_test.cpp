// What backends share: which operations they take, how weights are read, and what a compiler asks of a graph. Each row
// of a table changes one thing of an operation that is taken, and must be refused.
#include <catch2/catch.hpp>
#include <functional>
#include <nacelle/backend.hpp>
#include <nacelle/graph_view.hpp>
#include <nacelle/op_support.hpp>
#include <nacelle/weight_rows.hpp>
#include <string>
#include <vector>

namespace nacelle::test {
namespace {

using namespace nacelle::sdk;

bool packs_f16(nacelle_type type) noexcept { return type == NACELLE_TYPE_F16; }
constexpr OpBounds kBounds = {.packs = packs_f16, .widest_head = 64, .most_experts = 8, .widest_window = 100};

// One operation over values that a row of a table may change.
struct Small {
  enum Id : std::uint32_t { kX, kK, kV, kMatrix, kVector, kPositions, kExperts, kChoice, kOut, kCount };

  Small() {
    for (nacelle_value& value : values) value = activation(8);
    values[kMatrix] = weight(NACELLE_TYPE_F16, {6, 8});
    values[kVector] = weight(NACELLE_TYPE_F32, {8});
    values[kExperts] = weight(NACELLE_TYPE_F16, {4, 6, 8});
    values[kChoice].type = NACELLE_TYPE_U32;
    values[kPositions].kind = NACELLE_VALUE_INPUT;
    values[kPositions].role = NACELLE_INPUT_POSITIONS;
    matrix.name = sdk::view("w");
    matrix.value = kMatrix;
    group.kind = NACELLE_CACHE_PAGED;
    group.layer_count = 2;
    group.key_width = group.value_width = 8;
    attention.head_count = 4;
    attention.kv_head_count = 2;
    attention.key_width = attention.value_width = 4;
    moe.expert_count = 4;
    moe.used_count = 2;
  }
  Small(const Small&) = delete;
  Small& operator=(const Small&) = delete;

  static nacelle_value activation(std::int64_t width) {
    auto value = make<nacelle_value>();
    value.kind = NACELLE_VALUE_INTERMEDIATE;
    value.type = NACELLE_TYPE_F32;
    value.rank = 2;
    value.shape[0] = NACELLE_DIM_ROWS;
    value.shape[1] = width;
    return value;
  }
  static nacelle_value weight(nacelle_type type, std::vector<std::int64_t> shape) {
    auto value = make<nacelle_value>();
    value.kind = NACELLE_VALUE_WEIGHT;
    value.type = type;
    value.rank = static_cast<std::uint32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), value.shape);
    return value;
  }

  void set(std::uint32_t kind, std::vector<std::uint32_t> of, const void* attributes = nullptr) {
    inputs = std::move(of);
    op.kind = kind;
    op.attributes = attributes;
  }
  void set_attention() { set(NACELLE_OP_ATTENTION, {kX, kK, kV}, &attention); }
  void set_experts() { set(NACELLE_OP_MOE_MATMUL, {kX, kExperts, kChoice}, &moe); }

  const nacelle_graph& graph() {
    for (std::uint32_t v = 0; v < kCount; ++v) pointers[v] = &values[v];
    op.inputs = inputs.data();
    op.input_count = static_cast<std::uint32_t>(inputs.size());
    op.outputs = &out;
    op.output_count = 1;
    view.value_count = kCount;
    view.values = pointers;
    view.op_count = 1;
    view.ops = &first_op;
    view.weight_count = 1;
    view.weights = &first_weight;
    view.cache_group_count = 1;
    view.cache_groups = &first_group;
    return view;
  }
  bool taken(const OpBounds& bounds = kBounds) { return takes_op(graph(), op, bounds); }

  nacelle_value values[kCount];
  nacelle_cache_group group = make<nacelle_cache_group>();
  nacelle_attention_attributes attention = make<nacelle_attention_attributes>();
  nacelle_moe_attributes moe = make<nacelle_moe_attributes>();
  nacelle_adapter_attributes adapter = make<nacelle_adapter_attributes>();
  nacelle_scan_attributes scan = make<nacelle_scan_attributes>();
  nacelle_convolution_attributes convolution = make<nacelle_convolution_attributes>();
  nacelle_op op = make<nacelle_op>();
  nacelle_weight matrix = make<nacelle_weight>();
  std::vector<std::uint32_t> inputs;
  std::uint32_t out = kOut;
  const nacelle_value* pointers[kCount];
  const nacelle_op* first_op = &op;
  const nacelle_weight* first_weight = &matrix;
  const nacelle_cache_group* first_group = &group;
  nacelle_graph view = make<nacelle_graph>();
};

struct Change {
  const char* what;
  std::function<void(Small&)> make;
};

void check_refused(void (*set)(Small&), const std::vector<Change>& changes) {
  Small sound;
  set(sound);
  CHECK(sound.taken());
  for (const Change& change : changes) {
    Small small;
    set(small);
    change.make(small);
    INFO(change.what);
    CHECK_FALSE(small.taken());
  }
}

TEST_CASE("attention is taken where heads, types and the cache group fit") {
  check_refused(
      [](Small& s) { s.set_attention(); },
      {{"heads in no groups", [](Small& s) { s.attention.head_count = 3; }},
       {"no heads", [](Small& s) { s.attention.head_count = 0; }},
       {"no heads of keys", [](Small& s) { s.attention.kv_head_count = 0; }},
       {"wide keys", [](Small& s) { s.attention.key_width = 65; }},
       {"wide values", [](Small& s) { s.attention.value_width = 65; }},
       {"a wide window", [](Small& s) { s.attention.window = 101; }},
       {"keys of integers", [](Small& s) { s.values[Small::kK].type = NACELLE_TYPE_U32; }},
       {"values of integers", [](Small& s) { s.values[Small::kV].type = NACELLE_TYPE_U32; }},
       {"values that are a part of keys in a group with values", [](Small& s) { s.inputs[2] = NACELLE_NO_VALUE; }},
       {"values in a group without", [](Small& s) { s.group.value_width = 0; }},
       {"a group of other keys", [](Small& s) { s.group.key_width = 16; }},
       {"a group of other values", [](Small& s) { s.group.value_width = 16; }},
       {"a layer that the group has not", [](Small& s) { s.attention.cache_layer = 2; }},
       {"no such group", [](Small& s) { s.attention.cache_group = 1; }},
       {"a group of another kind", [](Small& s) { s.group.kind = NACELLE_CACHE_STATE; }}});
  Small aliased;
  aliased.set_attention();
  aliased.inputs[2] = NACELLE_NO_VALUE;
  aliased.group.value_width = 0;
  CHECK(aliased.taken());
  aliased.attention.value_width = 5;  // wider than the keys that they are a part of
  CHECK_FALSE(aliased.taken());
}

TEST_CASE("products are taken of matrices that the backend packs") {
  check_refused(
      [](Small& s) {
        s.set(NACELLE_OP_MATMUL, {Small::kX, Small::kMatrix, Small::kVector});
      },
      {{"a type without a kernel", [](Small& s) { s.values[Small::kMatrix].type = NACELLE_TYPE_F32; }},
       {"an activation in its place", [](Small& s) { s.inputs[1] = Small::kK; }},
       {"a bias that was computed", [](Small& s) { s.inputs[2] = Small::kK; }},
       {"a fixed number of rows", [](Small& s) { s.values[Small::kX].shape[0] = 4; }}});
  check_refused([](Small& s) { s.set_experts(); },
                {{"more experts than kernels take",
                  [](Small& s) { s.moe.expert_count = s.values[Small::kExperts].shape[0] = 9; }},
                 {"another number of experts", [](Small& s) { s.moe.expert_count = 5; }},
                 {"more used than there are", [](Small& s) { s.moe.used_count = 5; }},
                 {"a choice of floats", [](Small& s) { s.values[Small::kChoice].type = NACELLE_TYPE_F32; }},
                 {"one matrix", [](Small& s) { s.inputs[1] = Small::kMatrix; }}});
}

TEST_CASE("adapters are taken of a matrix, those of experts where the backend says so") {
  Small small;
  const auto set = [&](std::uint32_t kind, std::uint32_t target) {
    small.adapter.target = target;
    small.set(kind, {Small::kX, Small::kK, Small::kPositions, Small::kChoice}, &small.adapter);
    if (kind == NACELLE_OP_ADAPTER_MATMUL) small.inputs.pop_back();
  };
  auto bounds = kBounds;
  bounds.expert_adapters = true;
  set(NACELLE_OP_ADAPTER_MATMUL, Small::kMatrix);
  CHECK(small.taken());
  for (const std::uint32_t none :
       {std::uint32_t{Small::kExperts}, std::uint32_t{Small::kX}, std::uint32_t{Small::kCount}}) {
    set(NACELLE_OP_ADAPTER_MATMUL, none);
    CHECK_FALSE(small.taken());
  }
  set(NACELLE_OP_MOE_ADAPTER_MATMUL, Small::kExperts);
  CHECK_FALSE(small.taken());
  CHECK(small.taken(bounds));
  small.inputs.back() = Small::kV;
  CHECK_FALSE(small.taken(bounds));
  set(NACELLE_OP_MOE_ADAPTER_MATMUL, Small::kMatrix);
  CHECK_FALSE(small.taken(bounds));
}

TEST_CASE("operations with a state are taken where the backend has both, and the group holds what they keep") {
  constexpr auto kNone = kBounds;
  auto bounds = kBounds;
  bounds.states = true;
  const auto set_scan = [](Small& s) {
    s.group.kind = NACELLE_CACHE_STATE;
    s.group.key_width = 2 * 4 * 4;
    s.group.value_width = 0;
    s.scan.rule = NACELLE_SCAN_ADD;
    s.scan.head_count = 2;
    s.scan.group_count = 2;
    s.scan.key_width = s.scan.value_width = 4;
    s.set(NACELLE_OP_STATE_SCAN,
          {Small::kX, Small::kK, Small::kV, Small::kX, Small::kVector, Small::kVector, Small::kX, Small::kVector},
          &s.scan);
  };
  const auto set_convolution = [](Small& s) {
    s.group.kind = NACELLE_CACHE_STATE;
    s.group.key_width = 3 * 8;
    s.group.value_width = 0;
    s.convolution.length = 4;
    s.set(NACELLE_OP_CONVOLUTION, {Small::kX, Small::kMatrix, Small::kVector}, &s.convolution);
  };
  const auto check = [&](const std::function<void(Small&)>& set, const std::vector<Change>& changes) {
    Small sound;
    set(sound);
    CHECK(sound.taken(bounds));
    CHECK_NOTHROW(check_graph("mine", sound.graph(), bounds));
    CHECK_FALSE(sound.taken(kNone));
    CHECK_THROWS_WITH(check_graph("mine", sound.graph(), kNone), Catch::Contains("cache group 0 is of kind 2"));
    for (const Change& change : changes) {
      Small small;
      set(small);
      change.make(small);
      INFO(change.what);
      CHECK_FALSE(small.taken(bounds));
    }
  };
  const std::vector<Change> groups = {{"a paged group", [](Small& s) { s.group.kind = NACELLE_CACHE_PAGED; }},
                                      {"a group of other states", [](Small& s) { s.group.key_width = 33; }}};
  check(set_scan, groups);
  check(set_convolution, groups);
  check(set_scan, {{"an unknown rule", [](Small& s) { s.scan.rule = 3; }},
                   {"no groups", [](Small& s) { s.scan.group_count = 0; }},
                   {"heads in no groups", [](Small& s) { s.scan.head_count = 3; }},
                   {"no such group", [](Small& s) { s.scan.cache_group = 1; }},
                   {"a layer that the group has not", [](Small& s) { s.scan.cache_layer = 2; }},
                   {"keys of integers", [](Small& s) { s.values[Small::kK].type = NACELLE_TYPE_U32; }},
                   {"no rate", [](Small& s) { s.inputs[4] = NACELLE_NO_VALUE; }},
                   {"a rate that was computed", [](Small& s) { s.inputs[4] = Small::kX; }},
                   {"a bias that was computed", [](Small& s) { s.inputs[5] = Small::kX; }},
                   {"a strength that is a weight", [](Small& s) { s.inputs[6] = Small::kVector; }},
                   {"a skip that was computed", [](Small& s) { s.inputs[7] = Small::kX; }}});
  const auto set_rates = [](Small& s) {  // 2 x 4 of them
    s.group.kind = NACELLE_CACHE_STATE;
    s.group.key_width = 2 * 4;
    s.group.value_width = 0;
    s.scan.rule = NACELLE_SCAN_ADD;
    s.scan.head_count = 2;
    s.scan.group_count = s.scan.value_width = 1;
    s.scan.key_width = 4;
    s.values[Small::kX].shape[1] = 2;
    s.set(NACELLE_OP_STATE_SCAN, {Small::kK, Small::kK, Small::kX, Small::kX, Small::kVector}, &s.scan);
  };
  Small rates;
  set_rates(rates);
  CHECK_FALSE(rates.taken(bounds));
  auto with_rates = bounds;
  with_rates.rate_each_row = true;
  CHECK(rates.taken(with_rates));
  rates.values[Small::kVector].shape[0] = 2;
  CHECK(rates.taken(bounds));
  check(set_convolution, {{"a filter of one", [](Small& s) { s.convolution.length = 1; }},
                          {"an unknown activation", [](Small& s) { s.convolution.activation = 8; }},
                          {"no such group", [](Small& s) { s.convolution.cache_group = 1; }},
                          {"a layer that the group has not", [](Small& s) { s.convolution.cache_layer = 2; }},
                          {"no filters", [](Small& s) { s.inputs[1] = NACELLE_NO_VALUE; }},
                          {"filters that were computed", [](Small& s) { s.inputs[1] = Small::kK; }},
                          {"a bias that was computed", [](Small& s) { s.inputs[2] = Small::kK; }}});
}

TEST_CASE("chunks, growth with the position and xIELU are taken where the backend says so") {
  auto bounds = kBounds;
  bounds.chunked_attention = bounds.position_scale = bounds.xielu = true;
  auto growth = make<nacelle_position_scale_attributes>();
  growth.length = 4;
  Small chunks, scaled, activated;
  chunks.attention.causal = 1;
  chunks.attention.window = 16;
  chunks.set(NACELLE_OP_CHUNKED_ATTENTION, {Small::kX, Small::kK, Small::kV}, &chunks.attention);
  scaled.set(NACELLE_OP_POSITION_SCALE, {Small::kX, Small::kPositions}, &growth);
  activated.set(NACELLE_OP_XIELU, {Small::kX, Small::kVector});
  for (Small* sound : {&chunks, &scaled, &activated}) {
    CHECK(sound->taken(bounds));
    CHECK_FALSE(sound->taken());
  }
  const std::function<void()> wrong[] = {[&] { chunks.attention.causal = 0; },
                                         [&] { chunks.attention.causal = 1, chunks.attention.window = 0; },
                                         [&] { chunks.attention.cache_group = NACELLE_NO_CACHE; }};
  for (const auto& change : wrong) {
    change();
    CHECK_FALSE(chunks.taken(bounds));
    chunks.attention.window = 16;
  }
  growth.length = 0;
  CHECK_FALSE(scaled.taken(bounds));
  growth.length = 4;
  scaled.inputs[1] = Small::kK;  // no positions
  CHECK_FALSE(scaled.taken(bounds));
  activated.inputs[1] = Small::kK;  // parameters that were computed
  CHECK_FALSE(activated.taken(bounds));
}

TEST_CASE("the first operation or cache group that is not taken is named") {
  Small small;
  small.set(NACELLE_OP_MATMUL, {Small::kX, Small::kVector});
  CHECK_THROWS_WITH(check_graph("mine", small.graph(), kBounds), Catch::StartsWith("mine: operation 0 of kind 2"));
  small.group.kind = NACELLE_CACHE_STATE;
  CHECK_THROWS_WITH(check_graph("mine", small.graph(), kBounds), Catch::Contains("cache group 0 is of kind 2"));
}

// ---- Reading weights

struct FakeSource {
  nacelle_status status = NACELLE_OK;
  nacelle_type type = NACELLE_TYPE_F16;
  std::uint64_t row_bytes = 16;
  int held = 0;  // ranges read and not released

  nacelle_weight_source table() {
    auto source = make<nacelle_weight_source>();
    source.context = this;
    source.read = [](void* context, std::uint32_t, std::uint64_t, std::uint64_t, nacelle_weight_rows* rows,
                     nacelle_error**) {
      auto& self = *static_cast<FakeSource*>(context);
      if (self.status == NACELLE_OK) ++self.held;
      *rows = {self.data, self.row_bytes, self.type, 0};
      return self.status;
    };
    source.release = [](void* context, std::uint32_t, std::uint64_t, std::uint64_t) {
      --static_cast<FakeSource*>(context)->held;
    };
    return source;
  }
  std::uint8_t data[256] = {};
};

TEST_CASE("rows of a weight are given back once, whatever they are") {
  Small small;
  const nacelle_graph& graph = small.graph();
  const nacelle_host none{};
  const Host host(&none, "test");
  FakeSource source;
  const nacelle_weight_source table = source.table();
  {
    const WeightRows rows(host, graph, table, 0, 2, 3);
    CHECK(source.held == 1);
    CHECK(rows.row(2) == source.data + 2 * rows.stride());
  }
  CHECK(source.held == 0);
  source.type = NACELLE_TYPE_BF16;
  CHECK_THROWS_WITH(WeightRows(host, graph, table, 0, 0, 1), Catch::Contains("weight w") && Catch::Contains("type"));
  CHECK(source.held == 0);
  source.type = NACELLE_TYPE_F16;
  source.row_bytes = 14;
  CHECK_THROWS_AS(WeightRows(host, graph, table, 0, 0, 1), Failure);
  CHECK(source.held == 0);
  source.status = NACELLE_UNAVAILABLE;
  CHECK_THROWS_WITH(WeightRows(host, graph, table, 0, 0, 1), "reading weight w failed");
  CHECK(source.held == 0);
}

TEST_CASE("a weight's extent and use follow from the graph") {
  Small small;
  small.values[Small::kMatrix].weight = 0;
  small.set(NACELLE_OP_MATMUL, {Small::kX, Small::kMatrix});
  CHECK(weight_uses(small.graph()) == std::vector{WeightUse::kMatrix});
  CHECK(weight_extent(small.graph(), 0).rows == 6);
  CHECK(weight_extent(small.graph(), 0).columns == 8);
  small.set(NACELLE_OP_RMS_NORM, {Small::kX, Small::kMatrix});
  CHECK(weight_uses(small.graph()) == std::vector{WeightUse::kVector});
  small.values[Small::kMatrix].shape[1] = std::int64_t{1} << 40;
  CHECK_THROWS_AS(weight_extent(small.graph(), 0), Failure);
}

// ---- Asking a graph

TEST_CASE("an object that a backend does not make is an error") {
  struct Empty final : sdk::Backend {
    std::uint32_t device_count(std::string_view&) override { return 1; }
    nacelle_device_info device_info(std::uint32_t) override { return sdk::make<nacelle_device_info>(); }
    std::unique_ptr<sdk::Device> open(std::uint32_t) override { return nullptr; }
  };
  sdk::detail::plugin().backend = std::make_unique<Empty>();
  nacelle_device* device = nullptr;
  CHECK(sdk::detail::make_backend_api().device_open(0, &device, nullptr) == NACELLE_INTERNAL);
  CHECK(device == nullptr);
  sdk::detail::plugin().backend.reset();
}

TEST_CASE("a value's rows, width and readers are told") {
  Small small;
  small.set(NACELLE_OP_ADD, {Small::kX, Small::kK});
  small.values[Small::kV].shape[0] = NACELLE_DIM_OUTPUT_ROWS;
  small.values[Small::kK].output = NACELLE_OUTPUT_EMBEDDING;
  auto bucket = make<nacelle_bucket>();
  bucket.rows = 5;
  bucket.sequences = 3;
  bucket.output_rows = 2;
  const GraphView view("mine", small.graph(), bucket);
  CHECK(view.lead_of(Small::kX) == Lead::kRows);
  CHECK(view.lead_of(Small::kV) == Lead::kOutputRows);
  CHECK_THROWS_WITH(view.lead_of(Small::kMatrix), Catch::StartsWith("mine: "));
  CHECK(view.most_rows(Lead::kRows) == 5);
  CHECK(view.most_rows(Lead::kSequences) == 3);
  CHECK(view.most_rows(Lead::kOutputRows) == 2);
  CHECK(view.width_of(Small::kX) == 8);
  CHECK(view.only_consumer(Small::kX) == &small.op);
  CHECK(view.only_consumer(Small::kK) == nullptr);  // the host reads it, too
  CHECK(view.only_consumer(Small::kOut) == nullptr);
}

TEST_CASE("the width of an embedding is that of the value that is marked so") {
  Small small;
  CHECK(embedding_width(small.graph()) == 0);
  small.values[Small::kV] = Small::activation(24);
  small.values[Small::kV].output = NACELLE_OUTPUT_EMBEDDING;
  CHECK(embedding_width(small.graph()) == 24);
}

TEST_CASE("a pair with a block that is not there is found, at either end") {
  const nacelle_block_copy pairs[] = {{0, 3}, {2, 2}, {4, 1}};
  CHECK(are_within(pairs, 5));
  CHECK_FALSE(are_within(pairs, 4));
  CHECK_FALSE(are_within(std::span(pairs).first(1), 3));
  CHECK(are_within({}, 0));
}

}  // namespace
}  // namespace nacelle::test
