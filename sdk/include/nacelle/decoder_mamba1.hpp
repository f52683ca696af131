// Decoders with Mamba layers (Gu and Dao, arXiv 2312.00752, algorithm 2): Mamba1 is what such a layer is, as data;
// read_gguf_mamba1 and read_huggingface_mamba1 fill it from a model's configuration; Mamba1Graph is a DecoderGraph that
// records it. Channel by channel, of which each has a state of its own:
//   x, z = split(in_proj u);  x = silu(convolution(x));  r, B, C = split(x_proj x)
//   S = exp(-e^A_log d) S + d B x  with d = softplus(dt_proj r + bias);  y = C S + D x;  out_proj(y * silu(z))
#pragma once

#include <cmath>
#include <nacelle/decoder.hpp>
#include <string>

namespace nacelle::sdk {

struct Mamba1Tensors {
  Names input, convolution, mixed, step, rate, skip, output;
  Names step_norm = {}, b_norm = {}, c_norm = {};  // of r, B and C
};

// By the name of the module that Hugging Face's files have it in.
inline constexpr Mamba1Tensors kMamba1Mixer = {{"ssm_in", "mixer.in_proj"},  {"ssm_conv1d", "mixer.conv1d"},
                                               {"ssm_x", "mixer.x_proj"},    {"ssm_dt", "mixer.dt_proj"},
                                               {"ssm_a", "mixer.A_log"},     {"ssm_d", "mixer.D"},
                                               {"ssm_out", "mixer.out_proj"}};
inline constexpr Mamba1Tensors kMamba1Module = {{"ssm_in", "mamba.in_proj"},
                                                {"ssm_conv1d", "mamba.conv1d"},
                                                {"ssm_x", "mamba.x_proj"},
                                                {"ssm_dt", "mamba.dt_proj"},
                                                {"ssm_a", "mamba.A_log"},
                                                {"ssm_d", "mamba.D"},
                                                {"ssm_out", "mamba.out_proj"},
                                                {"ssm_dt_norm", "mamba.dt_layernorm"},
                                                {"ssm_b_norm", "mamba.b_layernorm"},
                                                {"ssm_c_norm", "mamba.c_layernorm"}};

struct Mamba1 {
  std::uint32_t layer_count = 0;  // those of the model that have it
  std::uint32_t channel_count = 0;
  std::uint32_t state_width = 16;   // of B and C
  std::uint32_t step_rank = 0;      // of r
  std::uint32_t filter_length = 4;  // of the convolution
  Bias convolution_bias = Bias::kAlways;
  Bias projection_bias = Bias::kNever;  // of in_proj and out_proj
  bool norms = false;                   // of r, B and C; with weights where they have names
  double epsilon = 1e-5;                // theirs
  Mamba1Tensors tensors = kMamba1Mixer;
};

// ---- The configuration ---------------------------------------------------------------------------------------------

inline constexpr std::int64_t kMaxMamba1Size = 65536;  // of each of a layer's sizes

// GGUF keys "<prefix>.ssm.*".
inline Mamba1 read_gguf_mamba1(const Config& config, const std::string& prefix, const Decoder& model) {
  const auto size = [&](const char* name) { return config.size(prefix + ".ssm." + name, 1, kMaxMamba1Size); };
  Mamba1 mamba;
  mamba.channel_count = size("inner_size");
  mamba.state_width = config.size(prefix + ".ssm.state_size", 1, 4096);
  mamba.step_rank = size("time_step_rank");
  mamba.filter_length = config.size(prefix + ".ssm.conv_kernel", 2, 4096);
  mamba.convolution_bias = mamba.projection_bias = Bias::kOptional;
  mamba.epsilon = model.epsilon;
  return mamba;
}

// What config.json calls each.
struct HuggingFaceMamba1Keys {
  const char* state = "state_size";
  const char* rank = "time_step_rank";
  const char* filter = "conv_kernel";
  const char* expand = "expand";
  const char* inner = "intermediate_size";  // in place of the above; empty: the family has no such key
  const char* convolution_bias = "use_conv_bias";
  const char* projection_bias = "use_bias";
};
inline constexpr HuggingFaceMamba1Keys kPrefixedMamba1Keys = {.state = "mamba_d_state",
                                                              .rank = "mamba_dt_rank",
                                                              .filter = "mamba_d_conv",
                                                              .expand = "mamba_expand",
                                                              .inner = "",
                                                              .convolution_bias = "mamba_conv_bias",
                                                              .projection_bias = "mamba_proj_bias"};

inline Mamba1 read_huggingface_mamba1(const Config& config, const HuggingFaceMamba1Keys& keys, const Decoder& model) {
  const auto bias = [&](const char* key, bool otherwise) {
    return config.optional_bool(key).value_or(otherwise) ? Bias::kAlways : Bias::kNever;
  };
  Mamba1 mamba;
  const double channels = config.optional_number(keys.expand).value_or(2) * model.width;
  const auto said = *keys.inner ? config.optional_size(keys.inner, 1, kMaxMamba1Size) : std::nullopt;
  if (!said && !(channels >= 1 && channels <= kMaxMamba1Size))
    config.fail_key(keys.expand, "makes " + std::to_string(channels) + " channels, expected 1 to 65536");
  mamba.channel_count = said.value_or(static_cast<std::uint32_t>(channels));
  mamba.state_width = config.optional_size(keys.state, 1, 4096).value_or(16);
  const std::uint32_t usual = (model.width + 15) / 16;
  mamba.step_rank =
      config.is_text(keys.rank, "auto") ? usual : config.optional_size(keys.rank, 1, kMaxMamba1Size).value_or(usual);
  mamba.filter_length = config.optional_size(keys.filter, 2, 4096).value_or(4);
  mamba.convolution_bias = bias(keys.convolution_bias, true);
  mamba.projection_bias = bias(keys.projection_bias, false);
  mamba.epsilon = model.epsilon;
  if (read_huggingface_activation(config) != NACELLE_ACT_SILU)
    config.fail_key("hidden_act", "is not silu, which is all that Mamba layers are known with");
  return mamba;
}

// ---- The graph -----------------------------------------------------------------------------------------------------

// `Decoder::recurrent_layers` are Mamba layers, unless the family overrides what a block is.
class Mamba1Graph : public DecoderGraph {
 public:
  Mamba1Graph(Builder& builder, const Decoder& model, const Mamba1& mamba)
      : DecoderGraph(builder, model), mamba_(mamba) {
    scans_ = keep(mamba.layer_count, std::int64_t{mamba.channel_count} * mamba.state_width);
    windows_ = keep(mamba.layer_count, (mamba.filter_length - 1) * std::int64_t{mamba.channel_count});
  }
  template <class Model>  // with these two members
  Mamba1Graph(Builder& builder, const Model& model) : Mamba1Graph(builder, model.decoder, model.mamba) {}

 protected:
  Value recurrent(Value u) override {
    const std::int64_t channels = mamba_.channel_count, state = mamba_.state_width, rank = mamba_.step_rank;
    const Mamba1Tensors& names = mamba_.tensors;
    const auto halves =
        b_.split(linear(u, names.input, 2 * channels, model_.width, mamba_.projection_bias), {channels, channels});
    const Value x = filtered(halves[0]);
    const auto parts = b_.split(linear(x, names.mixed, rank + 2 * state, channels, Bias::kNever), {rank, state, state});
    const Value step = linear(normed_part(parts[0], names.step_norm, rank), names.step, channels, rank, Bias::kNever);
    const Value y =
        scan(x, step, normed_part(parts[1], names.b_norm, state), normed_part(parts[2], names.c_norm, state));
    const Value gated = b_.gated(halves[1], y, activation_attributes(NACELLE_ACT_SILU));
    return linear(gated, names.output, model_.width, channels, mamba_.projection_bias);
  }

 private:
  Value normed_part(Value x, const Names& names, std::int64_t width) {
    if (!mamba_.norms) return x;
    Value weight;
    if (names) weight = block_weight(names, ".weight", {width}, inside(names, ".weight"));
    // Without a weight a norm is of groups: here of one.
    return b_.rms_norm(x, weight, norm_attributes(mamba_.epsilon, 0, names ? 0 : static_cast<std::uint32_t>(width)));
  }

  Value filtered(Value x) {
    const std::int64_t channels = mamba_.channel_count;
    const Names& names = mamba_.tensors.convolution;
    Source filters = inside(names, ".weight");
    filters.huggingface = reshape(filters.huggingface, {channels, mamba_.filter_length});
    return convolution(x, block_weight(names, ".weight", {channels, mamba_.filter_length}, filters),
                       bias_of(names, mamba_.convolution_bias, {channels}), windows_, mamba_.filter_length,
                       NACELLE_ACT_SILU);
  }

  // A channel is a head of one column; GGUF has -e^A_log.
  Value scan(Value x, Value step, Value b, Value c) {
    const std::int64_t channels = mamba_.channel_count, rates = channels * mamba_.state_width;
    const Mamba1Tensors& names = mamba_.tensors;
    Source rate = whole_name(names.rate, "");
    rate.gguf = reshape(rate.gguf, {rates});
    rate.huggingface = reshape(scale(exp(rate.huggingface), -1), {rates});
    auto attributes = scan_attributes(scans_, NACELLE_SCAN_ADD, 1);
    attributes.head_count = mamba_.channel_count;
    attributes.group_count = 1;
    attributes.key_width = mamba_.state_width;
    attributes.value_width = 1;
    return b_.state_scan({.q = c,
                          .k = b,
                          .v = x,
                          .step = step,
                          .rate = block_weight(names.rate, "", {rates}, rate),
                          .step_bias = block_weight(names.step, ".bias", {channels}, inside(names.step, ".bias")),
                          .strength = {},
                          .skip = block_weight(names.skip, "", {channels}, whole_name(names.skip, ""))},
                         attributes);
  }

  const Mamba1& mamba_;
  States scans_, windows_;
};

}  // namespace nacelle::sdk
