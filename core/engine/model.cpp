// Loading: find the architecture that knows the file, build its graph, fit it to the device, pack.
#include "core/engine/model.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/engine/memory_plan.hpp"
#include "core/engine/placed_model.hpp"
#include "core/engine/placement.hpp"
#include "core/plugin_host/model_config.hpp"
#include "sdk/runtime/adapters.hpp"
#include "sdk/runtime/graph_builder.hpp"
#include "sdk/runtime/names.hpp"

namespace nacelle {
namespace {

const PluginRecord& find_architecture(PluginHost& host, const ModelFiles& files, const nacelle_model_config& config) {
  std::string known;
  for (const PluginRecord& plugin : host.plugins()) {
    if (!plugin.architecture) continue;
    if (plugin.architecture->match(&config) == NACELLE_OK) return plugin;
    known += (known.empty() ? "" : ", ") + plugin.name;
  }
  throw Error(ErrorKind::kUnsupported,
              files.path().string() + ": no plugin knows the architecture '" + files.architecture() +
                  "'; loaded architecture plugins: " + (known.empty() ? "none" : known),
              "model");
}

// The architecture's graph with the selection of tokens behind it, and with adapters where they may be loaded.
sdk::GraphRecord build_graph(PluginHost& host, const PluginRecord& plugin, const ModelFiles& files,
                             const nacelle_model_config& config, bool adapters) {
  sdk::GraphBuilder builder(
      [&files](std::string_view name, nacelle_type* type, std::uint32_t* rank, std::int64_t* shape) {
        const TensorInfo* tensor = files.tensor(name);
        if (!tensor || tensor->shape.size() > NACELLE_MAX_RANK) return false;
        *type = tensor->type;
        *rank = static_cast<std::uint32_t>(tensor->shape.size());
        std::copy(tensor->shape.begin(), tensor->shape.end(), shape);
        return true;
      });
  nacelle_error* error = nullptr;
  const nacelle_status status = plugin.architecture->build(&config, builder.table(), &error);
  if (builder.failed() && error)
    host.services()->error_destroy(host.services()->context, std::exchange(error, nullptr));
  if (builder.failed()) throw Error(ErrorKind::kCorrupt, files.path().string() + ": " + builder.error());
  check(host.services(), status, error, files.path().string() + ": " + plugin.name);
  try {
    builder.add_logits_select();
    builder.add_embedding();
    sdk::GraphRecord graph = builder.build()->record();
    if (adapters && sdk::add_adapters(graph) == 0)
      throw Error(ErrorKind::kUnsupported, files.path().string() + ": no weight of it can take an adapter",
                  "max-loras");
    return graph;
  } catch (const sdk::Failure& failure) {
    throw Error(ErrorKind::kCorrupt, files.path().string() + ": " + plugin.name + ": " + failure.what());
  }
}

// Quantized checkpoints that the host decodes (sdk/runtime/packed_weights.hpp), or that their architecture does
// (mxfp4). All others are refused by name.
void check_quantization(const ModelFiles& files) {
  const std::string block = "quantization_config.";
  const auto text = [&](const char* key) {
    const ConfigValue* value = files.config(block + key);
    const auto* found = value ? std::get_if<std::string_view>(value) : nullptr;
    return found ? std::string(*found) : std::string();
  };
  const auto refuse = [&](const char* key, const std::string& what) {
    throw Error(ErrorKind::kUnsupported, (files.path() / "config.json").string() + ": '" + block + key + "' " + what,
                "model");
  };
  const std::string method = text("quant_method");
  if (files.format() == ModelFormat::kGguf || method == "mxfp4") return;
  if (method.empty() && !files.config(block + "bits")) return;
  if (method != "gptq" && method != "awq" && method != "fp8")
    refuse("quant_method", "is '" + method + "', expected gptq, awq, fp8 or mxfp4");
  if (const ConfigValue* bits = files.config(block + "bits"))
    if (const auto* count = std::get_if<std::int64_t>(bits); !count || *count != 4)
      refuse("bits", "is not 4, which is all that is read of " + method);
  if (const ConfigValue* order = files.config(block + "desc_act"))
    if (const bool* on = std::get_if<bool>(order); on && *on) refuse("desc_act", "is true, which is not supported");
  if (method == "gptq" && text("checkpoint_format") == "gptq_v2")
    refuse("checkpoint_format", "is 'gptq_v2', expected gptq");
  if (method == "awq" && !text("version").empty() && text("version") != "gemm")
    refuse("version", "is '" + text("version") + "', expected gemm");
}

bool is_all_f32(const ModelFiles& files) {
  const auto tensors = files.tensors();
  return std::all_of(tensors.begin(), tensors.end(), [](const TensorInfo& t) { return t.type == NACELLE_TYPE_F32; });
}

DeviceModelOptions device_options(const LoadOptions& options) {
  DeviceModelOptions own;
  own.context = options.context;
  own.max_sequences = options.max_sequences;
  own.max_rows = options.max_batch_tokens;
  own.max_guesses = kMaxGuesses;
  own.cache_tokens = options.cache_tokens;
  own.max_adapters = options.max_adapters;
  own.max_adapter_rank = options.max_adapter_rank;
  own.key_type = options.key_type;
  own.value_type = options.value_type;
  own.numerics = options.numerics;
  own.pins = options.pins;
  own.tune_budget = options.tune_budget;
  own.tune_again = options.tune_again;
  own.packed_cache = options.packed_cache;
  own.progress = options.progress;
  own.tune_progress = options.tune_progress;
  return own;
}

// The model's own context, or, where its KV cache would not fit beside the weights, the largest multiple of 256 that
// does on every device.
std::uint32_t default_context(const PluginHost& host, std::uint32_t own, const std::vector<PlacedSegment>& segments,
                              DeviceModelOptions options, const ModelFiles& files) {
  options.context = own;
  const MemoryPlan plan(host, files.path().string(), segments, options);
  const std::uint64_t fits = plan.tokens_that_fit();
  if (fits >= own) return own;
  const auto context = static_cast<std::uint32_t>(std::max<std::uint64_t>(fits / 256 * 256, std::min(own, 256u)));
  log::warning("{}: the model's context of {} tokens {}; loading with {} (set --context)", files.path().string(), own,
               plan.tell(own), context);
  return context;
}

// Says in one line how long each part of a load took.
class Stopwatch {
 public:
  void lap(const char* part) {
    const auto now = std::chrono::steady_clock::now();
    text_ += fmt::format("{}{} {:.3f} s", text_.empty() ? "" : ", ", part,
                         std::chrono::duration<double>(now - last_).count());
    last_ = now;
  }
  const std::string& text() const { return text_; }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::string text_;
};

}  // namespace

std::string to_string(const std::vector<Placement>& placement) {
  if (placement.size() == 1) return placement.front().device;
  std::string text;
  for (const Placement& part : placement)
    text += (text.empty() ? "" : ", ") + part.device + " (" + std::to_string(part.layers) + " layers)";
  return text;
}

Model::~Model() = default;

std::shared_ptr<Model> Model::load(PluginHost& host, LoadOptions options) {
  Stopwatch watch;
  auto model = std::shared_ptr<Model>(new Model);
  model->files_ = ModelFiles::open(options.path);
  const ModelFiles& files = *model->files_;
  if (options.name.empty()) options.name = files.stem();
  check_quantization(files);
  const ModelConfigAdapter config(files);
  const PluginRecord& plugin = find_architecture(host, files, *config.table());
  model->architecture_ = plugin.name;

  model->description_ = sdk::make<nacelle_model_description>();
  nacelle_error* error = nullptr;
  const nacelle_status status = plugin.architecture->describe(config.table(), &model->description_, &error);
  check(host.services(), status, error, files.path().string() + ": " + plugin.name);
  watch.lap("files");
  model->load_tokenizer(options);
  watch.lap("tokenizer");

  const sdk::GraphRecord graph = build_graph(host, plugin, files, *config.table(), options.max_adapters != 0);
  model->adapter_targets_ = adapter_targets(graph);
  const nacelle_type kv_type = is_all_f32(files) ? NACELLE_TYPE_F32 : NACELLE_TYPE_F16;
  if (options.key_type == NACELLE_TYPE_INVALID) options.key_type = kv_type;
  if (options.value_type == NACELLE_TYPE_INVALID) options.value_type = kv_type;
  if (model->is_encoder())  // a text is computed in one step
    options.max_batch_tokens =
        std::max(options.max_batch_tokens, options.context ? options.context : model->description_.context_length);
  options.max_sequences = std::min(options.max_sequences, options.max_batch_tokens);
  const auto placement = place_model(host, graph, files, options.device, options.split, device_options(options));
  auto segments = cut_model(host, placement, graph, files);
  if (options.context == 0)
    options.context =
        default_context(host, model->description_.context_length, segments, device_options(options), files);
  watch.lap("graph and placement");
  model->device_ = std::make_unique<PlacedModel>(host, std::move(segments), files, device_options(options));
  for (const PlacedLayers& part : placement) model->placement_.push_back({part.device.name, part.layers});
  watch.lap("weights and plans");
  log::debug("loaded {}: {}", files.path().string(), watch.text());
  model->options_ = std::move(options);
  return model;
}

constrain::GrammarCache& Model::grammars() const {
  if (!tokenizer_)
    throw Error(ErrorKind::kUnsupported,
                "the model " + name() + " has no tokenizer, so that answers cannot be constrained");
  std::call_once(grammars_once_, [this] {
    grammars_ =
        std::make_unique<constrain::GrammarCache>(constrain::Vocabulary::make(*tokenizer_, device_->vocabulary()));
  });
  return *grammars_;
}

AdapterPtr Model::load_adapter(std::string name, const std::filesystem::path& path) const {
  if (options_.max_adapters == 0)
    throw Error(ErrorKind::kUnsupported,
                "the model " + this->name() + " was loaded without room for adapters; start with --max-loras",
                "lora_name");
  return fit_adapter(std::move(name), read_adapter(path), adapter_targets_, *files_, options_.max_adapter_rank);
}

void Model::load_tokenizer(const LoadOptions& options) {
  try {
    tokenizer_ = files_->gguf() ? nacelle::load_tokenizer(*files_->gguf()) : nacelle::load_tokenizer(files_->path());
  } catch (const Error& failure) {
    if (options.need_tokenizer) throw;
    log::warning("{}: loaded without a tokenizer: {}", files_->path().string(), failure.what());
    return;
  }
  stop_ids_ = tokenizer_->stop_ids();
  if (!tokenizer_->chat_template().empty())
    chat_template_ = std::make_unique<ChatTemplate>(tokenizer_->chat_template());
}

std::uint64_t Model::weight_bytes() const { return device_->weight_bytes(); }
std::uint64_t Model::cache_bytes() const { return device_->cache_bytes(); }
void Model::visit_kernels(const std::function<void(const nacelle_kernel_info&)>& visitor) const {
  device_->visit_kernels(visitor);
}

}  // namespace nacelle
