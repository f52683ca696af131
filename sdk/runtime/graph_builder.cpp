// Recording and checking. The model is cut into sections: -1 before the layers, the layers, the layer count behind
// them. A value is visible in the section that made it and in each following layer that carries it.
#include "sdk/runtime/graph_builder.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <span>

#include "sdk/runtime/checks.hpp"
#include "sdk/runtime/names.hpp"
#include "sdk/runtime/op_rules.hpp"

namespace nacelle::sdk {
namespace {

// Far above any real model; a damaged configuration must not fill the memory.
constexpr std::uint32_t kMaxLayers = 4096, kMaxValues = 1u << 20, kMaxCarried = 64, kMaxGroups = 64, kMaxInputs = 256;
constexpr std::size_t kMaxName = 256;

GraphBuilder* self(void* context) { return static_cast<GraphBuilder*>(context); }

// The last section of what may be used anywhere: inputs, and weights that belong to no layer.
constexpr std::int32_t kEverywhere = 0x7fffffff;

// The tensors of a weight; an empty pointer where it is optional and its value's tensors are missing.
std::shared_ptr<const WeightSource> resolve(const nacelle_weight_description& from, std::int32_t layer,
                                            const TensorLookup& lookup, const StateLookup& states) {
  auto source = std::make_shared<WeightSource>();
  source->declared = std::make_shared<KeptExpr>(from.source);
  if (from.other_source) source->other = std::make_shared<KeptExpr>(from.other_source);
  try {
    source->value = resolve_weight(from.source, layer, lookup, states);
  } catch (const Failure& failure) {
    if (failure.status() != NACELLE_NOT_FOUND || !from.optional) throw;
    return nullptr;
  }
  require(from.companion_count == 0 || from.companions, "its companions are missing");
  require(from.companion_count <= NACELLE_COMPANION_GROUPS, "it has too many companions");
  for (const nacelle_weight_companion* companion : std::span(from.companions, from.companion_count)) {
    require(companion && companion->struct_size >= sizeof(nacelle_weight_companion), "a companion is too small");
    require(companion->role >= NACELLE_COMPANION_SCALES && companion->role <= NACELLE_COMPANION_GROUPS,
            "a companion's role is not known");
    source->companions.emplace_back(companion->role, resolve_weight(companion->source, layer, lookup, states));
  }
  return source;
}

}  // namespace

// The first failure sticks: later calls answer FAILED_PRECONDITION and change nothing.
template <class Body>
nacelle_status GraphBuilder::guarded(Body&& body) noexcept {
  if (failed_) return NACELLE_FAILED_PRECONDITION;
  nacelle_status status = NACELLE_INTERNAL;
  try {
    body();
    return NACELLE_OK;
  } catch (const Failure& failure) {
    status = failure.status();
    error_ = failure.what();
  } catch (const std::bad_alloc&) {
    status = NACELLE_OUT_OF_MEMORY;
    error_ = "out of memory";
  } catch (const std::exception& exception) {
    error_ = exception.what();
  }
  failed_ = true;
  return status;
}

GraphBuilder::GraphBuilder(TensorLookup lookup, StateLookup states)
    : lookup_(std::move(lookup)),
      states_(std::move(states)),
      table_(make<nacelle_graph_builder>()),
      inputs_(NACELLE_INPUT_TOKEN_TYPES + 1, NACELLE_NO_VALUE) {
  table_.context = this;
  table_.input = [](void* context, std::uint32_t role, std::uint32_t* value) {
    return self(context)->guarded([&] { *value = self(context)->input(role); });
  };
  table_.weight = [](void* context, const nacelle_weight_description* description, std::uint32_t* value) {
    return self(context)->guarded([&] {
      require(description && NACELLE_HAS(description, nacelle_weight_description, companions),
              "a weight description is missing or too small");
      *value = self(context)->weight(load(description));
    });
  };
  table_.cache_group = [](void* context, const nacelle_cache_group* group, std::uint32_t* index) {
    return self(context)->guarded([&] {
      require(group && group->struct_size >= sizeof(nacelle_cache_group), "a cache group is missing or too small");
      *index = self(context)->cache_group(*group);
    });
  };
  table_.layer_begin = [](void* context, std::uint32_t layer, const std::uint32_t* carried, std::uint32_t count) {
    return self(context)->guarded([&] { self(context)->layer_begin(layer, carried, count); });
  };
  table_.layer_end = [](void* context) { return self(context)->guarded([&] { self(context)->layer_end(); }); };
  table_.op = [](void* context, const nacelle_op* op, const std::int64_t* split_widths, std::uint32_t* outputs) {
    return self(context)->guarded([&] {
      require(op && op->struct_size >= sizeof(nacelle_op), "an operation is missing or too small");
      self(context)->op(*op, split_widths, outputs);
    });
  };
  table_.mark_output = [](void* context, std::uint32_t value, std::uint32_t output) {
    return self(context)->guarded([&] { self(context)->mark_output(value, output); });
  };
  table_.set_flags = [](void* context, std::uint32_t flags) {
    return self(context)->guarded([&] { self(context)->set_flags(flags); });
  };
}

std::string GraphBuilder::place() const {
  if (in_layer_) return " of layer " + std::to_string(section_);
  return after_layers_ ? " after the last layer" : " before the first layer";
}

std::uint32_t GraphBuilder::add_value(const nacelle_value& value) {
  if (record_.values.size() >= kMaxValues) refuse("the graph has more than " + std::to_string(kMaxValues) + " values");
  if (value.shape[value.rank - 1] > kMaxExtent) refuse("a value of the graph is wider than 2^31-1 columns");
  const bool everywhere = value.kind == NACELLE_VALUE_INPUT || (value.kind == NACELLE_VALUE_WEIGHT && !in_layer_);
  record_.values.push_back(value);
  last_sections_.push_back(everywhere ? kEverywhere : section_);
  return static_cast<std::uint32_t>(record_.values.size() - 1);
}

nacelle_value input_value(std::uint32_t role) {
  auto value = make<nacelle_value>();
  value.kind = NACELLE_VALUE_INPUT;
  value.role = role;
  value.weight = NACELLE_NO_VALUE;
  value.type = NACELLE_TYPE_U32;
  value.rank = 1;
  value.shape[0] = role == NACELLE_INPUT_OUTPUT_ROWS ? NACELLE_DIM_OUTPUT_ROWS : NACELLE_DIM_ROWS;
  return value;
}

std::uint32_t GraphBuilder::input(std::uint32_t role) {
  if (role < NACELLE_INPUT_TOKENS || role > NACELLE_INPUT_TOKEN_TYPES)
    refuse("input role " + std::to_string(role) + " is not known");
  if (inputs_[role] != NACELLE_NO_VALUE) return inputs_[role];
  return inputs_[role] = add_value(input_value(role));
}

std::uint32_t GraphBuilder::weight(const nacelle_weight_description& description) {
  const std::string name(view(description.name));
  require(!name.empty() && name.size() <= kMaxName, "a weight's name is empty or longer than 256 characters");
  if (weight_names_.contains(name)) refuse("weight " + name + ": the name is used twice");
  require(description.rank >= 1 && description.rank <= NACELLE_MAX_RANK, "a weight does not have 1 to 4 axes");
  std::shared_ptr<const WeightSource> source;
  try {
    source = resolve(description, in_layer_ ? section_ : -1, lookup_, states_);
  } catch (const Failure& failure) {
    throw Failure(failure.status(), "weight " + name + ": " + failure.what());
  }
  if (!source) return NACELLE_NO_VALUE;
  const std::span<const std::int64_t> shape(description.shape, description.rank);
  const WeightNode& node = source->value;
  // The values of a weight with companions are packed (AWQ, GPTQ): only its logical shape is declared.
  if (source->companions.empty() && !std::ranges::equal(shape, node.shape))
    refuse("weight " + name + ": " + (node.tensor.empty() ? "its tensors have" : "tensor '" + node.tensor + "' has") +
           " shape " + shape_text(node.shape) + ", " + shape_text(shape) + " was expected");

  auto value = make<nacelle_value>();
  value.kind = NACELLE_VALUE_WEIGHT;
  value.weight = static_cast<std::uint32_t>(record_.weights.size());
  value.type = node.type;
  value.rank = description.rank;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 1 || shape[i] > kMaxExtent)
      refuse("weight " + name + ": shape " + shape_text(shape) + " is out of range");
    value.shape[i] = shape[i];
  }
  const std::uint32_t id = add_value(value);
  record_.weights.push_back({name, id, section_, std::move(source)});
  weight_names_.insert(name);
  return id;
}

std::uint32_t GraphBuilder::cache_group(const nacelle_cache_group& group) {
  auto own = load(&group);
  own.extension = nullptr;
  require(own.kind >= NACELLE_CACHE_PAGED && own.kind <= NACELLE_CACHE_CROSS, "a cache group's kind is out of range");
  require(own.layer_count && own.layer_count <= kMaxLayers, "a cache group's layer_count is out of range");
  require(own.key_width && own.key_width <= kMaxExtent && own.value_width <= kMaxExtent,
          "a cache group's key_width or value_width is out of range");
  require(own.kind != NACELLE_CACHE_STATE || (own.value_width == 0 && own.window == 0),
          "a cache group of states has a value_width or a window");
  require(record_.cache_groups.size() < kMaxGroups, "there are more than 64 cache groups");
  record_.cache_groups.push_back(own);
  cache_used_.emplace_back(own.layer_count, false);
  return static_cast<std::uint32_t>(record_.cache_groups.size() - 1);
}

void GraphBuilder::layer_begin(std::uint32_t layer, const std::uint32_t* carried, std::uint32_t count) {
  require(!in_layer_, "layer_begin inside a layer");
  if (after_layers_ && !record_.ops.empty() && record_.ops.back().layer == section_)
    refuse("layer " + std::to_string(layer) + " begins after an operation that belongs to no layer");
  if (layer != record_.layer_count)
    refuse("layer " + std::to_string(layer) + " begins, " + std::to_string(record_.layer_count) + " was expected");
  require(layer < kMaxLayers, "there are more than 4096 layers");
  require(count <= kMaxCarried && (count == 0 || carried), "the carried values are missing or more than 64");
  const auto section = static_cast<std::int32_t>(layer);
  for (const std::uint32_t id : std::span(carried, count)) {
    if (!use(id)) refuse("a carried value of layer " + std::to_string(layer) + " is absent");
    last_sections_[id] = std::max(last_sections_[id], section);
  }
  section_ = section;
  in_layer_ = true;
}

void GraphBuilder::layer_end() {
  require(in_layer_, "layer_end outside a layer");
  in_layer_ = false;
  after_layers_ = true;
  section_ = static_cast<std::int32_t>(++record_.layer_count);
}

const nacelle_value* GraphBuilder::use(std::uint32_t value) const {
  if (value == NACELLE_NO_VALUE) return nullptr;
  if (value >= record_.values.size()) refuse("value " + std::to_string(value) + " does not exist");
  const nacelle_value& v = record_.values[value];
  const bool weight = v.kind == NACELLE_VALUE_WEIGHT;
  // Between two layers and behind the last one, what the layer before made or carried can be seen.
  const std::int32_t needed = in_layer_ || !after_layers_ || weight ? section_ : section_ - 1;
  if (last_sections_[value] < needed)
    refuse(weight ? "weight " + record_.weights[v.weight].name + " belongs to another layer"
                  : "value " + std::to_string(value) + " crosses a layer border without being carried");
  return &v;
}

void GraphBuilder::op(const nacelle_op& op, const std::int64_t* split_widths, std::uint32_t* outputs) {
  try {
    require(op.input_count <= kMaxInputs && (op.input_count == 0 || op.inputs), "its inputs are missing or too many");
    require(op.kind != NACELLE_OP_SPLIT || split_widths, "the widths are missing");
    std::vector<const nacelle_value*> inputs;
    for (const std::uint32_t id : std::span(op.inputs, op.input_count)) inputs.push_back(use(id));
    const std::size_t widths = op.kind == NACELLE_OP_SPLIT ? op.output_count : 0;
    require(widths <= kMaxInputs, "there are too many outputs");
    OpAnswer answer = check_op({op.kind,
                                inputs,
                                op.output_count,
                                op.attributes,
                                {split_widths, widths},
                                record_.cache_groups,
                                static_cast<std::uint32_t>(record_.values.size())});
    if (const auto use = cache_use(op.kind, answer.attributes)) claim_cache(*use);
    OpRecord record{op.kind, section_, {op.inputs, op.inputs + op.input_count}, {}, std::move(answer.attributes)};
    for (const nacelle_value& value : answer.outputs) record.outputs.push_back(add_value(value));
    std::ranges::copy(record.outputs, outputs);
    record_.ops.push_back(std::move(record));
  } catch (const Failure& failure) {
    throw Failure(failure.status(), std::string("operation ") + op_name(op.kind) + place() + ": " + failure.what());
  }
}

// Two operations that write the same rows of a cache would overwrite each other.
void GraphBuilder::claim_cache(CacheUse use) {
  auto&& used = cache_used_[use.group][use.layer];
  if (used)
    refuse("layer " + std::to_string(use.layer) + " of cache group " + std::to_string(use.group) + " is used twice");
  used = true;
}

void GraphBuilder::mark_output(std::uint32_t value, std::uint32_t output) {
  require(!in_layer_, "mark_output inside a layer");
  const nacelle_value* marked = use(value);
  require(marked && marked->kind == NACELLE_VALUE_INTERMEDIATE, "an output is not a value that an operation made");
  if (output != NACELLE_OUTPUT_LOGITS && output != NACELLE_OUTPUT_EMBEDDING)
    refuse("output " + std::to_string(output) + " is not known");
  for (const nacelle_value& other : record_.values) require(other.output != output, "an output is marked twice");
  require(marked->output == NACELLE_OUTPUT_NONE, "one value is marked as two outputs");
  require(marked->type == NACELLE_TYPE_F32 && marked->rank == 2, "an output is not an f32 matrix");
  if (output == NACELLE_OUTPUT_LOGITS) {
    require(marked->shape[0] == NACELLE_DIM_OUTPUT_ROWS,
            "the logits are not [output rows, vocabulary]: gather the rows");
    record_.vocabulary = static_cast<std::uint32_t>(marked->shape[1]);
  } else {
    require(marked->shape[0] != NACELLE_DIM_ROWS,
            "the embedding is not [output rows or sequences, width]: pool or gather");
  }
  record_.values[value].output = output;
}

void GraphBuilder::set_flags(std::uint32_t flags) {
  if (flags & ~NACELLE_GRAPH_WHOLE_SEQUENCE) refuse("graph flags " + std::to_string(flags) + " are not known");
  record_.flags = flags;
}

void GraphBuilder::add_logits_select() {
  for (std::uint32_t id = 0; id < record_.values.size(); ++id)
    if (record_.values[id].output == NACELLE_OUTPUT_LOGITS)
      record_.ops.push_back({NACELLE_OP_LOGITS_SELECT, section_, {id}, {}, {}});
}

void GraphBuilder::add_embedding() {
  const auto is_output_rows = [this](std::uint32_t id) {
    const nacelle_value& value = record_.values[id];
    return value.kind == NACELLE_VALUE_INTERMEDIATE && value.type == NACELLE_TYPE_F32 && value.rank == 2 &&
           value.shape[0] == NACELLE_DIM_OUTPUT_ROWS;
  };
  for (const nacelle_value& value : record_.values)
    if (value.output == NACELLE_OUTPUT_EMBEDDING) return;
  // Something may stand between the head and the logits: a scale, a soft cap.
  const auto head = std::find_if(record_.ops.rbegin(), record_.ops.rend(), [&](const OpRecord& op) {
    return op.kind == NACELLE_OP_MATMUL && is_output_rows(op.outputs[0]) && is_output_rows(op.inputs[0]) &&
           record_.values[op.outputs[0]].shape[1] == record_.vocabulary;
  });
  if (head == record_.ops.rend() || record_.values[head->inputs[0]].output != NACELLE_OUTPUT_NONE) return;
  record_.values[head->inputs[0]].output = NACELLE_OUTPUT_EMBEDDING;
}

void GraphBuilder::check_complete() const {
  require(!in_layer_, "the last layer was not ended");
  require(std::ranges::any_of(record_.values, [](const nacelle_value& v) { return v.output != NACELLE_OUTPUT_NONE; }),
          "no output is marked");
  for (std::size_t group = 0; group < cache_used_.size(); ++group)
    for (std::size_t layer = 0; layer < cache_used_[group].size(); ++layer)
      if (!cache_used_[group][layer])
        refuse("layer " + std::to_string(layer) + " of cache group " + std::to_string(group) + " is never used");
  const bool whole = record_.flags & NACELLE_GRAPH_WHOLE_SEQUENCE;
  require(!whole || record_.cache_groups.empty(), "a graph of whole sequences keeps no cache");
  for (const OpRecord& op : record_.ops)
    if (op.kind == NACELLE_OP_ATTENTION && !whole &&
        op.attributes.as<nacelle_attention_attributes>().cache_group == NACELLE_NO_CACHE)
      refuse("attention of layer " + std::to_string(op.layer) +
             " has no cache, which needs the flag for whole sequences");
}

std::unique_ptr<Graph> GraphBuilder::build() {
  if (!failed_) guarded([&] { check_complete(); });
  if (failed_) throw Failure(NACELLE_INVALID_ARGUMENT, error_);
  return std::make_unique<Graph>(std::move(record_));
}

}  // namespace nacelle::sdk
