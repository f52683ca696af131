// The text goes through the engine's own step path, below its loop; after each step the exposed values are read.
#include "core/compress/imatrix.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <optional>

#include "core/compress/convert.hpp"
#include "core/compress/windows.hpp"
#include "core/engine/placed_model.hpp"
#include "core/engine/product_inputs.hpp"
#include "core/engine/step.hpp"
#include "core/formats/file_error.hpp"

namespace nacelle::compress {
namespace {

// Rows of a step: enough for products at full speed, and few enough that all that is kept of a step stays small.
constexpr std::uint32_t kStepRows = 128;

// Tensors of the file whose columns are the weight's: those that were put together by rows.
void collect_tensors(const sdk::WeightNode& node, std::vector<std::string>& to) {
  const std::size_t last = node.shape.size() - 1;
  switch (node.kind) {
    case NACELLE_EXPR_TENSOR: to.push_back(node.tensor); return;
    case NACELLE_EXPR_CONCAT:
    case NACELLE_EXPR_SLICE:
      if (node.axis == last) return;
      break;
    case NACELLE_EXPR_RESHAPE:
      if (node.inputs[0].shape.back() != node.shape.back()) return;
      break;
    case NACELLE_EXPR_PERMUTE:
      if (node.order.back() != last) return;
      break;
    case NACELLE_EXPR_ADD:
    case NACELLE_EXPR_SCALE: break;
    default: return;
  }
  for (const sdk::WeightNode& input : node.inputs) collect_tensors(input, to);
}

// The names that GGUF gives the model's tensors: several where it cuts one.
using GgufNames = std::multimap<std::string, std::string>;
GgufNames gguf_names(PluginHost& host, const ModelFiles& files) {
  GgufNames names;
  for (const SourceTensor& tensor : open_source(host, files).tensors) {
    std::vector<std::string> own;
    if (tensor.stored) own.push_back(tensor.stored->name);
    if (tensor.made) collect_tensors(tensor.made->node(), own);
    for (const std::string& one : own) names.emplace(one, tensor.name);
  }
  return names;
}

// Sums of a segment's product inputs.
class Collector {
 public:
  Collector(DeviceModel& device, const GgufNames& names) : device_(device) {
    for (const ProductInput& input : product_inputs(device.record())) {
      std::vector<std::string> tensors;
      collect_tensors(input.weight->source->value, tensors);
      Target target{.input = input, .names = {}};
      for (const std::string& tensor : tensors) {
        const auto [begin, end] = names.equal_range(tensor);
        for (auto found = begin; found != end; ++found)
          if (std::ranges::find(target.names, found->second) == target.names.end())
            target.names.push_back(found->second);
      }
      if (target.names.empty()) continue;
      target.sums.resize(std::size_t{input.expert_count} * input.width);
      target.rows.resize(input.expert_count);
      targets_.push_back(std::move(target));
    }
  }

  void add(const Plan& plan, std::uint32_t rows) {
    std::optional<std::uint32_t> held;
    for (Target& target : targets_) {
      const ProductInput& input = target.input;
      const std::uint32_t width = input.per_expert ? input.width * input.used : input.width;
      if (held != input.value) {
        values_.resize(std::size_t{rows} * width);
        device_.read_value(plan, input.value, values_);
        held = input.value;
      }
      if (input.experts != NACELLE_NO_VALUE) {
        experts_.resize(std::size_t{rows} * input.used);
        device_.read_value(plan, input.experts, experts_);
      }
      for (std::uint32_t row = 0; row < rows; ++row) add_row(target, row, width);
    }
  }

  void give(Importance& to) const {
    for (const Target& target : targets_)
      for (const std::string& name : target.names) {
        ChannelSums& sums = to.weights[name];
        sums.channels = target.input.width;
        sums.sums.assign(target.sums.begin(), target.sums.end());
        sums.counts.assign(target.rows.begin(), target.rows.end());
      }
  }

 private:
  struct Target {
    ProductInput input;
    std::vector<std::string> names;
    std::vector<double> sums = {};  // experts x width
    std::vector<double> rows = {};
  };

  void add_row(Target& target, std::uint32_t row, std::uint32_t width) const {
    const ProductInput& input = target.input;
    const float* x = values_.data() + std::size_t{row} * width;
    for (std::uint32_t i = 0; i < input.used; ++i) {
      const std::uint32_t expert = input.experts == NACELLE_NO_VALUE
                                       ? 0
                                       : std::bit_cast<std::uint32_t>(experts_[std::size_t{row} * input.used + i]);
      if (expert >= input.expert_count) continue;
      const float* own = input.per_expert ? x + std::size_t{i} * input.width : x;
      double* to = target.sums.data() + std::size_t{expert} * input.width;
      for (std::uint32_t k = 0; k < input.width; ++k) to[k] += static_cast<double>(own[k]) * own[k];
      target.rows[expert] += 1;
    }
  }

  DeviceModel& device_;
  std::vector<Target> targets_;
  std::vector<float> values_, experts_;  // of a step; experts are integers in the place of floats
};

// Throws Error(kInternal) for sums that are no numbers.
Importance joined(const Model& model, const std::vector<Collector>& collectors) {
  Importance all;
  for (const Collector& collector : collectors) collector.give(all);
  for (const auto& [name, sums] : all.weights)
    for (const float sum : sums.sums)
      if (!std::isfinite(sum))
        throw Error(ErrorKind::kInternal, model.name() + ": what goes into " + in_quotes(name) + " is not finite");
  return all;
}

}  // namespace

LoadOptions imatrix_load_options(std::uint32_t window) {
  LoadOptions options;
  options.context = options.cache_tokens = window;
  options.max_sequences = 1;
  options.max_batch_tokens = std::min(window, kStepRows);
  options.expose_product_inputs = true;
  return options;
}

Importance measure_importance(PluginHost& host, Model& model, std::string_view text, std::uint32_t window,
                              std::uint32_t most, const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  const TextWindows windows = encode_windows(model.tokenizer(), text, window, true, most);
  PlacedModel& device = model.device();
  const auto names = gguf_names(host, model.files());
  std::vector<Collector> collectors;
  for (std::size_t i = 0; i < device.size(); ++i) collectors.emplace_back(device.segment(i), names);
  WindowReader reader(model, [&](std::size_t plan, const StepCounts& counts) {
    for (std::size_t i = 0; i < collectors.size(); ++i) collectors[i].add(device.plan(i, plan), counts.rows);
  });
  for (std::size_t i = 0; i < windows.windows(); ++i) {
    reader.begin(windows[i], window);
    if (progress) progress(i + 1, windows.windows());
  }
  Importance importance = joined(model, collectors);
  importance.chunks = static_cast<std::uint32_t>(windows.windows());
  importance.chunk_tokens = window;
  return importance;
}

}  // namespace nacelle::compress
