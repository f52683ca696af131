// Reading goldens.json: names of operations, attributes and types become those of the ABI.
#include <cstddef>
#include <cstring>
#include <map>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "sdk/conformance/case.hpp"
#include "sdk/runtime/embedded_file.hpp"

NACELLE_EMBEDDED_FILE(nacelle_goldens);

namespace nacelle::conformance {
namespace {

using Json = nlohmann::ordered_json;

struct Field {
  const char* name;
  std::size_t offset;
  bool is_float;
};

struct OpName {
  const char* name;
  std::uint32_t kind;
  std::uint32_t attribute_size;  // 0: none
  std::vector<Field> fields;
};

#define NACELLE_WORD(type, field) \
  { #field, offsetof(type, field), false }
#define NACELLE_FLOAT(type, field) \
  { #field, offsetof(type, field), true }

const std::vector<Field> kNormFields = {NACELLE_FLOAT(nacelle_norm_attributes, epsilon),
                                        NACELLE_FLOAT(nacelle_norm_attributes, weight_offset),
                                        NACELLE_WORD(nacelle_norm_attributes, group)};
const std::vector<Field> kRopeFields = {NACELLE_WORD(nacelle_rope_attributes, style),
                                        NACELLE_WORD(nacelle_rope_attributes, head_width),
                                        NACELLE_WORD(nacelle_rope_attributes, rotary_width),
                                        NACELLE_WORD(nacelle_rope_attributes, scaling),
                                        NACELLE_FLOAT(nacelle_rope_attributes, base),
                                        NACELLE_FLOAT(nacelle_rope_attributes, factor),
                                        NACELLE_FLOAT(nacelle_rope_attributes, low_frequency_factor),
                                        NACELLE_FLOAT(nacelle_rope_attributes, high_frequency_factor),
                                        NACELLE_FLOAT(nacelle_rope_attributes, beta_fast),
                                        NACELLE_FLOAT(nacelle_rope_attributes, beta_slow),
                                        NACELLE_FLOAT(nacelle_rope_attributes, attention_factor),
                                        NACELLE_WORD(nacelle_rope_attributes, original_context)};
const std::vector<Field> kAttentionFields = {
    NACELLE_WORD(nacelle_attention_attributes, head_count),  NACELLE_WORD(nacelle_attention_attributes, kv_head_count),
    NACELLE_WORD(nacelle_attention_attributes, key_width),   NACELLE_WORD(nacelle_attention_attributes, value_width),
    NACELLE_WORD(nacelle_attention_attributes, cache_group), NACELLE_WORD(nacelle_attention_attributes, cache_layer),
    NACELLE_WORD(nacelle_attention_attributes, causal),      NACELLE_WORD(nacelle_attention_attributes, window),
    NACELLE_FLOAT(nacelle_attention_attributes, scale),      NACELLE_FLOAT(nacelle_attention_attributes, soft_cap),
    NACELLE_FLOAT(nacelle_attention_attributes, alibi_bias)};
const std::vector<Field> kActivationFields = {
    NACELLE_WORD(nacelle_activation_attributes, activation), NACELLE_FLOAT(nacelle_activation_attributes, clamp),
    NACELLE_FLOAT(nacelle_activation_attributes, alpha), NACELLE_FLOAT(nacelle_activation_attributes, up_offset)};
const std::vector<Field> kMoeFields = {
    NACELLE_WORD(nacelle_moe_attributes, expert_count), NACELLE_WORD(nacelle_moe_attributes, used_count),
    NACELLE_WORD(nacelle_moe_attributes, routing),      NACELLE_WORD(nacelle_moe_attributes, renormalise),
    NACELLE_FLOAT(nacelle_moe_attributes, scale),       NACELLE_WORD(nacelle_moe_attributes, group_count),
    NACELLE_WORD(nacelle_moe_attributes, group_used),   NACELLE_WORD(nacelle_moe_attributes, x_per_expert)};
const std::vector<Field> kScanFields = {
    NACELLE_WORD(nacelle_scan_attributes, cache_group), NACELLE_WORD(nacelle_scan_attributes, cache_layer),
    NACELLE_WORD(nacelle_scan_attributes, rule),        NACELLE_WORD(nacelle_scan_attributes, head_count),
    NACELLE_WORD(nacelle_scan_attributes, group_count), NACELLE_WORD(nacelle_scan_attributes, key_width),
    NACELLE_WORD(nacelle_scan_attributes, value_width), NACELLE_FLOAT(nacelle_scan_attributes, scale)};
const std::vector<Field> kConvolutionFields = {NACELLE_WORD(nacelle_convolution_attributes, cache_group),
                                               NACELLE_WORD(nacelle_convolution_attributes, cache_layer),
                                               NACELLE_WORD(nacelle_convolution_attributes, length),
                                               NACELLE_WORD(nacelle_convolution_attributes, activation)};

const std::vector<Field> kPositionScaleFields = {NACELLE_FLOAT(nacelle_position_scale_attributes, strength),
                                                 NACELLE_WORD(nacelle_position_scale_attributes, length),
                                                 NACELLE_WORD(nacelle_position_scale_attributes, offset)};

const std::vector<OpName> kOps = {
    {"embedding",
     NACELLE_OP_EMBEDDING,
     sizeof(nacelle_embedding_attributes),
     {NACELLE_FLOAT(nacelle_embedding_attributes, scale)}},
    {"matmul", NACELLE_OP_MATMUL, 0, {}},
    {"rms_norm", NACELLE_OP_RMS_NORM, sizeof(nacelle_norm_attributes), kNormFields},
    {"layer_norm", NACELLE_OP_LAYER_NORM, sizeof(nacelle_norm_attributes), kNormFields},
    {"rope", NACELLE_OP_ROPE, sizeof(nacelle_rope_attributes), kRopeFields},
    {"attention", NACELLE_OP_ATTENTION, sizeof(nacelle_attention_attributes), kAttentionFields},
    {"unary", NACELLE_OP_UNARY, sizeof(nacelle_activation_attributes), kActivationFields},
    {"gated", NACELLE_OP_GATED, sizeof(nacelle_activation_attributes), kActivationFields},
    {"softmax", NACELLE_OP_SOFTMAX, 0, {}},
    {"add", NACELLE_OP_ADD, 0, {}},
    {"mul", NACELLE_OP_MUL, 0, {}},
    {"scale",
     NACELLE_OP_SCALE,
     sizeof(nacelle_scale_attributes),
     {NACELLE_FLOAT(nacelle_scale_attributes, scale), NACELLE_FLOAT(nacelle_scale_attributes, shift),
      NACELLE_FLOAT(nacelle_scale_attributes, soft_cap)}},
    {"split", NACELLE_OP_SPLIT, 0, {}},
    {"concat", NACELLE_OP_CONCAT, 0, {}},
    {"gather", NACELLE_OP_GATHER, 0, {}},
    {"pool", NACELLE_OP_POOL, sizeof(nacelle_pool_attributes), {NACELLE_WORD(nacelle_pool_attributes, pooling)}},
    {"normalise", NACELLE_OP_NORMALISE, 0, {}},
    {"moe_route", NACELLE_OP_MOE_ROUTE, sizeof(nacelle_moe_attributes), kMoeFields},
    {"moe_matmul", NACELLE_OP_MOE_MATMUL, sizeof(nacelle_moe_attributes), kMoeFields},
    {"moe_combine", NACELLE_OP_MOE_COMBINE, sizeof(nacelle_moe_attributes), kMoeFields},
    {"adapter_matmul",
     NACELLE_OP_ADAPTER_MATMUL,
     sizeof(nacelle_adapter_attributes),
     {NACELLE_WORD(nacelle_adapter_attributes, target)}},
    {"moe_adapter_matmul",
     NACELLE_OP_MOE_ADAPTER_MATMUL,
     sizeof(nacelle_adapter_attributes),
     {NACELLE_WORD(nacelle_adapter_attributes, target)}},
    {"chunked_attention", NACELLE_OP_CHUNKED_ATTENTION, sizeof(nacelle_attention_attributes), kAttentionFields},
    {"position_scale", NACELLE_OP_POSITION_SCALE, sizeof(nacelle_position_scale_attributes), kPositionScaleFields},
    {"xielu", NACELLE_OP_XIELU, 0, {}},
    {"state_scan", NACELLE_OP_STATE_SCAN, sizeof(nacelle_scan_attributes), kScanFields},
    {"convolution", NACELLE_OP_CONVOLUTION, sizeof(nacelle_convolution_attributes), kConvolutionFields},
};
#undef NACELLE_WORD
#undef NACELLE_FLOAT

const std::map<std::string, std::uint32_t> kRoles = {{"tokens", NACELLE_INPUT_TOKENS},
                                                     {"positions", NACELLE_INPUT_POSITIONS},
                                                     {"output_rows", NACELLE_INPUT_OUTPUT_ROWS},
                                                     {"adapter_slots", NACELLE_INPUT_ADAPTER_SLOTS}};

nacelle_type type_named(const std::string& name) {
  for (const TypeInfo& info : kTypes)
    if (name == info.name) return info.type;
  throw std::runtime_error("goldens: no type " + name);
}

const OpName& op_named(const std::string& name) {
  for (const OpName& op : kOps)
    if (name == op.name) return op;
  throw std::runtime_error("goldens: no operation " + name);
}

// Large enough for any attribute struct.
struct AnyAttributes {
  std::uint32_t struct_size = 0;
  std::byte bytes[92] = {};
};

class Reader {
 public:
  explicit Reader(const Json& json) : json_(json), case_(json.at("name").get<std::string>()) {}

  Case read() {
    case_.context = json_.at("context");
    read_cache();
    for (const auto& [name, of] : json_.at("values").items()) ids_[name] = read_value(of);
    for (const Json& op : json_.at("ops")) read_op(op);
    case_.set_result(ids_.at(json_.at("ops").back().at("out").back()));
    for (const Json& step : json_.at("steps")) {
      case_.steps.emplace_back();
      for (const Json& span : step) case_.steps.back().push_back({span.at(0), span.at(1), span.at(2)});
    }
    for (const Json& of : json_.at("adapters"))
      case_.adapters.push_back({of.at("slot"), ids_.at(of.at("target")), of.at("rank"), of.at("scale"), of.at("seed")});
    case_.expected = json_.at("expected").get<std::vector<float>>();
    return std::move(case_);
  }

 private:
  void read_cache() {
    const Json& cache = json_.at("cache");
    if (cache.is_null()) return;
    case_.key_type = type_named(cache.at("key_type"));
    case_.value_type = type_named(cache.at("value_type"));
    case_.block_tokens = cache.at("block_tokens");
    for (const Json& group : cache.at("groups")) {
      if (group.value("kind", std::uint32_t{NACELLE_CACHE_PAGED}) == NACELLE_CACHE_STATE)
        case_.state_group(group.at("key_width"), group.at("layers"));
      else
        case_.cache_group(group.at("key_width"), group.at("value_width"), group.at("layers"), group.at("window"));
    }
  }

  std::uint32_t read_value(const Json& of) {
    const std::string kind = of.at("kind");
    if (kind == "input") return case_.input(kRoles.at(of.at("role")));
    if (kind == "rows") return case_.rows(of.at("width"), of.at("seed"), of.at("scale"));
    return case_.weight(type_named(of.at("type")), of.at("shape").get<std::vector<std::int64_t>>(), of.at("seed"),
                        of.at("scale"), of.at("offset"));
  }

  // A number into its field; the target of an adapter is a value's name.
  void set(AnyAttributes& to, const Field& field, const Json& value) const {
    const std::uint32_t word = field.is_float      ? std::bit_cast<std::uint32_t>(value.get<float>())
                               : value.is_string() ? ids_.at(value.get<std::string>())
                                                   : value.get<std::uint32_t>();
    std::memcpy(reinterpret_cast<std::byte*>(&to) + field.offset, &word, sizeof word);
  }

  void read_op(const Json& json) {
    const OpName& op = op_named(json.at("op"));
    const Json& attributes = json.at("attributes");
    AnyAttributes of;
    of.struct_size = op.attribute_size;
    for (const Field& field : op.fields) set(of, field, attributes.at(field.name));
    std::vector<std::uint32_t> inputs;
    for (const std::string name : json.at("in")) inputs.push_back(name.empty() ? NACELLE_NO_VALUE : ids_.at(name));
    std::vector<std::int64_t> widths;
    if (attributes.contains("widths")) widths = attributes["widths"].get<std::vector<std::int64_t>>();
    const Json& names = json.at("out");
    const auto outputs = case_.op(op.kind, inputs, op.attribute_size ? sdk::Attributes(of) : sdk::Attributes(), widths,
                                  static_cast<std::uint32_t>(names.size()));
    for (std::size_t i = 0; i < outputs.size(); ++i) ids_[names[i]] = outputs[i];
  }

  const Json& json_;
  Case case_;
  std::map<std::string, std::uint32_t> ids_;
};

SelectionGolden read_selection(const Json& json) {
  SelectionGolden golden;
  golden.vocabulary = json.at("vocabulary");
  golden.candidates = json.at("candidates");
  golden.logits = json.at("logits").get<std::vector<float>>();
  golden.temperatures = json.at("temperatures").get<std::vector<float>>();
  golden.masks = json.at("masks").get<std::vector<std::uint32_t>>();
  for (const Json& change : json.at("adjustments"))
    golden.adjustments.push_back({change[0], {change[1], change[2], change[3]}});
  const auto append = [](auto& to, const Json& from) {
    for (const auto& item : from) to.push_back(item);
  };
  for (const Json& row : json.at("rows")) {
    append(golden.ids, row.at("ids"));
    append(golden.adjusted, row.at("adjusted"));
    append(golden.raw, row.at("raw"));
    append(golden.logsumexp, row.at("logsumexp"));
  }
  return golden;
}

}  // namespace

Goldens read_goldens() {
  const Json json = Json::parse(nacelle_goldens_begin, nacelle_goldens_end);
  Goldens goldens;
  for (const Json& one : json.at("cases")) goldens.cases.push_back(Reader(one).read());
  goldens.selection = read_selection(json.at("logits_select"));
  return goldens;
}

}  // namespace nacelle::conformance
