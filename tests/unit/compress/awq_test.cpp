// Activation-aware scaling changes no product of a producer's and a consumer's weights, and makes the error smaller.
#include "core/compress/awq.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "core/base/atomic_file.hpp"
#include "tests/unit/formats/files.hpp"

namespace nacelle::compress {
namespace {

constexpr std::uint64_t kInner = 64, kHeads = 4, kKvHeads = 2, kHeadWidth = 16, kColumn = 3;

struct ScaledModel {
  test::TempFolder folder;
  std::unique_ptr<ModelFiles> files;
  Importance importance;
};

// One Llama layer with biases of the values; the first channels of every input carry most.
void fill(ScaledModel& model, const char* architecture) {
  GgufWriter layout;
  layout.set("general.architecture", architecture);
  const std::string prefix = std::string(architecture) + ".";
  layout.set(prefix + "block_count", std::uint32_t{1});
  layout.set(prefix + "attention.head_count", static_cast<std::uint32_t>(kHeads));
  layout.set(prefix + "attention.head_count_kv", static_cast<std::uint32_t>(kKvHeads));
  std::vector<std::vector<float>> values;
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 0.1f);
  const auto add = [&](const std::string& name, std::vector<std::uint64_t> shape) {
    std::uint64_t count = 1;
    for (const std::uint64_t extent : shape) count *= extent;
    auto& to = values.emplace_back(count);
    for (float& value : to) value = normal(random);
    if (shape.size() == 2) {
      ChannelSums& sums = model.importance.weights["blk.0." + name];
      sums.channels = shape[1];
      sums.counts = {1};
      for (std::uint64_t i = 0; i < shape[1]; ++i)
        sums.sums.push_back(std::exp(4 * normal(random)) * (i % 16 < 2 ? 100.0f : 1.0f));
    }
    layout.add_tensor("blk.0." + name, NACELLE_TYPE_F32, std::move(shape));
  };
  add("attn_norm.weight", {kInner});
  add("attn_q.weight", {kHeads * kHeadWidth, kInner});
  add("attn_k.weight", {kKvHeads * kHeadWidth, kInner});
  add("attn_v.weight", {kKvHeads * kHeadWidth, kInner});
  add("attn_v.bias", {kKvHeads * kHeadWidth});
  add("attn_output.weight", {kInner, kHeads * kHeadWidth});
  add("ffn_norm.weight", {kInner});
  add("ffn_gate.weight", {96, kInner});
  add("ffn_up.weight", {96, kInner});
  add("ffn_down.weight", {kInner, 96});
  {
    AtomicFile file(model.folder.path() / "in.gguf");
    file.write(0, layout.header());
    for (std::size_t i = 0; i < values.size(); ++i)
      file.write(layout.tensors()[i].offset, std::as_bytes(std::span(values[i])));
    file.commit();
  }
  model.files = ModelFiles::open(model.folder.path() / "in.gguf");
}

std::vector<std::vector<float>> rows_of_tensor(const SourceModel& model, const std::string& name) {
  for (const SourceTensor& tensor : model.tensors) {
    if (tensor.name != "blk.0." + name) continue;
    std::vector<std::vector<float>> rows(tensor.rows(), std::vector<float>(tensor.columns()));
    for (std::uint64_t row = 0; row < rows.size(); ++row) read_row(model, tensor, row, rows[row]);
    return rows;
  }
  FAIL("no tensor " + name);
  return {};
}

}  // namespace

TEST_CASE("scaled weights compute the same", "[compress]") {
  ScaledModel model;
  fill(model, "llama");
  const SourceModel before = open_gguf(*model.files);
  SourceModel after = open_gguf(*model.files);
  const std::vector<nacelle_type> types(after.tensors.size(), NACELLE_TYPE_Q4_0);
  const ScalingResult result = scale_by_activation(after, types, model.importance, 2);
  CHECK(result.groups == 4);
  CHECK(result.scaled >= 3);
  CHECK(result.after < result.before);

  // producer(column of the consumer) * consumer, for every element.
  // `before_it`: the norm that scales the producer's columns in turn.
  const auto compare = [&](const char* producer, const char* consumer, auto source, const char* before_it = nullptr) {
    CAPTURE(producer, consumer);
    const auto p0 = rows_of_tensor(before, producer), p1 = rows_of_tensor(after, producer);
    const auto c0 = rows_of_tensor(before, consumer), c1 = rows_of_tensor(after, consumer);
    const float n0 = before_it ? rows_of_tensor(before, before_it)[0][kColumn] : 1;
    const float n1 = before_it ? rows_of_tensor(after, before_it)[0][kColumn] : 1;
    bool changed = false;
    for (std::size_t row = 0; row < c0.size(); ++row)
      for (std::size_t i = 0; i < c0[row].size(); ++i) {
        const float was = n0 * source(p0, i) * c0[row][i], is = n1 * source(p1, i) * c1[row][i];
        REQUIRE(is == Approx(was).epsilon(1e-5));
        changed = changed || c0[row][i] != c1[row][i];
      }
    CHECK(changed);
  };
  const auto of_norm = [](const auto& rows, std::size_t i) { return rows[0][i]; };
  const auto of_up = [](const auto& rows, std::size_t i) { return rows[i][kColumn]; };
  // Column i of attention's output comes from head i / kHeadWidth, whose values two heads share.
  const auto of_values = [](const auto& rows, std::size_t i) {
    return rows[i / kHeadWidth / (kHeads / kKvHeads) * kHeadWidth + i % kHeadWidth][kColumn];
  };
  const auto of_bias = [](const auto& rows, std::size_t i) {
    return rows[0][i / kHeadWidth / (kHeads / kKvHeads) * kHeadWidth + i % kHeadWidth];
  };
  for (const char* name : {"attn_q.weight", "attn_k.weight"}) compare("attn_norm.weight", name, of_norm);
  for (const char* name : {"ffn_gate.weight"}) compare("ffn_norm.weight", name, of_norm);
  compare("attn_v.weight", "attn_output.weight", of_values, "attn_norm.weight");
  compare("attn_v.bias", "attn_output.weight", of_bias);
  compare("ffn_up.weight", "ffn_down.weight", of_up, "ffn_norm.weight");
}

TEST_CASE("families of which exactness is not known are not scaled", "[compress]") {
  ScaledModel model;
  fill(model, "falcon");
  SourceModel source = open_gguf(*model.files);
  const std::vector<nacelle_type> types(source.tensors.size(), NACELLE_TYPE_Q4_0);
  CHECK(test::error_of([&] { scale_by_activation(source, types, model.importance, 1); }).find("the family 'falcon'") !=
        std::string::npos);
}

}  // namespace nacelle::compress
