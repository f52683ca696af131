// Decoders with Mamba-2 layers (Dao and Gu, arXiv 2405.21060, section 7): Mamba2 is what such a layer is, as data;
// read_gguf_mamba and read_huggingface_mamba fill it from a model's configuration; MambaGraph is a DecoderGraph that
// records it. Every default is that of the paper's code, so a family says only where it differs.
//   z, xBC, dt = split(in_proj x);  x, B, C = split(silu(convolution(xBC)))
//   S = exp(-e^A_log d) S + d B x^T  with d = softplus(dt + dt_bias);  y = C^T S + D x;  out_proj norm(y * silu(z))
#pragma once

#include <cmath>
#include <nacelle/decoder.hpp>
#include <string>

namespace nacelle::sdk {

// The norm of what goes into out_proj: of y * silu(z), or of y.
enum class MambaNorm { kNone, kBehindGate, kBeforeGate };

struct MambaTensors {
  Names input, convolution, step, rate, skip, norm, output;
};
// By the name of the module that Hugging Face's files have it in.
inline constexpr MambaTensors kMambaMixer = {
    {"ssm_in", "mixer.in_proj"}, {"ssm_conv1d", "mixer.conv1d"}, {"ssm_dt", "mixer.dt_bias"},  {"ssm_a", "mixer.A_log"},
    {"ssm_d", "mixer.D"},        {"ssm_norm", "mixer.norm"},     {"ssm_out", "mixer.out_proj"}};
inline constexpr MambaTensors kMambaModule = {
    {"ssm_in", "mamba.in_proj"}, {"ssm_conv1d", "mamba.conv1d"}, {"ssm_dt", "mamba.dt_bias"},  {"ssm_a", "mamba.A_log"},
    {"ssm_d", "mamba.D"},        {"ssm_norm", "mamba.norm"},     {"ssm_out", "mamba.out_proj"}};

struct Mamba2 {
  std::uint32_t layer_count = 0;  // those of the model that have it
  std::uint32_t head_count = 0;
  std::uint32_t head_width = 0;     // of a head's x
  std::uint32_t group_count = 1;    // heads h * groups / heads share B and C; the norm takes a group's columns together
  std::uint32_t state_width = 128;  // of B and C
  std::uint32_t filter_length = 4;  // of the convolution
  Bias convolution_bias = Bias::kAlways;
  Bias projection_bias = Bias::kNever;  // of in_proj and out_proj
  MambaNorm norm = MambaNorm::kBehindGate;
  double epsilon = 1e-5;

  // What Falcon-H1 multiplies the parts of in_proj's output by, and out_proj's.
  double z_scale = 1, x_scale = 1, b_scale = 1, c_scale = 1, step_scale = 1, output_scale = 1;

  MambaTensors tensors = kMambaMixer;

  std::uint32_t inner_width() const { return head_count * head_width; }
};

// ---- The configuration ---------------------------------------------------------------------------------------------

namespace detail {

// Products of sizes stay below 2^31, and a state is one that a cache group can have.
inline void check_mamba(const Config& config, const Mamba2& mamba, const std::string& heads_key,
                        const std::string& groups_key) {
  if (mamba.group_count == 0 || mamba.head_count % mamba.group_count)
    config.fail_key(groups_key, "is " + std::to_string(mamba.group_count) + ", which does not divide " +
                                    std::to_string(mamba.head_count) + " heads");
  constexpr std::uint64_t kMost = 1 << 28;
  const std::uint64_t heads = mamba.head_count, groups = mamba.group_count;
  const std::uint64_t state = heads * mamba.head_width * mamba.state_width;
  const std::uint64_t columns = heads * mamba.head_width + 2 * groups * mamba.state_width;
  for (const std::uint64_t values : {state, columns * (mamba.filter_length - 1)})
    if (values > kMost)
      config.fail_key(heads_key, "makes a state of " + std::to_string(values) + " values a layer, expected at most " +
                                     std::to_string(kMost));
}

}  // namespace detail

inline constexpr std::int64_t kMaxMambaSize = 65536;  // of each of a layer's sizes

// GGUF keys "<prefix>.ssm.*".
inline Mamba2 read_gguf_mamba(const Config& config, const std::string& prefix, const Decoder& model) {
  const auto key = [&](const char* name) { return prefix + ".ssm." + name; };
  Mamba2 mamba;
  mamba.head_count = config.size(key("time_step_rank"), 1, kMaxMambaSize);
  const std::uint32_t inner = config.size(key("inner_size"));
  if (inner % mamba.head_count)
    config.fail_key(key("inner_size"), "is " + std::to_string(inner) + ", no multiple of " +
                                           std::to_string(mamba.head_count) + " heads (" + key("time_step_rank") + ")");
  mamba.head_width = inner / mamba.head_count;
  mamba.group_count = config.optional_size(key("group_count"), 1, kMaxMambaSize).value_or(1);
  mamba.state_width = config.size(key("state_size"), 1, kMaxMambaSize);
  mamba.filter_length = config.size(key("conv_kernel"), 2, kMaxMambaSize);
  mamba.convolution_bias = mamba.projection_bias = Bias::kOptional;
  mamba.epsilon = model.epsilon;
  detail::check_mamba(config, mamba, key("inner_size"), key("group_count"));
  return mamba;
}

// What config.json calls each; empty: the family has no such key.
struct HuggingFaceMambaKeys {
  const char* heads = "num_heads";
  const char* head_width = "head_dim";
  const char* groups = "n_groups";
  const char* state = "state_size";
  const char* filter = "conv_kernel";
  const char* convolution_bias = "use_conv_bias";
  const char* projection_bias = "use_bias";
  const char* activation = "hidden_act";
};

// As hybrids have them, whose other layers have sizes too.
inline constexpr HuggingFaceMambaKeys kPrefixedMambaKeys = {.heads = "mamba_n_heads",
                                                            .head_width = "mamba_d_head",
                                                            .groups = "mamba_n_groups",
                                                            .state = "mamba_d_state",
                                                            .filter = "mamba_d_conv",
                                                            .convolution_bias = "mamba_conv_bias",
                                                            .projection_bias = "mamba_proj_bias"};

// Steps that are kept within bounds would need an operation of their own; no checkpoint is known to ask for it.
inline void check_step_limit(const Config& config, const char* key = "time_step_limit") {
  const auto limit = config.optional_numbers(key, 2);
  if (!limit || (limit->size() == 2 && (*limit)[0] <= 0 && (*limit)[1] == INFINITY)) return;
  config.fail_key(key, "does not say 0 to Infinity: steps within bounds are not supported");
}

inline Mamba2 read_huggingface_mamba(const Config& config, const HuggingFaceMambaKeys& keys, const Decoder& model) {
  const auto bias = [&](const char* key, bool otherwise) {
    return *key && config.optional_bool(key).value_or(otherwise) ? Bias::kAlways : Bias::kNever;
  };
  Mamba2 mamba;
  mamba.head_count = config.size(keys.heads, 1, kMaxMambaSize);
  mamba.head_width = config.size(keys.head_width, 1, kMaxMambaSize);
  mamba.group_count = config.size(keys.groups, 1, kMaxMambaSize);
  mamba.state_width = config.size(keys.state, 1, kMaxMambaSize);
  mamba.filter_length = config.size(keys.filter, 2, kMaxMambaSize);
  mamba.convolution_bias = bias(keys.convolution_bias, true);
  mamba.projection_bias = bias(keys.projection_bias, false);
  mamba.epsilon = model.epsilon;
  detail::check_mamba(config, mamba, keys.heads, keys.groups);
  if (read_huggingface_activation(config, keys.activation) != NACELLE_ACT_SILU)
    config.fail_key(keys.activation, "is not silu, which is all that Mamba-2 layers are known with");
  check_step_limit(config);
  return mamba;
}

// ---- The graph -----------------------------------------------------------------------------------------------------

// `Decoder::recurrent_layers` are Mamba-2 layers, unless the family overrides what a block is.
class MambaGraph : public DecoderGraph {
 public:
  MambaGraph(Builder& builder, const Decoder& model, const Mamba2& mamba)
      : DecoderGraph(builder, model), mamba_(mamba) {
    scans_ = keep(mamba.layer_count, std::int64_t{mamba.inner_width()} * mamba.state_width);
    windows_ = keep(mamba.layer_count, (mamba.filter_length - 1) * std::int64_t{filter_count()});
  }
  template <class Model>  // with these two members
  MambaGraph(Builder& builder, const Model& model) : MambaGraph(builder, model.decoder, model.mamba) {}

 protected:
  Value recurrent(Value x) override { return mamba(x); }

  Value mamba(Value x) {
    const std::int64_t inner = mamba_.inner_width(), shared = shared_width(), heads = mamba_.head_count;
    const MambaTensors& names = mamba_.tensors;
    const Value all = linear(x, names.input, inner + filter_count() + heads, model_.width, mamba_.projection_bias);
    const auto parts = b_.split(all, {inner, filter_count(), heads});
    const auto mixed = b_.split(filtered(parts[1]), {inner, shared, shared});  // x, B, C
    Value y = scan(mixed, times(parts[2], mamba_.step_scale));
    double scale = mamba_.output_scale;
    y = gate(y, parts[0], scale);
    return times(linear(y, names.output, model_.width, inner, mamba_.projection_bias), scale);
  }

  Value times(Value x, double factor) { return factor == 1 ? x : b_.scale(x, static_cast<float>(factor)); }

 private:
  std::int64_t shared_width() const { return std::int64_t{mamba_.group_count} * mamba_.state_width; }
  std::uint32_t filter_count() const { return mamba_.inner_width() + 2 * mamba_.group_count * mamba_.state_width; }

  // A filter that is multiplied gives what a multiplied input would give.
  Value filtered(Value x) {
    const std::int64_t inner = mamba_.inner_width(), shared = shared_width(), count = filter_count();
    const Names& names = mamba_.tensors.convolution;
    Source filters = inside(names, ".weight");
    filters.huggingface = reshape(filters.huggingface, {count, mamba_.filter_length});
    if (mamba_.x_scale != 1 || mamba_.b_scale != 1 || mamba_.c_scale != 1)
      filters.huggingface = concat(0, {scale(slice(filters.huggingface, 0, 0, inner), mamba_.x_scale),
                                       scale(slice(filters.huggingface, 0, inner, inner + shared), mamba_.b_scale),
                                       scale(slice(filters.huggingface, 0, inner + shared, count), mamba_.c_scale)});
    return convolution(x, block_weight(names, ".weight", {count, mamba_.filter_length}, filters),
                       bias_of(names, mamba_.convolution_bias, {count}), windows_, mamba_.filter_length,
                       NACELLE_ACT_SILU);
  }

  Value scan(const std::vector<Value>& mixed, Value step) {
    const std::int64_t heads = mamba_.head_count;
    const MambaTensors& names = mamba_.tensors;
    // GGUF has -e^A_log, and rows of one for what each head has one of.
    Source rate = whole_name(names.rate, ""), skip = whole_name(names.skip, ""), bias = whole_name(names.step, ".bias");
    rate.gguf = reshape(rate.gguf, {heads});
    rate.huggingface = scale(exp(rate.huggingface), -1);
    skip.gguf = reshape(skip.gguf, {heads});
    auto attributes = scan_attributes(scans_, NACELLE_SCAN_ADD, 1);
    attributes.head_count = mamba_.head_count;
    attributes.group_count = mamba_.group_count;
    attributes.key_width = mamba_.state_width;
    attributes.value_width = mamba_.head_width;
    return b_.state_scan({.q = mixed[2],
                          .k = mixed[1],
                          .v = mixed[0],
                          .step = step,
                          .rate = block_weight(names.rate, "", {heads}, rate),
                          .step_bias = block_weight(names.step, ".bias", {heads}, bias),
                          .strength = {},
                          .skip = block_weight(names.skip, "", {heads}, skip)},
                         attributes);
  }

  // GATED's alpha gives silu(m z) / m. Divided by m, a row has the same norm where epsilon is divided by m^2; without a
  // norm behind the gate m stays a factor, which goes into `scale`.
  Value gate(Value y, Value z, double& scale) {
    auto gating = activation_attributes(NACELLE_ACT_SILU);
    gating.alpha = static_cast<float>(mamba_.z_scale);
    const bool is_behind = mamba_.norm == MambaNorm::kBehindGate;
    if (mamba_.norm == MambaNorm::kBeforeGate) y = group_norm(y, mamba_.epsilon);
    y = b_.gated(z, y, gating);
    if (is_behind) return group_norm(y, mamba_.epsilon / (mamba_.z_scale * mamba_.z_scale));
    scale *= mamba_.z_scale;
    return y;
  }

  // Each group's columns by themselves, with weights of their own.
  Value group_norm(Value y, double epsilon) {
    const std::int64_t inner = mamba_.inner_width();
    const Names& names = mamba_.tensors.norm;
    Source source = inside(names, ".weight");
    source.gguf = reshape(source.gguf, {inner});
    const Value weight = block_weight(names, ".weight", {inner}, source);
    if (mamba_.group_count == 1) return b_.rms_norm(y, weight, norm_attributes(epsilon));
    return b_.mul(b_.rms_norm(y, {}, norm_attributes(epsilon, 0, mamba_.inner_width() / mamba_.group_count)), weight);
  }

  const Mamba2& mamba_;
  States scans_, windows_;
};

}  // namespace nacelle::sdk
