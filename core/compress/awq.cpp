#include "core/compress/awq.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <nacelle/block_formats.hpp>

#include "core/base/thread_team.hpp"
#include "core/compress/encode.hpp"
#include "core/formats/file_error.hpp"

namespace nacelle::compress {
namespace {

// Families whose blocks are norm, attention, norm, gated feed-forward, with nothing between a producer below and its
// consumers but what a factor passes through.
constexpr const char* kExactFamilies[] = {"llama", "qwen2", "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "phi3"};

enum class Producer { kNorm, kValues, kUp };

// Behind "blk.N."; consumers that a model lacks are left out, and the rule with the first one.
struct ScaleRule {
  Producer kind;
  const char* producer;
  std::vector<const char*> consumers;
};
const std::vector<ScaleRule>& scale_rules() {
  static const std::vector<ScaleRule> all = {
      {Producer::kNorm, "attn_norm", {"attn_q", "attn_k", "attn_v"}},
      {Producer::kNorm, "attn_norm", {"attn_qkv"}},
      {Producer::kValues, "attn_v", {"attn_output"}},
      {Producer::kNorm, "ffn_norm", {"ffn_up", "ffn_gate"}},
      {Producer::kNorm, "ffn_norm", {"ffn_up_exps", "ffn_gate_exps", "ffn_gate_inp"}},
      {Producer::kUp, "ffn_up", {"ffn_down"}},
  };
  return all;
}

constexpr std::uint64_t kSampledRows = 64;  // of each matrix
constexpr int kSteps = 10;                  // of the exponent, from 0 (no scaling) to 1

struct Group {
  const ScaleRule* rule;
  std::vector<std::size_t> producers, consumers;  // indices of tensors
  std::vector<float> means;                       // of the consumers' input
};

class Scaler {
 public:
  Scaler(SourceModel& model, std::span<const nacelle_type> types, const Importance& importance, unsigned threads)
      : model_(model), types_(types), importance_(importance), team_(threads) {
    for (std::size_t i = 0; i < model.tensors.size(); ++i) index_[model.tensors[i].name] = i;
  }

  ScalingResult run(const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
    ScalingResult result;
    const std::uint32_t layers = model_.traits.layers;
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      for (const ScaleRule& rule : scale_rules()) {
        Group group{.rule = &rule, .producers = {}, .consumers = {}, .means = {}};
        if (find(layer, group)) scale(group, result);
      }
      if (progress) progress(layer + 1, layers);
    }
    return result;
  }

 private:
  const SourceTensor& tensor(std::size_t index) const { return model_.tensors[index]; }

  std::size_t index_of(std::uint32_t layer, const char* name, const char* suffix) const {
    const auto found = index_.find("blk." + std::to_string(layer) + "." + name + suffix);
    return found == index_.end() ? model_.tensors.size() : found->second;
  }

  // False where the model has no such group, or nothing of it is quantized or was measured.
  bool find(std::uint32_t layer, Group& group) const {
    const std::size_t none = model_.tensors.size();
    const std::size_t producer = index_of(layer, group.rule->producer, ".weight");
    if (producer == none) return false;
    group.producers = {producer};
    if (const std::size_t bias = index_of(layer, group.rule->producer, ".bias"); bias != none)
      group.producers.push_back(bias);
    for (const char* name : group.rule->consumers)
      if (const std::size_t consumer = index_of(layer, name, ".weight"); consumer != none)
        group.consumers.push_back(consumer);
    if (group.consumers.empty() || group.consumers[0] != index_of(layer, group.rule->consumers[0], ".weight"))
      return false;
    // Fused gates share the matrix with what would be scaled, and without a gate the activation is in between.
    if (group.rule->kind == Producer::kUp && index_of(layer, "ffn_gate", ".weight") == none) return false;
    group.means = means_of(tensor(group.consumers[0]));
    const bool quantized =
        std::ranges::any_of(group.consumers, [&](std::size_t i) { return block_format(types_[i]) != nullptr; });
    return quantized && !group.means.empty() && shared_factors(group, group.means).has_value();
  }

  // Over all experts, by how many rows each of them saw.
  std::vector<float> means_of(const SourceTensor& one) const {
    const auto found = importance_.weights.find(one.name);
    if (found == importance_.weights.end() || found->second.channels != one.columns()) return {};
    const ChannelSums& sums = found->second;
    std::vector<float> means(sums.channels, 0);
    float rows = 0;
    for (std::size_t e = 0; e < sums.counts.size(); ++e) {
      rows += sums.counts[e];
      for (std::size_t i = 0; i < means.size(); ++i) means[i] += sums.sums[e * sums.channels + i];
    }
    if (!(rows > 0)) return {};
    for (float& mean : means) mean /= rows;
    return means;
  }

  // Channels of attention's output that come from one row of the values share a factor: values of `each` channel, one a
  // producer's row, and back. nullopt where the sizes do not fit.
  std::optional<std::vector<std::size_t>> shared_factors(const Group& group, const std::vector<float>& each) const {
    std::vector<std::size_t> row_of(each.size());
    const std::size_t rows = group.rule->kind == Producer::kNorm ? each.size() : tensor(group.producers[0]).rows();
    const std::size_t sharers = model_.traits.heads_per_kv_head;
    for (std::size_t i = 0; i < each.size(); ++i) row_of[i] = i;
    if (rows == each.size()) return row_of;
    if (group.rule->kind != Producer::kValues || rows * sharers != each.size() || model_.traits.kv_heads == 0 ||
        rows % model_.traits.kv_heads != 0)
      return std::nullopt;
    const std::size_t width = rows / model_.traits.kv_heads;
    for (std::size_t i = 0; i < each.size(); ++i) row_of[i] = i / width / sharers * width + i % width;
    return row_of;
  }

  // The factor of each producer's row: rms^exponent, around 1.
  static std::vector<float> factors(const std::vector<float>& means, float exponent) {
    double mean_log = 0, largest = 0;
    for (const float mean : means) largest = std::max(largest, static_cast<double>(mean));
    std::vector<float> out(means.size());
    for (std::size_t i = 0; i < means.size(); ++i) {
      const double log = 0.5 * exponent * std::log(std::max(static_cast<double>(means[i]), 1e-8 * largest));
      out[i] = static_cast<float>(log);
      mean_log += log / static_cast<double>(means.size());
    }
    for (float& value : out) value = std::exp(value - static_cast<float>(mean_log));
    return out;
  }

  void scale(const Group& group, ScalingResult& result) {
    const std::vector<std::size_t> row_of = *shared_factors(group, group.means);
    std::vector<float> shared(1 + *std::ranges::max_element(row_of), 0);
    for (std::size_t i = 0; i < row_of.size(); ++i) shared[row_of[i]] += group.means[i];
    std::vector<float> best;
    double least = INFINITY, plain = 0;
    for (int step = 0; step <= kSteps && std::ranges::any_of(shared, [](float mean) { return mean > 0; }); ++step) {
      const std::vector<float> rows = factors(shared, static_cast<float>(step) / kSteps);
      std::vector<float> columns(row_of.size());
      for (std::size_t i = 0; i < columns.size(); ++i) columns[i] = rows[row_of[i]];
      const double loss = loss_of(group, columns);
      if (step == 0) plain = loss;
      if (loss < least) least = loss, best = step == 0 ? std::vector<float>() : rows;
    }
    for (const std::size_t index : group.consumers) release_rows(model_, tensor(index), 0, tensor(index).rows());
    ++result.groups;
    result.before += plain;
    result.after += std::min(least, plain);
    if (best.empty()) return;
    ++result.scaled;
    apply(group, best, row_of);
  }

  // Of the sampled rows, as a part of what they give: sum of mean square times squared error.
  double loss_of(const Group& group, const std::vector<float>& columns) {
    double error = 0, power = 0;
    std::vector<std::pair<double, double>> losses;  // added up in order: the choice does not depend on the threads
    for (const std::size_t index : group.consumers) {
      if (!block_format(types_[index])) continue;
      const SourceTensor& one = tensor(index);
      const std::uint64_t rows = std::min(one.rows(), kSampledRows);
      losses.resize(rows);
      team_.parallel_for(rows, 1 + rows / (4 * team_.size()), [&](std::uint64_t begin, std::uint64_t end) {
        for (std::uint64_t i = begin; i < end; ++i)
          losses[i] = row_loss(one, types_[index], i * one.rows() / rows, group.means, columns);
      });
      for (const auto& [own_error, own_power] : losses) error += own_error, power += own_power;
    }
    return power > 0 ? error / power : 0;
  }

  std::pair<double, double> row_loss(const SourceTensor& one, nacelle_type type, std::uint64_t row,
                                     const std::vector<float>& means, const std::vector<float>& columns) const {
    std::vector<float> plain(one.columns()), scaled(one.columns()), weight(one.columns());
    read_row(model_, one, row, plain);
    for (std::size_t i = 0; i < plain.size(); ++i) {
      scaled[i] = plain[i] * columns[i];
      weight[i] = means[i] / (columns[i] * columns[i]);
    }
    const TypeInfo& info = *type_info(type);
    std::vector<std::uint8_t> bytes(plain.size() / info.block_elements * info.block_bytes);
    encode_row(type, scaled, weight, bytes.data());
    decode_row(type, bytes.data(), scaled.size(), scaled.data());
    double error = 0, power = 0;
    for (std::size_t i = 0; i < plain.size(); ++i) {
      const double difference = static_cast<double>(scaled[i]) / columns[i] - plain[i];
      error += means[i] * difference * difference;
      power += static_cast<double>(means[i]) * plain[i] * plain[i];
    }
    return {error, power};
  }

  void apply(const Group& group, const std::vector<float>& rows, const std::vector<std::size_t>& row_of) {
    for (const std::size_t index : group.consumers) {
      std::vector<float>& to = model_.tensors[index].column_factors;
      to.resize(row_of.size());
      for (std::size_t i = 0; i < to.size(); ++i) to[i] = rows[row_of[i]];
    }
    for (const std::size_t index : group.producers) {
      SourceTensor& one = model_.tensors[index];
      std::vector<float>& to = one.shape.size() == 1 ? one.column_factors : one.row_factors;
      to.resize(rows.size());
      for (std::size_t i = 0; i < to.size(); ++i) to[i] = 1 / rows[i];
    }
  }

  SourceModel& model_;
  const std::span<const nacelle_type> types_;
  const Importance& importance_;
  ThreadTeam team_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

}  // namespace

ScalingResult scale_by_activation(SourceModel& model, std::span<const nacelle_type> types, const Importance& importance,
                                  unsigned threads, const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  if (std::ranges::find(kExactFamilies, model.traits.architecture) == std::end(kExactFamilies)) {
    std::string known;
    for (const char* family : kExactFamilies) known += (known.empty() ? "" : ", ") + std::string(family);
    throw Error(ErrorKind::kUnsupported,
                model.files.path().string() + ": --awq: scaling is not known to be exact for the family '" +
                    model.traits.architecture + "' (for " + known + " it is): leave --awq away",
                "awq");
  }
  return Scaler(model, types, importance, threads).run(progress);
}

}  // namespace nacelle::compress
