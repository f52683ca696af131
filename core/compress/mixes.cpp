// The mixes as a table: the first rule that fits a tensor gives its type, the recipe's own type where none does.
#include "core/compress/mixes.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "core/base/error.hpp"
#include "core/compress/encode.hpp"
#include "core/formats/file_error.hpp"

namespace nacelle::compress {
namespace {

constexpr Recipe kRecipes[] = {
    {"f32", 0, NACELLE_TYPE_F32},      {"f16", 1, NACELLE_TYPE_F16},        {"bf16", 32, NACELLE_TYPE_BF16},
    {"q8_0", 7, NACELLE_TYPE_Q8_0},    {"q6_k", 18, NACELLE_TYPE_Q6_K},     {"q5_k_m", 17, NACELLE_TYPE_Q5_K},
    {"q5_k_s", 16, NACELLE_TYPE_Q5_K}, {"q5_1", 9, NACELLE_TYPE_Q5_1},      {"q5_0", 8, NACELLE_TYPE_Q5_0},
    {"q4_k_m", 15, NACELLE_TYPE_Q4_K}, {"q4_k_s", 14, NACELLE_TYPE_Q4_K},   {"q4_1", 3, NACELLE_TYPE_Q4_1},
    {"q4_0", 2, NACELLE_TYPE_Q4_0},    {"iq4_nl", 25, NACELLE_TYPE_IQ4_NL}, {"iq4_xs", 30, NACELLE_TYPE_IQ4_XS},
    {"mxfp4", 38, NACELLE_TYPE_MXFP4}, {"q3_k_l", 13, NACELLE_TYPE_Q3_K},   {"q3_k_m", 12, NACELLE_TYPE_Q3_K},
    {"q3_k_s", 11, NACELLE_TYPE_Q3_K}, {"q2_k", 10, NACELLE_TYPE_Q2_K},
};

enum class Part { kHead, kEmbedding, kV, kK, kOutput, kDown };

// The first that is found in a tensor's name.
constexpr struct {
  const char* text;
  Part part;
} kParts[] = {
    {"attn_qkv.weight", Part::kV},  {"attn_output.weight", Part::kOutput},
    {"attn_v.weight", Part::kV},    {"attn_k.weight", Part::kK},
    {"ffn_down", Part::kDown},      {"token_embd.weight", Part::kEmbedding},
    {"output.weight", Part::kHead},
};

enum class When {
  kAlways,
  kFirstTwo,
  kFirstFour,
  kFirstSixteenth,
  kFirstEighth,
  kMoreBits,              // the first and the last eighth of the layers, and each third between
  kFirstEighthUnweighed,  // without an importance matrix
  kFirstEighthWeighed,
  kGrouped,  // four heads or more share a KV head: it is small, and counts the more
  kEightExperts,
  kEightyLayers,  // the 70B models, where V is a sliver
};

struct Rule {
  Part part;
  const char* recipes;  // between spaces
  When when;
  nacelle_type type;
};

constexpr const char* kAll = nullptr;
constexpr Rule kRules[] = {
    {Part::kHead, " mxfp4 q8_0 ", When::kAlways, NACELLE_TYPE_Q8_0},
    {Part::kHead, kAll, When::kAlways, NACELLE_TYPE_Q6_K},
    {Part::kEmbedding, " mxfp4 ", When::kAlways, NACELLE_TYPE_Q8_0},

    {Part::kV, kAll, When::kEightExperts, NACELLE_TYPE_Q8_0},
    {Part::kK, kAll, When::kEightExperts, NACELLE_TYPE_Q8_0},
    {Part::kV, " q2_k q3_k_s q3_k_m q4_k_s ", When::kEightyLayers, NACELLE_TYPE_Q5_K},
    {Part::kV, " q2_k ", When::kGrouped, NACELLE_TYPE_Q4_K},
    {Part::kV, " q2_k ", When::kAlways, NACELLE_TYPE_Q3_K},
    {Part::kV, " q3_k_m ", When::kFirstTwo, NACELLE_TYPE_Q5_K},
    {Part::kV, " q3_k_m ", When::kAlways, NACELLE_TYPE_Q4_K},
    {Part::kV, " q3_k_l ", When::kAlways, NACELLE_TYPE_Q5_K},
    {Part::kV, " iq4_nl iq4_xs ", When::kGrouped, NACELLE_TYPE_Q5_K},
    {Part::kV, " q4_k_m q5_k_m ", When::kMoreBits, NACELLE_TYPE_Q6_K},
    {Part::kV, " q4_k_m ", When::kEightyLayers, NACELLE_TYPE_Q5_K},
    {Part::kV, " q4_k_s ", When::kFirstFour, NACELLE_TYPE_Q5_K},

    {Part::kDown, " q2_k ", When::kAlways, NACELLE_TYPE_Q3_K},
    {Part::kDown, " q3_k_m ", When::kFirstSixteenth, NACELLE_TYPE_Q5_K},
    {Part::kDown, " q3_k_m ", When::kAlways, NACELLE_TYPE_Q4_K},
    {Part::kDown, " q3_k_l ", When::kAlways, NACELLE_TYPE_Q5_K},
    {Part::kDown, " q4_k_m q5_k_m ", When::kMoreBits, NACELLE_TYPE_Q6_K},
    {Part::kDown, " iq4_nl iq4_xs ", When::kFirstEighthUnweighed, NACELLE_TYPE_Q5_K},
    {Part::kDown, " q4_k_s ", When::kFirstEighth, NACELLE_TYPE_Q5_K},
    {Part::kDown, " q4_0 ", When::kFirstEighthWeighed, NACELLE_TYPE_Q4_1},
    {Part::kDown, " q5_0 ", When::kFirstEighthWeighed, NACELLE_TYPE_Q5_1},

    {Part::kOutput, " q2_k q3_k_s q3_k_m iq4_nl iq4_xs q4_k_s q4_k_m ", When::kEightExperts, NACELLE_TYPE_Q5_K},
    {Part::kOutput, " q3_k_l ", When::kEightExperts, NACELLE_TYPE_Q3_K},
    {Part::kOutput, " q2_k ", When::kAlways, NACELLE_TYPE_Q3_K},
    {Part::kOutput, " q3_k_m ", When::kAlways, NACELLE_TYPE_Q4_K},
    {Part::kOutput, " q3_k_l ", When::kAlways, NACELLE_TYPE_Q5_K},
};

// Where rows are no multiple of 256.
constexpr struct {
  nacelle_type type, instead;
} kFallBacks[] = {
    {NACELLE_TYPE_Q2_K, NACELLE_TYPE_Q4_0},     {NACELLE_TYPE_Q3_K, NACELLE_TYPE_Q4_0},
    {NACELLE_TYPE_IQ4_XS, NACELLE_TYPE_IQ4_NL}, {NACELLE_TYPE_Q4_K, NACELLE_TYPE_Q5_0},
    {NACELLE_TYPE_Q5_K, NACELLE_TYPE_Q5_1},     {NACELLE_TYPE_Q6_K, NACELLE_TYPE_Q8_0},
};

// Matrices that stay as they are: small, and what they decide cannot be mended later.
constexpr const char* kKept[] = {"_norm.weight", "ffn_gate_inp", "position_embd", "token_types.weight", "rope_freqs",
                                 "attn_rel_b",   "attn_sinks",   "ssm_conv1d",    "shortconv.conv"};

std::uint32_t layer_of(std::string_view name) {
  std::uint32_t layer = 0;
  const auto at = name.find("blk.");
  if (at != std::string_view::npos) std::from_chars(name.data() + at + 4, name.data() + name.size(), layer);
  return layer;
}

bool holds(When when, std::uint32_t layer, const ModelTraits& m) {
  const std::uint32_t n = m.layers;
  switch (when) {
    case When::kAlways: return true;
    case When::kFirstTwo: return layer < 2;
    case When::kFirstFour: return layer < 4;
    case When::kFirstSixteenth: return layer < n / 16;
    case When::kFirstEighth: return layer < n / 8;
    case When::kMoreBits: return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
    case When::kFirstEighthUnweighed: return layer < n / 8 && !m.importance;
    case When::kFirstEighthWeighed: return layer < n / 8 && m.importance;
    case When::kGrouped: return m.heads_per_kv_head >= 4;
    case When::kEightExperts: return m.experts == 8;
    case When::kEightyLayers: return n == 80 && m.heads_per_kv_head == 8;
  }
  return false;
}

std::optional<Part> part_of(std::string_view name, const ModelTraits& traits) {
  for (const auto& [text, part] : kParts)
    if (name.find(text) != std::string_view::npos) return part == Part::kEmbedding && traits.tied ? Part::kHead : part;
  return std::nullopt;
}

nacelle_type by_rules(const Recipe& recipe, const ModelTraits& traits, const TensorPlan& tensor) {
  const auto part = part_of(tensor.name, traits);
  const std::string name = " " + std::string(recipe.name) + " ";
  for (const Rule& rule : kRules) {
    if (rule.part != part || (rule.recipes && std::string_view(rule.recipes).find(name) == std::string_view::npos))
      continue;
    if (holds(rule.when, layer_of(tensor.name), traits)) return rule.type;
  }
  // MXFP4 is made for experts; what is beside them is small.
  if (recipe.type == NACELLE_TYPE_MXFP4 && traits.experts != 0 && tensor.shape.size() < 3) return NACELLE_TYPE_Q8_0;
  return recipe.type;
}

bool fits(nacelle_type type, const TensorPlan& tensor) {
  return tensor.shape.back() % type_info(type)->block_elements == 0;
}

nacelle_type fallen_back(nacelle_type type, const TensorPlan& tensor) {
  if (fits(type, tensor)) return type;
  for (const auto& [from, instead] : kFallBacks)
    if (from == type && fits(instead, tensor)) return instead;
  return NACELLE_TYPE_F16;
}

bool is_kept(const TensorPlan& tensor) {
  return !can_encode(tensor.type) || stays_f32(tensor.name, tensor.shape.size());
}

bool matches(const std::string& pattern, const std::string& name) {
  if (pattern.find_first_of("*?[") == std::string::npos) return name.find(pattern) != std::string::npos;
  return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

[[noreturn]] void refuse(const TypeOverride& one, const std::string& what) {
  throw Error(ErrorKind::kInvalidArgument, "--tensor " + one.pattern + "=" + type_info(one.type)->name + ": " + what,
              "tensor");
}

void apply(const TypeOverride& one, std::span<const TensorPlan> tensors, std::vector<nacelle_type>& types) {
  bool any = false;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!matches(one.pattern, tensors[i].name) || !can_encode(tensors[i].type)) continue;
    any = true;
    if (!fits(one.type, tensors[i]))
      refuse(one, "the rows of " + in_quotes(tensors[i].name) + " have " + std::to_string(tensors[i].shape.back()) +
                      " elements, expected a multiple of " + std::to_string(type_info(one.type)->block_elements));
    if (tensors[i].shape.size() < 2 && one.type != NACELLE_TYPE_F32)
      refuse(one, in_quotes(tensors[i].name) + " is no matrix: norms and biases stay F32");
    types[i] = one.type;
  }
  if (!any) refuse(one, "matches no tensor of the model; `nacelle quantize --list` shows their names");
}

}  // namespace

bool stays_f32(std::string_view name, std::size_t rank) {
  if (rank < 2 || !name.ends_with("weight")) return true;
  return std::ranges::any_of(kKept, [&](const char* part) { return name.find(part) != std::string_view::npos; });
}

std::span<const Recipe> recipes() noexcept { return kRecipes; }

const Recipe* find_recipe(std::string_view name) noexcept {
  const auto found = std::ranges::find_if(kRecipes, [&](const Recipe& recipe) { return recipe.name == name; });
  return found == std::end(kRecipes) ? nullptr : found;
}

std::vector<nacelle_type> choose_types(const Recipe& recipe, const ModelTraits& traits,
                                       std::span<const TensorPlan> tensors, std::span<const TypeOverride> overrides) {
  const bool plain = type_info(recipe.type)->block_elements == 1;
  std::vector<nacelle_type> types;
  for (const TensorPlan& tensor : tensors) {
    if (is_kept(tensor)) {
      types.push_back(tensor.type);
    } else {
      types.push_back(plain ? recipe.type : fallen_back(by_rules(recipe, traits, tensor), tensor));
    }
  }
  for (const TypeOverride& one : overrides) apply(one, tensors, types);
  return types;
}

}  // namespace nacelle::compress
