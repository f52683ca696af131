// Loading: find the architecture that knows the file, build its graph, fit it to the device, pack.
#include "core/engine/model.hpp"

#include <algorithm>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/engine/device_model.hpp"
#include "core/plugin_host/model_config.hpp"
#include "sdk/runtime/decompose.hpp"
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

// The architecture's graph with the selection of tokens behind it.
std::unique_ptr<sdk::Graph> build_graph(PluginHost& host, const PluginRecord& plugin, const ModelFiles& files,
                                        const nacelle_model_config& config) {
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
    return builder.build();
  } catch (const sdk::Failure& failure) {
    throw Error(ErrorKind::kCorrupt, files.path().string() + ": " + plugin.name + ": " + failure.what());
  }
}

// Rewrites what the device does not know into parts that it does.
std::unique_ptr<sdk::Graph> fit_graph(std::unique_ptr<sdk::Graph> graph, PluginHost& host, const DeviceRecord& device,
                                      const ModelFiles& files) {
  nacelle_device* handle = nullptr;
  nacelle_error* error = nullptr;
  const nacelle_status status = device.api->device_open(device.index, &handle, &error);
  check(host.services(), status, error, device.name + ": cannot open the device");
  const std::unique_ptr<nacelle_device, void (*)(nacelle_device*)> close(handle, device.api->device_close);
  std::string unsupported;
  auto fitted = sdk::decompose(
      *graph,
      [&](const nacelle_graph& view, std::uint32_t op) {
        return device.api->supports(handle, &view, op) == NACELLE_OK;
      },
      &unsupported);
  if (!fitted)
    throw Error(ErrorKind::kUnsupported,
                files.path().string() + ": device " + device.name + " cannot run " + unsupported, "device");
  return fitted;
}

bool is_all_f32(const ModelFiles& files) {
  const auto tensors = files.tensors();
  return std::all_of(tensors.begin(), tensors.end(), [](const TensorInfo& t) { return t.type == NACELLE_TYPE_F32; });
}

// The model's own context, or, where its KV cache would not fit beside the weights, the largest multiple of 256 that
// does.
std::uint32_t default_context(const nacelle_model_description& description, const nacelle_graph& graph,
                              const LoadOptions& options, const ModelFiles& files, const DeviceRecord& device) {
  std::uint64_t bytes_per_token = 1;
  for (std::uint32_t i = 0; i < graph.cache_group_count; ++i) {
    const nacelle_cache_group& group = *graph.cache_groups[i];
    bytes_per_token += group.layer_count * (row_bytes(options.key_type, group.key_width) +
                                            row_bytes(options.value_type, group.value_width));
  }
  const std::uint64_t weights = files.total_tensor_bytes();
  const std::uint64_t free = device.memory_free > weights ? device.memory_free - weights : 0;
  const std::uint64_t fits = free / 2 / bytes_per_token;
  if (description.context_length <= fits) return description.context_length;
  const auto context = static_cast<std::uint32_t>(std::max<std::uint64_t>(fits / 256 * 256, 256));
  log::warning("{}: the model's context of {} tokens would need {} MiB of KV cache; loading with {} (set --context)",
               files.path().string(), description.context_length, description.context_length * bytes_per_token >> 20,
               context);
  return context;
}

}  // namespace

Model::~Model() = default;

std::shared_ptr<Model> Model::load(PluginHost& host, LoadOptions options) {
  auto model = std::shared_ptr<Model>(new Model);
  model->files_ = ModelFiles::open(options.path);
  const ModelFiles& files = *model->files_;
  if (options.name.empty()) options.name = files.stem();
  const ModelConfigAdapter config(files);
  const PluginRecord& plugin = find_architecture(host, files, *config.table());
  model->architecture_ = plugin.name;

  model->description_ = sdk::make<nacelle_model_description>();
  nacelle_error* error = nullptr;
  const nacelle_status status = plugin.architecture->describe(config.table(), &model->description_, &error);
  check(host.services(), status, error, files.path().string() + ": " + plugin.name);
  model->load_tokenizer(options);

  const DeviceRecord device = options.device.empty() ? host.default_device() : host.find_device(options.device);
  auto graph = fit_graph(build_graph(host, plugin, files, *config.table()), host, device, files);
  const nacelle_type kv_type = is_all_f32(files) ? NACELLE_TYPE_F32 : NACELLE_TYPE_F16;
  if (options.key_type == NACELLE_TYPE_INVALID) options.key_type = kv_type;
  if (options.value_type == NACELLE_TYPE_INVALID) options.value_type = kv_type;
  if (options.context == 0)
    options.context = default_context(model->description_, graph->view(), options, files, device);
  options.max_sequences = std::min(options.max_sequences, options.max_batch_tokens);

  DeviceModelOptions device_options;
  device_options.context = options.context;
  device_options.max_sequences = options.max_sequences;
  device_options.max_rows = options.max_batch_tokens;
  device_options.cache_tokens = options.cache_tokens;
  device_options.key_type = options.key_type;
  device_options.value_type = options.value_type;
  device_options.pins = options.pins;
  device_options.tune_budget = options.tune_budget;
  device_options.tune_again = options.tune_again;
  device_options.progress = options.progress;
  device_options.tune_progress = options.tune_progress;
  model->device_ = std::make_unique<DeviceModel>(host, device, std::move(graph), files, device_options);
  model->placement_ = {{device.name, model->description_.layer_count}};
  model->options_ = std::move(options);
  return model;
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
