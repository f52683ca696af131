// One function a composite; each writes the parts of one operation, the last part into the operation's own output.
#include "sdk/runtime/decompose.hpp"

#include <cmath>
#include <optional>

#include "sdk/runtime/names.hpp"

namespace nacelle::sdk {
namespace {

// Collects the parts of one operation.
class Parts {
 public:
  Parts(GraphRecord& graph, const OpRecord& whole) : graph_(graph), whole_(whole) {}

  const OpRecord& whole() const { return whole_; }
  std::uint32_t input(std::size_t index) const {
    return index < whole_.inputs.size() ? whole_.inputs[index] : NACELLE_NO_VALUE;
  }
  std::uint32_t result() const { return whole_.outputs[0]; }
  std::int64_t width() const { return graph_.values[result()].shape[1]; }
  template <class T>
  T attributes() const {
    return whole_.attributes.as<T>();
  }

  // Adds a part whose output has the shape of the whole's; into the whole's own output where `out` is given.
  std::uint32_t add(std::uint32_t kind, std::vector<std::uint32_t> inputs, Attributes attributes = {},
                    std::optional<std::uint32_t> out = {}) {
    if (!out) {
      nacelle_value value = graph_.values[result()];
      value.output = NACELLE_OUTPUT_NONE;
      graph_.values.push_back(value);
      out = static_cast<std::uint32_t>(graph_.values.size() - 1);
    }
    ops.push_back({kind, whole_.layer, std::move(inputs), {*out}, std::move(attributes)});
    return *out;
  }

  std::vector<OpRecord> ops;

 private:
  GraphRecord& graph_;
  const OpRecord& whole_;
};

Attributes scaling(double scale, double shift) {
  auto a = make<nacelle_scale_attributes>();
  a.scale = static_cast<float>(scale);
  a.shift = static_cast<float>(shift);
  return Attributes(a);
}

Attributes activation(std::uint32_t kind) {
  auto a = make<nacelle_activation_attributes>();
  a.activation = kind;
  a.alpha = 1;
  return Attributes(a);
}

// rows * scale
bool embedding(Parts& parts) {
  auto a = parts.attributes<nacelle_embedding_attributes>();
  if (a.scale == 1) return false;
  const float scale = std::exchange(a.scale, 1.0f);
  const auto rows = parts.add(NACELLE_OP_EMBEDDING, {parts.input(0), parts.input(1)}, Attributes(a));
  parts.add(NACELLE_OP_SCALE, {rows}, scaling(scale, 0), parts.result());
  return true;
}

// x w^T, then + bias
bool matmul(Parts& parts) {
  if (parts.input(2) == NACELLE_NO_VALUE) return false;
  const auto product = parts.add(NACELLE_OP_MATMUL, {parts.input(0), parts.input(1)});
  parts.add(NACELLE_OP_ADD, {product, parts.input(2)}, {}, parts.result());
  return true;
}

// The bare norm, then * weight, then + bias
bool norm(Parts& parts) {
  auto a = parts.attributes<nacelle_norm_attributes>();
  const auto weight = parts.input(1), bias = parts.input(2);
  const bool has_weight = weight != NACELLE_NO_VALUE, has_bias = bias != NACELLE_NO_VALUE;
  if ((!has_weight && !has_bias) || (has_weight && a.weight_offset != 0)) return false;
  if (a.group != 0 && a.group != parts.width()) return false;  // mul takes a factor a column, not one a group's column
  auto value = parts.add(parts.whole().kind, {parts.input(0)}, Attributes(a));
  const auto end = parts.result();
  if (has_weight)
    value = parts.add(NACELLE_OP_MUL, {value, weight}, {}, has_bias ? std::optional<std::uint32_t>() : end);
  if (has_bias) parts.add(NACELLE_OP_ADD, {value, bias}, {}, end);
  return true;
}

// silu(x) = x * sigmoid(x); gelu_quick(x) = x * sigmoid(1.702 x)
bool unary(Parts& parts) {
  const std::uint32_t kind = parts.attributes<nacelle_activation_attributes>().activation;
  if (kind != NACELLE_ACT_SILU && kind != NACELLE_ACT_GELU_QUICK) return false;
  const auto x = parts.input(0);
  const auto inner = kind == NACELLE_ACT_SILU ? x : parts.add(NACELLE_OP_SCALE, {x}, scaling(1.702, 0));
  const auto gate = parts.add(NACELLE_OP_UNARY, {inner}, activation(NACELLE_ACT_SIGMOID));
  parts.add(NACELLE_OP_MUL, {x, gate}, {}, parts.result());
  return true;
}

// act(gate) * (up + offset). With alpha: gate * sigmoid(alpha gate) = silu(alpha gate) / alpha.
bool gated(Parts& parts) {
  const auto a = parts.attributes<nacelle_activation_attributes>();
  if (a.clamp != 0) return false;  // no operation cuts
  auto gate = parts.input(0), up = parts.input(1);
  if (a.alpha != 1) gate = parts.add(NACELLE_OP_SCALE, {gate}, scaling(a.alpha, 0));
  gate = parts.add(NACELLE_OP_UNARY, {gate}, activation(a.activation));
  if (a.alpha != 1) gate = parts.add(NACELLE_OP_SCALE, {gate}, scaling(1.0 / a.alpha, 0));
  if (a.up_offset != 0) up = parts.add(NACELLE_OP_SCALE, {up}, scaling(1, a.up_offset));
  parts.add(NACELLE_OP_MUL, {gate, up}, {}, parts.result());
  return true;
}

// cap * tanh((x * scale + shift) / cap)
bool scale(Parts& parts) {
  const auto a = parts.attributes<nacelle_scale_attributes>();
  if (a.soft_cap == 0) return false;
  const double cap = a.soft_cap;
  auto value = parts.add(NACELLE_OP_SCALE, {parts.input(0)}, scaling(a.scale / cap, a.shift / cap));
  value = parts.add(NACELLE_OP_UNARY, {value}, activation(NACELLE_ACT_TANH));
  parts.add(NACELLE_OP_SCALE, {value}, scaling(cap, 0), parts.result());
  return true;
}

// x / |x| = rms_norm(x) / sqrt(W). The epsilon only keeps a row of zeros at zero.
bool normalise(Parts& parts) {
  const auto width = static_cast<double>(parts.width());
  auto a = make<nacelle_norm_attributes>();
  a.epsilon = static_cast<float>(1e-24 / width);
  const auto value = parts.add(NACELLE_OP_RMS_NORM, {parts.input(0)}, Attributes(a));
  parts.add(NACELLE_OP_SCALE, {value}, scaling(1 / std::sqrt(width), 0), parts.result());
  return true;
}

struct Decomposition {
  std::uint32_t kind;
  bool (*apply)(Parts&);  // false: this one has no parts
};

constexpr Decomposition kDecompositions[] = {
    {NACELLE_OP_EMBEDDING, embedding}, {NACELLE_OP_MATMUL, matmul},       {NACELLE_OP_RMS_NORM, norm},
    {NACELLE_OP_LAYER_NORM, norm},     {NACELLE_OP_UNARY, unary},         {NACELLE_OP_GATED, gated},
    {NACELLE_OP_SCALE, scale},         {NACELLE_OP_NORMALISE, normalise},
};

bool take_apart(Parts& parts) {
  for (const Decomposition& decomposition : kDecompositions)
    if (decomposition.kind == parts.whole().kind) return decomposition.apply(parts);
  return false;
}

}  // namespace

// Ends because parts are strictly simpler than their whole: none of them leads back to it.
std::unique_ptr<Graph> decompose(const Graph& graph, const Supports& supports, std::string* unsupported) {
  auto current = std::make_unique<Graph>(graph.record());
  for (bool changed = true; changed;) {
    changed = false;
    GraphRecord next = current->record();
    next.ops.clear();
    const auto& ops = current->record().ops;
    for (std::uint32_t i = 0; i < ops.size(); ++i) {
      if (supports(current->view(), i)) {
        next.ops.push_back(ops[i]);
        continue;
      }
      Parts parts(next, ops[i]);
      if (!take_apart(parts)) {
        if (unsupported) *unsupported = describe_op(current->view(), i);
        return nullptr;
      }
      for (OpRecord& part : parts.ops) next.ops.push_back(std::move(part));
      changed = true;
    }
    if (changed) current = std::make_unique<Graph>(std::move(next));
  }
  return current;
}

}  // namespace nacelle::sdk
