// Each recipe gives each tensor the type that llama.cpp's quantizer gives it; overrides and what they refuse.
#include "core/compress/mixes.hpp"

#include <catch2/catch.hpp>

#include "core/base/error.hpp"
#include "tests/unit/compress/goldens.hpp"

namespace nacelle::compress {
namespace {

std::uint32_t number(const JsonNode& node, const char* key) {
  return static_cast<std::uint32_t>(node.find(key)->integer);
}

std::vector<TensorPlan> tensors_of(const JsonNode& model) {
  std::vector<TensorPlan> out;
  for (const JsonNode& tensor : model.find("tensors")->items) {
    TensorPlan plan{tensor.items[0].text, {}, NACELLE_TYPE_F32};
    for (const JsonNode& extent : tensor.items[1].items)
      plan.shape.push_back(static_cast<std::uint64_t>(extent.integer));
    out.push_back(std::move(plan));
  }
  return out;
}

ModelTraits traits_of(const JsonNode& model) {
  return {.architecture = model.find("architecture")->text,
          .layers = number(model, "layers"),
          .experts = number(model, "experts"),
          .heads_per_kv_head = number(model, "heads") / number(model, "kv_heads"),
          .tied = model.find("tied")->boolean};
}

const std::vector<TensorPlan> kModel = {
    {"token_embd.weight", {32, 256}, NACELLE_TYPE_F16},    {"blk.0.attn_norm.weight", {256}, NACELLE_TYPE_F32},
    {"blk.0.attn_v.weight", {64, 256}, NACELLE_TYPE_F16},  {"blk.1.attn_v.weight", {64, 256}, NACELLE_TYPE_F16},
    {"blk.0.ffn_down.weight", {64, 96}, NACELLE_TYPE_F16}, {"odd.weight", {64, 20}, NACELLE_TYPE_F16}};

std::vector<nacelle_type> choose(const char* recipe, std::vector<TypeOverride> overrides) {
  return choose_types(*find_recipe(recipe), {.architecture = "llama", .layers = 2}, kModel, overrides);
}

std::string refusal(std::vector<TypeOverride> overrides) {
  try {
    choose("q4_k_m", std::move(overrides));
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a recipe means what it does in llama.cpp", "[compress]") {
  const JsonNode goldens = read_goldens();
  const JsonNode& mixes = *goldens.find("mixes");
  for (const JsonNode& model : mixes.find("models")->items) {
    const std::vector<TensorPlan> tensors = tensors_of(model);
    for (const JsonNode& golden : model.find("types")->items) {
      const Recipe* recipe = find_recipe(golden.key);
      REQUIRE(recipe);
      const auto types = choose_types(*recipe, traits_of(model), tensors, {});
      for (std::size_t i = 0; i < types.size(); ++i) {
        CAPTURE(model.find("architecture")->text, golden.key, tensors[i].name);
        CHECK(type_info(types[i])->name == mixes.find("letters")->find(golden.text.substr(i, 1))->text);
      }
    }
  }
}

TEST_CASE("overrides by part of a name and by pattern", "[compress]") {
  CHECK(choose("q8_0", {{"attn_v", NACELLE_TYPE_Q6_K}})[3] == NACELLE_TYPE_Q6_K);
  const auto types = choose("q8_0", {{"blk.*.attn_v.weight", NACELLE_TYPE_Q5_K}, {"blk.1.*", NACELLE_TYPE_F16}});
  CHECK(types[2] == NACELLE_TYPE_Q5_K);
  CHECK(types[3] == NACELLE_TYPE_F16);
  CHECK(types[1] == NACELLE_TYPE_F32);
  CHECK(types[5] == NACELLE_TYPE_F16);  // 20 columns: no block fits
  CHECK(choose("q4_k_m", {})[4] == NACELLE_TYPE_Q5_0);
}

// llama.cpp computes short convolutions with filters of F32 only.
TEST_CASE("the filters of convolutions stay as they are", "[compress]") {
  const std::vector<TensorPlan> filters = {{"blk.0.shortconv.conv.weight", {64, 3}, NACELLE_TYPE_F32},
                                           {"blk.1.ssm_conv1d.weight", {64, 4}, NACELLE_TYPE_F32}};
  for (const char* recipe : {"f16", "q8_0", "q4_k_m"})
    CHECK(choose_types(*find_recipe(recipe), {.architecture = "lfm2", .layers = 2}, filters, {}) ==
          std::vector<nacelle_type>(2, NACELLE_TYPE_F32));
}

TEST_CASE("overrides that cannot be", "[compress]") {
  CHECK(refusal({{"attn_w", NACELLE_TYPE_Q6_K}}).find("--tensor attn_w=Q6_K: matches no tensor") == 0);
  CHECK(refusal({{"ffn_down", NACELLE_TYPE_Q6_K}}).find("have 96 elements, expected a multiple of 256") !=
        std::string::npos);
  CHECK(refusal({{"attn_norm", NACELLE_TYPE_Q8_0}}).find("is no matrix") != std::string::npos);
}

}  // namespace nacelle::compress
