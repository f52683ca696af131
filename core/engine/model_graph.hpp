// From a model's files to its graph and the options that it will run with: what comes before anything is loaded.
#pragma once

#include <nacelle/architecture.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/engine/device_model.hpp"
#include "core/engine/memory_plan.hpp"
#include "core/engine/model.hpp"
#include "core/engine/placed_model.hpp"
#include "core/engine/placement.hpp"
#include "core/formats/model_files.hpp"
#include "core/plugin_host/plugin_host.hpp"

namespace nacelle {

struct ModelGraph {
  std::string architecture;  // the plugin
  nacelle_model_description description{};
  sdk::GraphRecord graph;
  std::vector<std::string> unread;  // a GGUF file's tensors that the architecture has no use for, in the file's order
};

// The graph of the architecture that knows the files, with the selection of tokens behind it, and with adapters where
// they may be loaded, of the tokens' embedding and of experts too if they may change these. Throws Error with one line:
// what in which file, and what was expected.
ModelGraph read_graph(PluginHost& host, const ModelFiles& files, bool adapters, bool adapter_embeddings = false,
                      bool adapter_experts = false);

// Fills in what the options leave to the model: KV types and the batch. Not the context, which depends on the devices.
void settle_options(LoadOptions& options, const ModelFiles& files, const nacelle_model_description& description);

DeviceModelOptions device_options(const LoadOptions& options);

// The model's own context, or, where its KV cache would not fit beside the weights, the largest multiple of 256 that
// does on every device.
std::uint32_t default_context(const PluginHost& host, std::uint32_t own, const std::vector<PlacedSegment>& segments,
                              DeviceModelOptions options, const ModelFiles& files);

// One line in the log where more is asked for than the model was trained with: nothing fails, but answers get worse.
void warn_of_long_context(const std::string& name, std::uint32_t context, const nacelle_model_description& description);

// One line in the log where a file has more than its architecture's graph reads: such a part is left out of every
// answer.
void warn_of_unread(const std::string& name, const ModelGraph& model);

// What loading would take: by the files and the graph, with nothing packed or measured.
struct Forecast {
  LoadOptions options;  // as they will count
  std::vector<Placement> placement;
  MemoryPlan plan;
  std::uint64_t kv_tokens = 0;      // that load would make room for
  std::uint64_t kv_wanted = 0;      // all sequences at full length, or options.cache_tokens
  std::uint64_t kv_least = 0;       // fewer, and it would be refused
  std::uint32_t layers_on_gpu = 0;  // where all layers lie on one GPU: how many fit it
};

Forecast forecast(PluginHost& host, const ModelFiles& files, const ModelGraph& model,
                  const std::vector<PlacedLayers>& placement, LoadOptions options);

}  // namespace nacelle
