#include "core/engine/model_graph.hpp"

#include <algorithm>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>
#include <set>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/engine/quantized_checkpoint.hpp"
#include "core/formats/bitsandbytes.hpp"
#include "core/formats/near_tensor.hpp"
#include "core/plugin_host/model_config.hpp"
#include "sdk/runtime/adapters.hpp"
#include "sdk/runtime/graph_builder.hpp"

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
              files.title() + ": no plugin knows the architecture '" + files.architecture() +
                  "'; loaded architecture plugins: " + (known.empty() ? "none" : known),
              "model");
}

// Where the builder's error is that a tensor is missing: what the file has in its place. `missed`: what was looked for
// in vain, as optional tensors are too.
std::string advice_for(const std::string& error, const std::vector<std::string>& missed, const ModelFiles& files) {
  for (const std::string& name : missed) {
    if (error.find("'" + name + "' is missing") == std::string::npos) continue;
    if (std::string near = near_tensor(name, files.tensors()); !near.empty()) return near;
  }
  return {};
}

// "blk.7." of "blk.7.attn_q.weight"; empty where a tensor is of no layer.
std::string_view layer_of(std::string_view tensor) {
  return tensor.starts_with("blk.") ? tensor.substr(0, tensor.find('.', 4) + 1) : std::string_view();
}

// Not told: layers that guess further tokens (one tensor of such a layer is a "nextn"), which change no answer, and all
// of Hugging Face's files, which hold towers that see and scales of their quantisation.
std::vector<std::string> unread_tensors(const ModelFiles& files, const std::set<std::string, std::less<>>& found) {
  std::vector<std::string> unread;
  if (files.format() != ModelFormat::kGguf) return unread;
  std::set<std::string_view> guessing;
  const auto tensors = files.tensors();
  for (const TensorInfo& tensor : tensors)
    if (tensor.name.find(".nextn.") != std::string::npos) guessing.insert(layer_of(tensor.name));
  for (const TensorInfo& tensor : tensors)
    if (!found.contains(tensor.name) && !guessing.contains(layer_of(tensor.name))) unread.push_back(tensor.name);
  return unread;
}

// The architecture's graph with the selection of tokens behind it, and with adapters where they may be loaded. `found`:
// the tensors that it asked for.
sdk::GraphRecord build_graph(PluginHost& host, const PluginRecord& plugin, const ModelFiles& files,
                             const nacelle_model_config& config, bool adapters, bool adapter_embeddings,
                             bool adapter_experts, std::set<std::string, std::less<>>& found) {
  std::vector<std::string> missed;
  const auto find = [&](std::string_view name, nacelle_type* type, std::uint32_t* rank, std::int64_t* shape) {
    const TensorInfo* tensor = files.tensor(name);
    if (!tensor) missed.emplace_back(name);
    if (!tensor || tensor->shape.size() > NACELLE_MAX_RANK) return false;
    found.emplace(name);
    *type = tensor->type;
    *rank = static_cast<std::uint32_t>(tensor->shape.size());
    std::copy(tensor->shape.begin(), tensor->shape.end(), shape);
    return true;
  };
  sdk::GraphBuilder builder(find, [&](std::string_view name) { return four_bit_state(files, name); });
  nacelle_error* error = nullptr;
  const nacelle_status status = plugin.architecture->build(&config, builder.table(), &error);
  if (builder.failed() && error)
    host.services()->error_destroy(host.services()->context, std::exchange(error, nullptr));
  if (builder.failed())
    throw Error(ErrorKind::kCorrupt,
                files.title() + ": " + builder.error() + advice_for(builder.error(), missed, files));
  check(host.services(), status, error, files.title() + ": " + plugin.name);
  try {
    builder.add_logits_select();
    builder.add_embedding();
    sdk::GraphRecord graph = builder.build()->record();
    if (adapters && sdk::add_adapters(graph, adapter_experts) == 0)
      throw Error(ErrorKind::kUnsupported, files.title() + ": no weight of it can take an adapter", "max-loras");
    if (adapter_embeddings && !sdk::add_embedding_change(graph))
      throw Error(ErrorKind::kUnsupported, files.title() + ": it embeds no tokens that an adapter could change",
                  "lora-embeddings");
    return graph;
  } catch (const sdk::Failure& failure) {
    throw Error(ErrorKind::kCorrupt, files.title() + ": " + plugin.name + ": " + failure.what());
  }
}

bool is_all_f32(const ModelFiles& files) {
  const auto tensors = files.tensors();
  return std::all_of(tensors.begin(), tensors.end(), [](const TensorInfo& t) { return t.type == NACELLE_TYPE_F32; });
}

}  // namespace

ModelGraph read_graph(PluginHost& host, const ModelFiles& files, bool adapters, bool adapter_embeddings,
                      bool adapter_experts) {
  check_quantized_checkpoint(files);
  const ModelConfigAdapter config(files);
  const PluginRecord& plugin = find_architecture(host, files, *config.table());
  ModelGraph model;
  model.architecture = plugin.name;
  model.description = sdk::make<nacelle_model_description>();
  nacelle_error* error = nullptr;
  const nacelle_status status = plugin.architecture->describe(config.table(), &model.description, &error);
  check(host.services(), status, error, files.title() + ": " + plugin.name);
  std::set<std::string, std::less<>> found;
  model.graph = build_graph(host, plugin, files, *config.table(), adapters, adapter_embeddings, adapter_experts, found);
  model.unread = unread_tensors(files, found);
  return model;
}

void settle_options(LoadOptions& options, const ModelFiles& files, const nacelle_model_description& description) {
  const nacelle_type kv_type = is_all_f32(files) ? NACELLE_TYPE_F32 : NACELLE_TYPE_F16;
  if (options.key_type == NACELLE_TYPE_INVALID) options.key_type = kv_type;
  if (options.value_type == NACELLE_TYPE_INVALID) options.value_type = kv_type;
  if (description.kind != NACELLE_MODEL_DECODER)  // a text is computed in one step
    options.max_batch_tokens =
        std::max(options.max_batch_tokens, options.context ? options.context : description.context_length);
  options.max_sequences = std::min(options.max_sequences, options.max_batch_tokens);
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
  own.embedding_changes = options.max_adapters && options.adapter_embeddings;
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

std::uint32_t default_context(const PluginHost& host, std::uint32_t own, const std::vector<PlacedSegment>& segments,
                              DeviceModelOptions options, const ModelFiles& files) {
  options.context = own;
  const MemoryPlan plan(host, files.title(), segments, options);
  const std::uint64_t fits = plan.tokens_that_fit();
  if (fits >= own) return own;
  const auto context = static_cast<std::uint32_t>(std::max<std::uint64_t>(fits / 256 * 256, std::min(own, 256u)));
  log::warning("{}: the model's context of {} tokens {}; loading with {} (set --context)", files.title(), own,
               plan.tell(own), context);
  return context;
}

void warn_of_long_context(const std::string& name, std::uint32_t context,
                          const nacelle_model_description& description) {
  if (context > description.context_length && description.context_length != 0)
    log::warning(
        "{}: --context {} is more than the {} tokens that its file says it was trained with; answers may be nonsense "
        "beyond",
        name, context, description.context_length);
}

void warn_of_unread(const std::string& name, const ModelGraph& model) {
  if (model.unread.empty()) return;
  constexpr std::size_t kNamed = 3;
  std::string names;
  for (std::size_t i = 0; i < std::min(kNamed, model.unread.size()); ++i)
    names += (i == 0 ? "" : ", ") + model.unread[i];
  if (model.unread.size() > kNamed) names += " and " + std::to_string(model.unread.size() - kNamed) + " more";
  log::warning(
      "{}: the file has tensors that the architecture plugin '{}' does not read: {}; if the model needs them, its "
      "answers are wrong here",
      name, model.architecture, names);
}

Forecast forecast(PluginHost& host, const ModelFiles& files, const ModelGraph& model,
                  const std::vector<PlacedLayers>& placement, LoadOptions options) {
  settle_options(options, files, model.description);
  const auto segments = cut_model(host, placement, model.graph, files);
  if (options.context == 0)
    options.context = default_context(host, model.description.context_length, segments, device_options(options), files);
  Forecast result = {
      .options = options, .placement = {}, .plan = MemoryPlan(host, files.title(), segments, device_options(options))};
  for (const PlacedLayers& part : placement) result.placement.push_back({part.device.name, part.layers});
  result.kv_least = options.cache_tokens ? options.cache_tokens : options.context;
  result.kv_wanted = options.cache_tokens ? options.cache_tokens
                                          : std::uint64_t{options.context} * std::max(1u, options.max_sequences);
  result.kv_tokens = std::max(result.kv_least, std::min(result.kv_wanted, result.plan.tokens_that_fit()));
  const DeviceRecord& device = placement.front().device;
  if (placement.size() == 1 && device.kind == NACELLE_DEVICE_GPU)
    result.layers_on_gpu = layers_that_fit(device, model.graph, files, device_options(options), options.context);
  return result;
}

}  // namespace nacelle
