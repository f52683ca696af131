// A table of methods, and what each must say of itself. Layers that a checkpoint leaves as they are need no list: their
// tensors tell.
#include "core/engine/quantized_checkpoint.hpp"

#include <algorithm>
#include <nacelle/types.hpp>
#include <set>
#include <string>
#include <variant>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/formats/file_error.hpp"
#include "sdk/runtime/packed_weights.hpp"

namespace nacelle {
namespace {

// The settings of one file, under one prefix.
class Settings {
 public:
  Settings(const ModelFiles& files, const char* file, std::string path, std::string shown)
      : files_(files), file_((files.path() / file).string()), path_(std::move(path)), shown_(std::move(shown)) {}

  const ConfigValue* find(const std::string& key) const { return files_.config(path_ + key); }

  // Empty where it is absent, or no text.
  std::string text(const std::string& key) const {
    const ConfigValue* value = find(key);
    const auto* found = value ? std::get_if<std::string_view>(value) : nullptr;
    return found ? std::string(*found) : std::string();
  }

  bool is_on(const std::string& key) const {
    const ConfigValue* value = find(key);
    const bool* on = value ? std::get_if<bool>(value) : nullptr;
    return on && *on;
  }

  // Where there is such a number it must be `expected`.
  void require_number(const std::string& key, std::int64_t expected, const std::string& method) const {
    const ConfigValue* value = find(key);
    if (!value) return;
    if (const auto* count = std::get_if<std::int64_t>(value); !count || *count != expected)
      refuse(key, "is not " + std::to_string(expected) + ", which is all that is read of " + method);
  }

  [[noreturn]] void refuse(const std::string& key, const std::string& what) const {
    throw Error(ErrorKind::kUnsupported, file_ + ": '" + shown_ + key + "' " + what, "model");
  }

 private:
  const ModelFiles& files_;
  const std::string file_, path_, shown_;
};

void check_gptq(const Settings& own, const ModelFiles&) {
  own.require_number("bits", 4, "gptq");
  if (own.is_on("desc_act")) own.refuse("desc_act", "is true, which is not supported");
  if (own.text("checkpoint_format") == "gptq_v2") own.refuse("checkpoint_format", "is 'gptq_v2', expected gptq");
}

void check_awq(const Settings& own, const ModelFiles&) {
  own.require_number("bits", 4, "awq");
  if (own.is_on("desc_act")) own.refuse("desc_act", "is true, which is not supported");
  const std::string version = own.text("version");
  if (!version.empty() && version != "gemm") own.refuse("version", "is '" + version + "', expected gemm");
}

void check_fp8(const Settings& own, const ModelFiles&) {
  own.require_number("bits", 4, "fp8");
  if (own.is_on("desc_act")) own.refuse("desc_act", "is true, which is not supported");
}

// What llm-compressor writes. How activations and the KV cache were to be rounded does not matter: here they are more
// exact.
void check_compressed(const Settings& own, const ModelFiles&) {
  const std::string format = own.text("format");
  if (format != "pack-quantized" && format != "int-quantized" && format != "float-quantized" &&
      format != "naive-quantized" && format != "nvfp4-pack-quantized")
    own.refuse("format", "is '" + format +
                             "', expected pack-quantized, int-quantized, float-quantized, naive-quantized or "
                             "nvfp4-pack-quantized");
  if (const std::string sparse = own.text("sparsity_config.format"); !sparse.empty() && sparse != "dense")
    own.refuse("sparsity_config.format", "is '" + sparse + "', expected dense");
  const std::int64_t expected = format == "pack-quantized" || format == "nvfp4-pack-quantized" ? 4 : 8;
  for (int group = 0;; ++group) {
    const std::string key = "config_groups.group_" + std::to_string(group) + ".weights.num_bits";
    if (!own.find(key)) return;
    own.require_number(key, expected, format);
  }
}

// NVIDIA's Model Optimizer. Here too activations and the KV cache stay more exact than they were to be.
void check_modelopt(const Settings& own, const ModelFiles&) {
  constexpr const char* kAlgorithms[] = {"NVFP4", "W4A16_NVFP4", "FP8", "FP8_PER_CHANNEL_PER_TOKEN", "MIXED_PRECISION"};
  const std::string algorithm = own.text("quant_algo");
  if (algorithm.empty() && (own.find("kv_cache_quant_algo") || own.find("kv_cache_scheme.num_bits")))
    return;  // of nothing but the KV cache
  if (std::find(std::begin(kAlgorithms), std::end(kAlgorithms), algorithm) == std::end(kAlgorithms))
    own.refuse("quant_algo", "is '" + algorithm +
                                 "', expected NVFP4, W4A16_NVFP4, FP8, FP8_PER_CHANNEL_PER_TOKEN or MIXED_PRECISION");
  if (algorithm.ends_with("NVFP4")) own.require_number("group_size", 16, algorithm);
}

void check_bitsandbytes(const Settings& own, const ModelFiles& files) {
  if (const std::string type = own.text("bnb_4bit_quant_type");
      own.is_on("load_in_4bit") && !type.empty() && type != "nf4" && type != "fp4")
    own.refuse("bnb_4bit_quant_type", "is '" + type + "', expected nf4 or fp4");
  for (const TensorInfo& tensor : files.tensors()) {
    if (!tensor.name.ends_with(".weight_format")) continue;
    const auto bytes = files.data(tensor);
    if (std::any_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte != std::byte{0}; }))
      throw Error(ErrorKind::kUnsupported,
                  files.title() + ": tensor " + in_quotes(tensor.name) +
                      " says that rows are not stored one after the other, expected 0",
                  "model");
  }
}

struct Method {
  const char* name;
  void (*check)(const Settings&, const ModelFiles&);
};
constexpr Method kMethods[] = {
    {"gptq", check_gptq},         {"awq", check_awq},
    {"fp8", check_fp8},           {"compressed-tensors", check_compressed},
    {"modelopt", check_modelopt}, {"bitsandbytes", check_bitsandbytes},
};

struct Decoded {
  std::uint64_t stored = 0, kept = 0;
  std::set<std::string> types;
};

void add_decoded(const sdk::WeightNode& node, Decoded& all) {
  for (const sdk::WeightNode& input : node.inputs) {
    if (sdk::is_packed(node)) all.stored += input.bytes();
    add_decoded(input, all);
  }
  if (!sdk::is_packed(node)) return;
  all.kept += node.bytes();
  all.types.insert(type_info(node.type)->name);
}

}  // namespace

void tell_of_decoded_weights(const ModelFiles& files, const sdk::GraphRecord& graph) {
  Decoded all;
  for (const sdk::WeightRecord& weight : graph.weights) add_decoded(weight.source->value, all);
  if (all.types.empty()) return;
  std::string types;
  for (const std::string& type : all.types) types += (types.empty() ? "" : ", ") + type;
  log::info("{}: its quantized weights are decoded to {}: {:.1f} MB in the file, {:.1f} MB in memory", files.title(),
            types, static_cast<double>(all.stored) / 1e6, static_cast<double>(all.kept) / 1e6);
}

void check_quantized_checkpoint(const ModelFiles& files) {
  if (files.format() == ModelFormat::kGguf) return;
  const Settings own(files, "config.json", "quantization_config.", "quantization_config.");
  // Older ones of ModelOpt say it in a file of its own alone.
  const Settings apart(files, "hf_quant_config.json", "hf_quant_config.quantization.", "quantization.");
  std::string method = own.text("quant_method");
  if (method == "mxfp4") return;
  if (method == "modelopt_fp4" || (method.empty() && own.find("quant_algo"))) method = "modelopt";
  if (method.empty() && !own.find("bits")) {
    if (apart.find("quant_algo")) check_modelopt(apart, files);
    return;
  }
  const auto* known =
      std::find_if(std::begin(kMethods), std::end(kMethods), [&](const Method& of) { return method == of.name; });
  if (known == std::end(kMethods))
    own.refuse("quant_method",
               "is '" + method + "', expected gptq, awq, fp8, compressed-tensors, modelopt, bitsandbytes or mxfp4");
  // ModelOpt's settings inside config.json are as flat as those of others, or as they are in its own file.
  if (method == "modelopt" && !own.find("quant_algo") && apart.find("quant_algo")) return check_modelopt(apart, files);
  known->check(own, files);
}

}  // namespace nacelle
