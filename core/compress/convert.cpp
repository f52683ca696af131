// From a graph of safetensors to a GGUF file's tensors and keys, and back to a graph, to see that nothing was lost.
#include "core/compress/convert.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <nacelle/plugin.hpp>
#include <nacelle/rope.hpp>
#include <set>

#include "core/base/log.hpp"
#include "core/compress/gguf_keys.hpp"
#include "core/compress/gguf_tensors.hpp"
#include "core/compress/huggingface_tokenizer.hpp"
#include "core/formats/file_error.hpp"

namespace nacelle::compress {
namespace {

// ---- What two graphs of a model must agree in ----------------------------------------------------------------------

std::string rope_text(const nacelle_rope_attributes& rope, std::uint32_t context) {
  // Llama 3's scaling is a list of factors in GGUF.
  if (rope.scaling == NACELLE_ROPE_SCALE_NONE || rope.scaling == NACELLE_ROPE_SCALE_LLAMA3)
    return fmt::format("rope of {} columns, base {:.5g}", rope.rotary_width, rope.base);
  const RopeTable table = make_rope_table(rope, context);
  return fmt::format("rope of {} columns, frequencies {:.5g} .. {:.5g} .. {:.5g}, magnitude {:.5g}", rope.rotary_width,
                     table.frequencies.front(), table.frequencies[table.frequencies.size() / 2],
                     table.frequencies.back(), table.magnitude);
}

// Empty for operations that follow from the others.
std::string text_of(const sdk::OpRecord& op, std::uint32_t context) {
  switch (op.kind) {
    case NACELLE_OP_EMBEDDING:
      return fmt::format("embedding times {:.5g}", op.attributes.as<nacelle_embedding_attributes>().scale);
    case NACELLE_OP_RMS_NORM:
    case NACELLE_OP_LAYER_NORM: {
      const auto own = op.attributes.as<nacelle_norm_attributes>();
      return fmt::format("norm of {} columns, epsilon {:.5g}", own.group, own.epsilon);
    }
    case NACELLE_OP_ROPE: return rope_text(op.attributes.as<nacelle_rope_attributes>(), context);
    case NACELLE_OP_CHUNKED_ATTENTION:
    case NACELLE_OP_ATTENTION: {
      const auto own = op.attributes.as<nacelle_attention_attributes>();
      return fmt::format(
          "attention of {} heads of {} over {} of {}, {} {}, scale {:.5g}, soft cap {:.5g}, ALiBi {:.5g}",
          own.head_count, own.key_width, own.kv_head_count, own.value_width,
          op.kind == NACELLE_OP_ATTENTION ? "window" : "chunks of", own.window, own.scale, own.soft_cap,
          own.alibi_bias);
    }
    case NACELLE_OP_UNARY:
    case NACELLE_OP_GATED: {
      const auto own = op.attributes.as<nacelle_activation_attributes>();
      return fmt::format("activation {}, clamp {:.5g}, alpha {:.5g}, offset {:.5g}", own.activation, own.clamp,
                         own.alpha, own.up_offset);
    }
    case NACELLE_OP_SCALE: {
      const auto own = op.attributes.as<nacelle_scale_attributes>();
      return fmt::format("scale {:.5g}, shift {:.5g}, soft cap {:.5g}", own.scale, own.shift, own.soft_cap);
    }
    case NACELLE_OP_POSITION_SCALE: {
      const auto own = op.attributes.as<nacelle_position_scale_attributes>();
      return fmt::format("growth of {:.5g} with each {} positions from {}", own.strength, own.length, own.offset);
    }
    case NACELLE_OP_MOE_ROUTE: {
      const auto own = op.attributes.as<nacelle_moe_attributes>();
      return fmt::format("{} of {} experts, routing {}, over their sum {}, scale {:.5g}, {} of {} groups",
                         own.used_count, own.expert_count, own.routing, own.renormalise, own.scale, own.group_used,
                         own.group_count);
    }
    case NACELLE_OP_CONVOLUTION: {
      const auto own = op.attributes.as<nacelle_convolution_attributes>();
      return fmt::format("convolution of {}, activation {}", own.length, own.activation);
    }
    case NACELLE_OP_STATE_SCAN: {
      const auto own = op.attributes.as<nacelle_scan_attributes>();
      return fmt::format("state of {} heads of {} x {}, rule {}, scale {:.5g}", own.head_count, own.key_width,
                         own.value_width, own.rule, own.scale);
    }
    default: return {};
  }
}

struct Fact {
  std::int32_t layer;
  std::string text;
  bool operator==(const Fact&) const = default;
};

std::vector<Fact> facts_of(const ModelGraph& model) {
  std::vector<Fact> facts;
  for (const sdk::OpRecord& op : model.graph.ops)
    if (std::string text = text_of(op, model.description.context_length); !text.empty())
      facts.push_back({op.layer, std::move(text)});
  return facts;
}

// ---- The file, without its data ------------------------------------------------------------------------------------

// A file in memory that is all holes behind its header.
class Draft {
 public:
  Draft(const SourceModel& model, const std::string& name) : fd_(::memfd_create(name.c_str(), MFD_CLOEXEC)) {
    GgufWriter layout = model.metadata;
    for (const SourceTensor& tensor : model.tensors) layout.add_tensor(tensor.name, tensor.type, tensor.shape);
    const std::vector<std::byte> header = layout.header();
    const bool written = fd_ >= 0 && ::ftruncate(fd_, static_cast<off_t>(layout.file_size())) == 0 &&
                         ::pwrite(fd_, header.data(), header.size(), 0) == static_cast<ssize_t>(header.size());
    if (!written) throw Error(ErrorKind::kResource, name + ": there is no memory to lay its GGUF file out");
  }
  ~Draft() {
    if (fd_ >= 0) ::close(fd_);
  }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  const int fd_;
};

void collect_read(const sdk::WeightNode& node, std::set<std::string_view>& to) {
  if (node.kind == NACELLE_EXPR_TENSOR) to.insert(node.tensor);
  for (const sdk::WeightNode& input : node.inputs) collect_read(input, to);
}

// One line where the folder has more than the model that is served from it.
void tell_left_out(const ModelFiles& files, const ModelGraph& model) {
  std::set<std::string_view> read;
  for (const sdk::WeightRecord& weight : model.graph.weights) collect_read(weight.source->value, read);
  std::vector<std::string_view> left;
  for (const TensorInfo& tensor : files.tensors()) {
    const bool follows = tensor.name.ends_with("rotary_emb.inv_freq") || tensor.name.ends_with(".weight_shape");
    if (!follows && !read.contains(tensor.name)) left.push_back(tensor.name);
  }
  if (!left.empty())
    log::info("{}: left out, being no part of the model that is served: {}{}", files.title(), in_quotes(left[0]),
              left.size() > 1 ? fmt::format(" and {} more", left.size() - 1) : "");
}

void check_same(PluginHost& host, const ModelFiles& files, const ModelGraph& before, const SourceModel& model,
                bool folds_factors) {
  const Draft draft(model, files.stem());
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kUnsupported, files.path().string() + ": GGUF cannot say this model: " + what);
  };
  ModelGraph after;
  try {
    after = read_graph(host, *ModelFiles::open(draft.path()), false);
  } catch (const Error& error) {
    refuse("what would be written cannot be read: " + std::string(error.what()));
  }
  if (!after.unread.empty()) refuse("tensor '" + after.unread.front() + "' would not be read");
  if (folds_factors) return;
  const std::vector<Fact> own = facts_of(before), other = facts_of(after);
  const auto [mine, theirs] = std::ranges::mismatch(own, other);
  if (mine == own.end() && theirs == other.end()) return;
  const std::string found = theirs == other.end() ? "nothing" : theirs->text;
  const std::string meant = mine == own.end() ? "nothing" : fmt::format("layer {}: {}", mine->layer, mine->text);
  refuse(meant + " would be read as: " + found);
}

// ---- What the graph has and GGUF has as tensors, or in them --------------------------------------------------------

// By what each frequency is divided.
void add_llama3_factors(const ModelGraph& model, std::vector<SourceTensor>& tensors) {
  const auto op = std::ranges::find_if(model.graph.ops, [](const sdk::OpRecord& one) {
    return one.kind == NACELLE_OP_ROPE &&
           one.attributes.as<nacelle_rope_attributes>().scaling == NACELLE_ROPE_SCALE_LLAMA3;
  });
  if (op == model.graph.ops.end()) return;
  auto rope = op->attributes.as<nacelle_rope_attributes>();
  const std::vector<float> scaled = make_rope_table(rope, model.description.context_length).frequencies;
  rope.scaling = NACELLE_ROPE_SCALE_NONE;
  std::vector<float> factors = make_rope_table(rope, model.description.context_length).frequencies;
  for (std::size_t i = 0; i < factors.size(); ++i) factors[i] /= scaled[i];
  SourceTensor tensor{.name = "rope_freqs.weight", .shape = {factors.size()}, .type = NACELLE_TYPE_F32};
  tensor.computed = std::move(factors);
  tensors.insert(tensors.begin(), std::move(tensor));
}

// A list of a number a layer for each of xIELU's parameters.
void add_activation_keys(const ModelGraph& model, const ModelFiles& files, GgufWriter& metadata) {
  constexpr const char* kKeys[] = {"xielu.alpha_p", "xielu.alpha_n", "xielu.beta", "xielu.eps"};
  std::vector<float> lists[std::size(kKeys)];
  for (const sdk::WeightRecord& weight : model.graph.weights) {
    if (!is_key(weight)) continue;
    MadeTensor tensor(weight.source->value, files);
    const std::byte* row = tensor.rows(0, 1);
    for (std::size_t i = 0; i < std::size(kKeys); ++i)
      std::memcpy(&lists[i].emplace_back(), row + i * sizeof(float), sizeof(float));
  }
  if (lists[0].empty()) return;
  for (std::size_t i = 0; i < std::size(kKeys); ++i) metadata.set(kKeys[i], std::span<const float>(lists[i]));
}

sdk::WeightNode without_scales(const sdk::WeightNode& node) {
  if (node.kind == NACELLE_EXPR_SCALE) return without_scales(node.inputs[0]);
  sdk::WeightNode plain = node;
  for (sdk::WeightNode& input : plain.inputs) input = without_scales(input);
  if (!plain.inputs.empty()) plain.type = plain.inputs[0].type;
  return plain;
}

// Falcon-H1: the graph multiplies what goes in and comes out, GGUF's readers do not.
class FalconFactors {
 public:
  explicit FalconFactors(const ModelFiles& files) : files_(files) {}

  void fold(const ModelGraph& model, std::vector<SourceTensor>& tensors) {
    if (flag("mamba_rms_norm", false) && flag("mamba_norm_before_gate", true))
      throw Error(ErrorKind::kUnsupported,
                  files_.path().string() + ": 'mamba_norm_before_gate' with a norm cannot be said in GGUF");
    const auto scan = std::ranges::find(model.graph.ops, std::uint32_t{NACELLE_OP_STATE_SCAN}, &sdk::OpRecord::kind);
    const auto sizes = scan->attributes.as<nacelle_scan_attributes>();
    const std::uint64_t inner = std::uint64_t{sizes.head_count} * sizes.value_width;
    const std::uint64_t shared = std::uint64_t{sizes.group_count} * sizes.key_width;
    untie(tensors);
    for (SourceTensor& tensor : tensors) {
      const std::string part =
          tensor.name.starts_with("blk.") ? tensor.name.substr(tensor.name.find('.', 4) + 1) : tensor.name;
      if (part == "ssm_in.weight")
        tensor.row_factors = in_rows({inner, inner, shared, shared, sizes.head_count});
      else if (const float factor = factor_of(part); factor != 1)
        tensor.row_factors.assign(tensor.rows(), factor);
      if (part == "ssm_conv1d.weight")
        tensor.made = std::make_shared<MadeTensor>(without_scales(tensor.made->node()), files_);
      if (part == "ffn_norm.weight") tensor.name.resize(tensor.name.size() - std::string_view(".weight").size());
    }
  }

 private:
  bool flag(const char* key, bool otherwise) const {
    const ConfigValue* found = files_.config(key);
    const auto* set = found ? std::get_if<bool>(found) : nullptr;
    return set ? *set : otherwise;
  }
  float one(const char* key) const { return static_cast<float>(number_of(files_.config(key)).value_or(1)); }
  std::vector<double> list(const char* key, std::size_t count) const {
    std::vector<double> all(count, 1);
    const ConfigValue* found = files_.config(key);
    if (const auto* array = found ? std::get_if<ConfigArray>(found) : nullptr)
      std::visit(
          [&](const auto& values) {
            if constexpr (std::is_arithmetic_v<typename std::decay_t<decltype(values)>::value_type>)
              for (std::size_t i = 0; i < std::min(count, values.size()); ++i) all[i] = static_cast<double>(values[i]);
          },
          array->values);
    return all;
  }

  float factor_of(const std::string& part) const {
    const float in = one("attention_in_multiplier");
    const auto feed_forward = list("mlp_multipliers", 2);
    const std::pair<const char*, float> all[] = {{"attn_q.weight", in},
                                                 {"attn_k.weight", in * one("key_multiplier")},
                                                 {"attn_v.weight", in},
                                                 {"attn_output.weight", one("attention_out_multiplier")},
                                                 {"ffn_gate.weight", static_cast<float>(feed_forward[0])},
                                                 {"ffn_down.weight", static_cast<float>(feed_forward[1])},
                                                 {"ssm_out.weight", one("ssm_out_multiplier")},
                                                 {"token_embd.weight", one("embedding_multiplier")},
                                                 {"output.weight", one("lm_head_multiplier")}};
    const auto found = std::ranges::find_if(all, [&](const auto& own) { return part == own.first; });
    return found == std::end(all) ? 1 : found->second;
  }

  std::vector<float> in_rows(const std::vector<std::uint64_t>& counts) const {
    const auto factors = list("ssm_multipliers", counts.size());
    std::vector<float> rows;
    for (std::size_t i = 0; i < counts.size(); ++i)
      rows.insert(rows.end(), counts[i], static_cast<float>(factors[i] * one("ssm_in_multiplier")));
    return rows;
  }

  // A head that is the embedding has another factor than it: GGUF gets both.
  void untie(std::vector<SourceTensor>& tensors) const {
    if (one("lm_head_multiplier") == one("embedding_multiplier")) return;
    const auto named = [&](const char* name) { return std::ranges::find(tensors, name, &SourceTensor::name); };
    if (named("output.weight") != tensors.end()) return;
    SourceTensor head = *named("token_embd.weight");
    head.name = "output.weight";
    tensors.push_back(std::move(head));
  }

  const ModelFiles& files_;
};

void set_traits(const ModelGraph& model, const std::string& architecture, SourceModel& to) {
  ModelTraits& traits = to.traits;
  traits.architecture = architecture;
  traits.layers = model.description.layer_count;
  traits.kv_heads = std::max(1u, model.description.kv_head_count);
  traits.heads_per_kv_head = model.description.head_count / traits.kv_heads;
  for (const SourceTensor& tensor : to.tensors)
    if (tensor.name.ends_with("ffn_up_exps.weight")) traits.experts = static_cast<std::uint32_t>(tensor.shape[0]);
  traits.tied = std::ranges::find(to.tensors, "output.weight", &SourceTensor::name) == to.tensors.end();
}

}  // namespace

SourceModel open_source(PluginHost& host, const ModelFiles& files) {
  if (files.gguf()) return open_gguf(files);
  const ModelGraph model = read_graph(host, files, false);
  tell_left_out(files, model);
  SourceModel made{.files = files, .tensors = {}, .metadata = {}, .traits = {}};
  const GgufFamily family = write_gguf_keys(files, model, made.metadata);
  made.tensors = gguf_tensors(model.graph, files, family.name);
  add_activation_keys(model, files, made.metadata);
  add_llama3_factors(model, made.tensors);
  if (family.folds_factors) FalconFactors(files).fold(model, made.tensors);
  set_traits(model, family.name, made);
  check_same(host, files, model, made, family.folds_factors);
  add_tokenizer(files.path(), model.description.vocabulary, made.metadata);
  return made;
}

}  // namespace nacelle::compress
