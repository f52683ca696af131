// Which device runs which layers: as the caller says, else by measured speed and free memory.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/engine/placed_model.hpp"

namespace nacelle {

// Consecutive layers on one device.
struct PlacedLayers {
  DeviceRecord device;
  std::uint32_t layers = 0;
};

// "cpu:0=4,cuda:1=8". One part may leave its count out and takes the layers that the others leave. Throws Error with
// param "split": kInvalidArgument for what is no such list or does not add up to `layer_count`, as find_device does for
// its names.
std::vector<PlacedLayers> parse_split(const PluginHost& host, std::string_view text, std::uint32_t layer_count);

// Seconds that one layer takes, measured on the model's own shapes.
struct LayerSpeed {
  double decode = 0;   // a step of one row
  double prefill = 0;  // a row of a step of many
};

// Packs one layer of the model (all of a small one) on the device and runs it, for about a tenth of a second. Throws
// Error where the device cannot.
LayerSpeed measure_layer(PluginHost& host, const DeviceRecord& device, const sdk::GraphRecord& graph,
                         const ModelFiles& files, const DeviceModelOptions& options);

// The devices that `device` and `split` of the options name; else the fastest of the candidates. With one candidate
// nothing is measured. Layers that do not fit the free memory of a GPU go to the CPU: the first ones, so that the head
// stays with the rest; a warning says how many and what it costs. Throws Error where no device can run the model.
std::vector<PlacedLayers> place_model(PluginHost& host, const sdk::GraphRecord& graph, const ModelFiles& files,
                                      std::string_view device, std::string_view split,
                                      const DeviceModelOptions& options);

// How many of the last layers fit `device` beside KV for `context` tokens, with the head and what follows them.
std::uint32_t layers_that_fit(const DeviceRecord& device, const sdk::GraphRecord& graph, const ModelFiles& files,
                              const DeviceModelOptions& options, std::uint32_t context);

// Cuts the graph and fits each segment to its device: what the device does not support is in parts. Throws
// Error(kUnsupported) that names the operation and the device.
std::vector<PlacedSegment> cut_model(PluginHost& host, const std::vector<PlacedLayers>& placement,
                                     const sdk::GraphRecord& graph, const ModelFiles& files);

}  // namespace nacelle
