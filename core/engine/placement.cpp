#include "core/engine/placement.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/engine/memory_plan.hpp"
#include "core/engine/step.hpp"
#include "sdk/runtime/decompose.hpp"
#include "sdk/runtime/names.hpp"

namespace nacelle {
namespace {

// What a model is ranked by: the time of a prompt and an answer of these lengths.
constexpr double kPromptRows = 512, kAnswerRows = 128;
// Of a device's free memory, what a model may take: its driver needs the rest.
constexpr double kMemoryShare = 0.9;
// The KV cache that a device must have room for where nobody asks for a context.
constexpr std::uint32_t kUsualContext = 4096;

constexpr std::uint32_t kTrialRows = 64, kTrialContext = 512;

[[noreturn]] void refuse_split(std::string_view text, const std::string& why) {
  throw Error(ErrorKind::kInvalidArgument, fmt::format("--split {}: {}", text, why), "split");
}

std::unique_ptr<sdk::Graph> fit_graph(sdk::GraphRecord record, PluginHost& host, const DeviceRecord& device,
                                      const ModelFiles& files) {
  nacelle_device* handle = nullptr;
  nacelle_error* error = nullptr;
  const nacelle_status status = device.api->device_open(device.index, &handle, &error);
  check(host.services(), status, error, device.name + ": cannot open the device");
  check_made(handle, device.name + ": device_open");
  const std::unique_ptr<nacelle_device, void (*)(nacelle_device*)> close(handle, device.api->device_close);
  std::string unsupported;
  auto fitted = sdk::decompose(
      sdk::Graph(std::move(record)),
      [&](const nacelle_graph& view, std::uint32_t op) {
        return device.api->supports(handle, &view, op) == NACELLE_OK;
      },
      &unsupported);
  if (!fitted)
    throw Error(ErrorKind::kUnsupported,
                files.title() + ": device " + device.name + " cannot run " + unsupported +
                    (unsupported.find(sdk::op_name(NACELLE_OP_MOE_ADAPTER_MATMUL)) != unsupported.npos
                         ? ": start without --lora-experts, or name another --device"
                         : ""),
                "device");
  return fitted;
}

std::vector<sdk::Segment> cut(const sdk::GraphRecord& graph, std::span<const std::uint32_t> ends,
                              const ModelFiles& files) {
  try {
    return sdk::cut_graph(graph, ends);
  } catch (const sdk::Failure& failure) {
    throw Error(ErrorKind::kUnsupported, files.title() + ": " + failure.what(), "split");
  }
}

// The part of the model that a trial runs: one layer in its middle, or all of a model with fewer than three.
sdk::Segment trial_segment(const sdk::GraphRecord& graph, const ModelFiles& files) {
  if (graph.layer_count < 3) {
    const std::uint32_t end = graph.layer_count;
    return std::move(cut(graph, {&end, 1}, files).front());
  }
  const std::uint32_t ends[] = {1, 2, graph.layer_count};
  return std::move(cut(graph, ends, files)[1]);
}

// One segment alone on a device, with a sequence to feed it and boundary values that never change.
class Trial {
 public:
  Trial(PluginHost& host, const DeviceRecord& device, sdk::Segment segment, const ModelFiles& files,
        const DeviceModelOptions& options)
      : model_(host, segments(host, device, std::move(segment), files), files, options),
        sequence_(
            0, request(), [](GenerationEvent&&) {}, model_.blocks(), nullptr, 0, kTrialContext) {
    if (!sequence_.blocks.reserve(kTrialContext)) throw Error(ErrorKind::kResource, device.name + ": no KV blocks");
  }

  // Seconds of a step of `rows` rows, the best of a few.
  double time(std::uint32_t rows) {
    const std::vector<Chunk> chunks = {{&sequence_, 0, rows}};
    const StepCounts counts = count_step(chunks);
    const std::size_t plan = model_.plan_for(counts);
    double best = 0, spent = 0;
    for (int i = 0; i < 12 && (i < 3 || spent < 0.05); ++i) {
      write_step(chunks, model_, plan, host_adjusted_);
      write_boundaries(plan, rows);
      const auto start = std::chrono::steady_clock::now();
      model_.run(plan, counts);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      model_.advance(plan);
      spent += took.count();
      if (i > 0) best = i == 1 ? took.count() : std::min(best, took.count());  // the first step warms up
    }
    return best;
  }

 private:
  static std::vector<PlacedSegment> segments(PluginHost& host, const DeviceRecord& device, sdk::Segment segment,
                                             const ModelFiles& files) {
    std::vector<PlacedSegment> one(1);
    one[0] = {device, fit_graph(std::move(segment.record), host, device, files), {}, {}};
    for (std::uint32_t group = 0; group < one[0].graph->view().cache_group_count; ++group)
      one[0].cache_groups.push_back(group);
    return one;
  }

  static GenerationRequest request() {
    GenerationRequest request;
    request.prompt.assign(kTrialContext, 1);
    return request;
  }

  void write_boundaries(std::size_t plan, std::uint32_t rows) {
    const nacelle_graph& graph = model_.last().graph();
    for (std::uint32_t v = 0; v < graph.value_count; ++v) {
      const nacelle_value& value = *graph.values[v];
      if (value.kind != NACELLE_VALUE_BOUNDARY) continue;
      boundary_.assign(static_cast<std::size_t>(value.shape[1]) * rows, 0.5f);
      model_.last().write_value(model_.plan(0, plan), v, boundary_);
    }
  }

  PlacedModel model_;
  Sequence sequence_;
  std::vector<bool> host_adjusted_;
  std::vector<float> boundary_;
};

double score(const LayerSpeed& speed) { return kPromptRows * speed.prefill + kAnswerRows * speed.decode; }
double tokens_per_second(double seconds) { return seconds > 0 ? 1 / seconds : 0; }

// The candidate that is fastest on this model. One that fails is left out with a warning.
DeviceRecord fastest(PluginHost& host, const std::vector<DeviceRecord>& candidates, const sdk::GraphRecord& graph,
                     const ModelFiles& files, const DeviceModelOptions& options) {
  std::optional<std::size_t> best;
  double best_score = 0;
  std::string reasons;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    try {
      const LayerSpeed speed = measure_layer(host, candidates[i], graph, files, options);
      log::info("{}: about {:.1f} tokens/s in decode, {:.0f} in prefill", candidates[i].name,
                tokens_per_second(speed.decode * graph.layer_count),
                tokens_per_second(speed.prefill * graph.layer_count));
      if (best && score(speed) >= best_score) continue;
      best = i;
      best_score = score(speed);
    } catch (const Error& error) {
      log::warning("{} is not considered: {}", candidates[i].name, error.what());
      reasons += std::string("; ") + error.what();
    }
  }
  if (!best) throw Error(ErrorKind::kUnsupported, files.title() + ": no device can run it" + reasons, "device");
  return candidates[*best];
}

void tell_spill(PluginHost& host, const DeviceRecord& device, const DeviceRecord& cpu, std::uint32_t fits,
                const sdk::GraphRecord& graph, const ModelFiles& files, const DeviceModelOptions& options) {
  const std::uint32_t spilled = graph.layer_count - fits;
  std::string cost;
  try {
    const double fast = measure_layer(host, device, graph, files, options).decode;
    const double slow = measure_layer(host, cpu, graph, files, options).decode;
    cost = fmt::format(": about {:.1f} tokens/s instead of {:.1f}", tokens_per_second(fits * fast + spilled * slow),
                       tokens_per_second(graph.layer_count * fast));
  } catch (const Error& error) {
    log::debug("the cost of a split is not known: {}", error.what());
  }
  log::warning("{}: {} of {} layers do not fit the {} MiB free on {} and run on {}{}", files.title(), spilled,
               graph.layer_count, device.memory_free >> 20, device.name, cpu.name, cost);
}

// All of the model on `device`, but for what a GPU has no room for.
std::vector<PlacedLayers> place_on(PluginHost& host, const DeviceRecord& device, const sdk::GraphRecord& graph,
                                   const ModelFiles& files, const DeviceModelOptions& options) {
  std::vector<PlacedLayers> whole = {{device, graph.layer_count}};
  if (device.kind != NACELLE_DEVICE_GPU || graph.layer_count < 2) return whole;
  const std::uint32_t context = options.context ? options.context : kUsualContext;
  const std::uint32_t fits = layers_that_fit(device, graph, files, options, context);
  if (fits == graph.layer_count) return whole;
  const auto candidates = host.candidates();
  const auto cpu = std::find_if(candidates.begin(), candidates.end(),
                                [](const DeviceRecord& one) { return one.kind == NACELLE_DEVICE_CPU; });
  if (cpu == candidates.end()) return whole;  // whose loading says what is missing
  tell_spill(host, device, *cpu, fits, graph, files, options);
  if (fits == 0) return {{*cpu, graph.layer_count}};
  return {{*cpu, graph.layer_count - fits}, {device, fits}};
}

}  // namespace

std::uint32_t layers_that_fit(const DeviceRecord& device, const sdk::GraphRecord& graph, const ModelFiles& files,
                              const DeviceModelOptions& options, std::uint32_t context) {
  const auto budget = static_cast<std::uint64_t>(static_cast<double>(device.memory_free) * kMemoryShare);
  const auto takes = [&](const sdk::GraphRecord& part) {
    const MemoryNeed need = estimate_need(part, options);
    return need.fixed() + need.state + need.kv_per_token * context;
  };
  if (takes(graph) <= budget) return graph.layer_count;
  std::uint32_t fits = 0;
  for (std::uint32_t first = graph.layer_count - 1; first > 0; --first) {
    const std::uint32_t ends[] = {first, graph.layer_count};
    if (takes(cut(graph, ends, files)[1].record) > budget) break;
    fits = graph.layer_count - first;
  }
  return fits;
}

std::vector<PlacedLayers> parse_split(const PluginHost& host, std::string_view text, std::uint32_t layer_count) {
  std::vector<PlacedLayers> parts;
  std::optional<std::size_t> open;  // the part without a count
  std::uint64_t named = 0;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const std::string_view part = text.substr(at, comma - at);
    const std::size_t equals = std::min(part.find('='), part.size());
    PlacedLayers placed;
    if (equals < part.size()) {
      const std::string_view count = part.substr(equals + 1);
      const auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), placed.layers);
      if (error != std::errc() || end != count.data() + count.size() || placed.layers == 0)
        refuse_split(text, fmt::format("'{}' is no count of layers", count));
    } else if (open) {
      refuse_split(text, "two parts have no count of layers; expected DEVICE=LAYERS,DEVICE=LAYERS");
    } else {
      open = parts.size();
    }
    placed.device = host.find_device(part.substr(0, equals));
    named += placed.layers;
    parts.push_back(std::move(placed));
    at = comma + 1;
  }
  if (open && named < layer_count) parts[*open].layers = layer_count - static_cast<std::uint32_t>(named);
  if (open ? named >= layer_count : named != layer_count)
    refuse_split(text, fmt::format("it places {} of the model's {} layers{}", named, layer_count,
                                   open ? " beside the part without a count" : ""));
  return parts;
}

LayerSpeed measure_layer(PluginHost& host, const DeviceRecord& device, const sdk::GraphRecord& graph,
                         const ModelFiles& files, const DeviceModelOptions& options) {
  DeviceModelOptions own;
  own.context = own.cache_tokens = kTrialContext;
  own.max_sequences = 1;
  own.max_rows = kTrialRows;
  own.max_adapters = options.max_adapters;
  own.max_adapter_rank = options.max_adapter_rank;
  own.key_type = options.key_type;
  own.value_type = options.value_type;
  Trial trial(host, device, trial_segment(graph, files), files, own);
  const double layers = graph.layer_count < 3 ? std::max(1u, graph.layer_count) : 1;
  return {trial.time(1) / layers, trial.time(kTrialRows) / kTrialRows / layers};
}

std::vector<PlacedLayers> place_model(PluginHost& host, const sdk::GraphRecord& graph, const ModelFiles& files,
                                      std::string_view device, std::string_view split,
                                      const DeviceModelOptions& options) {
  if (!split.empty()) {
    if (!device.empty()) throw Error(ErrorKind::kInvalidArgument, "--device and --split exclude each other", "split");
    return parse_split(host, split, graph.layer_count);
  }
  if (!device.empty()) return place_on(host, host.find_device(device), graph, files, options);
  const std::vector<DeviceRecord> candidates = host.candidates();
  if (candidates.size() < 2) return place_on(host, host.default_device(), graph, files, options);
  return place_on(host, fastest(host, candidates, graph, files, options), graph, files, options);
}

std::vector<PlacedSegment> cut_model(PluginHost& host, const std::vector<PlacedLayers>& placement,
                                     const sdk::GraphRecord& graph, const ModelFiles& files) {
  std::vector<std::uint32_t> ends;
  ends.reserve(placement.size());
  for (const PlacedLayers& part : placement) ends.push_back((ends.empty() ? 0 : ends.back()) + part.layers);
  std::vector<PlacedSegment> placed;
  for (sdk::Segment& segment : cut(graph, ends, files)) {
    const DeviceRecord& device = placement[placed.size()].device;
    placed.push_back({device, fit_graph(std::move(segment.record), host, device, files), std::move(segment.inputs),
                      std::move(segment.cache_groups)});
  }
  return placed;
}

}  // namespace nacelle
