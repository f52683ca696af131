#include "api/cli/fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "api/cli/setup.hpp"
#include "core/engine/model_graph.hpp"

namespace nacelle::cli {
namespace {

// What a weight takes as `quantize` stores it, on average over a model.
struct WeightType {
  const char* name;
  double bits;
};
constexpr WeightType kWeightTypes[] = {{"bf16", 16},    {"q8_0", 8.5},    {"q6_k", 6.6}, {"q5_k_m", 5.7},
                                       {"q4_k_m", 4.9}, {"q3_k_m", 3.95}, {"q2_k", 3.0}};

LoadOptions load_options(const ModelFlags& flags) {
  LoadOptions options;
  options.context = flags.context;
  options.cache_tokens = flags.cache_tokens;
  options.max_sequences = flags.max_sequences;
  options.max_batch_tokens = flags.batch_tokens;
  const CacheTypes types = parse_cache_types(flags.cache_type);
  options.key_type = types.key;
  options.value_type = types.value;
  return options;
}

// One way to place the model, and what could be changed about it.
class Fit {
 public:
  Fit(PluginHost& host, const ModelFiles& files, const ModelGraph& model, std::vector<PlacedLayers> placement,
      LoadOptions options)
      : host_(host), files_(files), model_(model), placement_(std::move(placement)), options_(std::move(options)) {}

  Json json() {
    const Forecast now = forecast(host_, files_, model_, placement_, options_);
    const bool fits = now.plan.fits(now.kv_least);
    const std::uint64_t kv = fits ? now.kv_tokens : now.kv_least;
    Json memories = Json::array();
    for (const auto& [name, memory] : now.plan.memories())
      memories.push_back({{"memory", name},
                          {"weights", memory.need.weights},
                          {"kv_cache", memory.need.kv_per_token * kv},
                          {"states", memory.need.states},
                          {"work_space", memory.need.work},
                          {"total", memory.total(kv)},
                          {"free", memory.budget.free()},
                          {"limit", memory.budget.limit},
                          {"source", memory.budget.source}});
    return {{"placement", to_string(now.placement)},
            {"context", now.options.context},
            {"max_sequences", now.options.max_sequences},
            {"cache_type", to_string({now.options.key_type, now.options.value_type})},
            {"kv_tokens", kv},
            {"kv_tokens_wanted", now.kv_wanted},
            {"memory", std::move(memories)},
            {"fits", fits},
            {"would_fit", fits ? Json::array() : alternatives(now)}};
  }

 private:
  bool fits_with(const LoadOptions& options) const {
    const Forecast then = forecast(host_, files_, model_, placement_, options);
    return then.plan.fits(then.kv_least);
  }

  // Of each kind of change the smallest that is enough by itself.
  Json alternatives(const Forecast& now) const {
    Json list = Json::array();
    LoadOptions options = now.options;
    for (options.context = now.options.context / 2 / 256 * 256; options.context >= 256;
         options.context = options.context / 2 / 256 * 256) {
      options.cache_tokens = 0;
      if (!fits_with(options)) continue;
      list.push_back(fmt::format("--context {}", options.context));
      break;
    }
    for (const char* type : {"q8_0", "q4_0"}) {
      const CacheTypes types = parse_cache_types(type);
      options = now.options;
      options.key_type = types.key;
      options.value_type = types.value;
      if (!fits_with(options)) continue;
      list.push_back(fmt::format("--cache-type {}", type));
      break;
    }
    add_smaller_batch(now, list);
    add_smaller_weights(now, list);
    if (now.layers_on_gpu > 0 && now.layers_on_gpu < model_.graph.layer_count)
      list.push_back(fmt::format("--split cpu={},{}={}", model_.graph.layer_count - now.layers_on_gpu,
                                 placement_.front().device.name, now.layers_on_gpu));
    return list;
  }

  void add_smaller_batch(const Forecast& now, Json& list) const {
    LoadOptions options = now.options;
    options.max_sequences = 1;
    options.max_batch_tokens = std::min<std::uint32_t>(options.max_batch_tokens, 64);
    if (fits_with(options))
      list.push_back(fmt::format("--max-sequences 1 --batch-tokens {}", options.max_batch_tokens));
  }

  // The largest type that leaves room for the rest, in every memory.
  void add_smaller_weights(const Forecast& now, Json& list) const {
    double share = 1;  // of today's bytes
    for (const auto& [name, memory] : now.plan.memories()) {
      const auto rest = static_cast<double>(memory.total(now.kv_least) - memory.need.weights);
      const double room = static_cast<double>(memory.budget.free()) - rest;
      share = std::min(share, room / std::max(1.0, static_cast<double>(memory.need.weights)));
    }
    std::uint64_t elements = 0;
    for (const TensorInfo& tensor : files_.tensors()) elements += tensor.elements();
    const double bits = 8.0 * static_cast<double>(files_.total_tensor_bytes()) / static_cast<double>(elements);
    for (const WeightType& type : kWeightTypes)
      if (type.bits <= bits * share) {
        list.push_back(fmt::format("weights of {:.1f} bits instead of {:.1f}: `nacelle quantize --type {}`", type.bits,
                                   bits, type.name));
        return;
      }
  }

  PluginHost& host_;
  const ModelFiles& files_;
  const ModelGraph& model_;
  std::vector<PlacedLayers> placement_;
  LoadOptions options_;
};

}  // namespace

Json fit_model(PluginHost& host, const ModelFiles& files, const ModelFlags& flags) {
  const ModelGraph model = read_graph(host, files, false);
  const std::uint32_t layers = model.graph.layer_count;
  warn_of_unread(files.stem(), model);
  warn_of_long_context(files.stem(), flags.context, model.description);
  std::vector<std::vector<PlacedLayers>> placements;
  if (!flags.split.empty())
    placements.push_back(parse_split(host, flags.split, layers));
  else if (!flags.device.empty())
    placements.push_back({{host.find_device(flags.device), layers}});
  else
    for (const DeviceRecord& device : host.candidates()) placements.push_back({{device, layers}});
  if (placements.empty()) placements.push_back({{host.default_device(), layers}});  // whose error says why
  Json all = Json::array();
  for (auto& placement : placements)
    all.push_back(Fit(host, files, model, std::move(placement), load_options(flags)).json());
  return all;
}

bool fits_anywhere(const Json& fit) {
  return std::any_of(fit.begin(), fit.end(), [](const Json& one) { return one["fits"].get<bool>(); });
}

void print_fit(const Json& fit) {
  std::vector<std::vector<std::string>> rows = {
      {"device", "memory", "weights", "cache", "work space", "together", "free"}};
  const auto bytes = [](const Json& value) { return human_bytes(value.get<std::uint64_t>()); };
  for (const Json& one : fit)
    for (const Json& memory : one["memory"])
      rows.push_back({one["placement"].get<std::string>(), memory["memory"].get<std::string>(),
                      bytes(memory["weights"]),
                      bytes(memory["kv_cache"].get<std::uint64_t>() + memory["states"].get<std::uint64_t>()),
                      bytes(memory["work_space"]), bytes(memory["total"]), bytes(memory["free"])});
  print_table(rows);
  for (const Json& one : fit) {
    const std::uint64_t tokens = one["kv_tokens"], wanted = one["kv_tokens_wanted"], context = one["context"];
    std::string line = one["placement"].get<std::string>();
    if (one["fits"].get<bool>()) {
      line += fmt::format(" fits: KV of {} for {} tokens, {} sequence{} of {}", one["cache_type"].get<std::string>(),
                          tokens, tokens / context, tokens / context == 1 ? "" : "s", context);
      if (tokens < wanted)
        line += fmt::format("; for all {} at full length it would take {} tokens",
                            one["max_sequences"].get<std::uint32_t>(), wanted);
    } else {
      line += fmt::format(" does not fit at --context {} with KV of {}", context, one["cache_type"].get<std::string>());
      const char* before = ". What would fit: ";
      for (const Json& way : one["would_fit"]) {
        line += before + way.get<std::string>();
        before = "; or ";
      }
      if (one["would_fit"].empty()) line += ", nor would any one change of context, cache, batch or weights";
    }
    std::puts(line.c_str());
  }
}

}  // namespace nacelle::cli
