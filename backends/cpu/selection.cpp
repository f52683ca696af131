// Cases of a graph, and the choice for each: pin, cached verdict, static cost.
#include "backends/cpu/selection.hpp"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <nacelle/build_id.hpp>
#include <nacelle/types.hpp>
#include <thread>
#include <tuple>
#include <utility>

#include "backends/cpu/packing.hpp"

namespace nacelle::cpu {
namespace {

sdk::TuningScope scope_of(const sdk::Host& host, IsaSet usable) {
  std::string levels;
  for (const Isa isa : kAllIsas)
    if (usable.has(isa)) levels += std::string(" ") + to_string(isa);
  const std::string cores = std::to_string(std::thread::hardware_concurrency());
  return {"cpu", sdk::build_id(), processor_name() + "," + levels + ", " + cores + " cores", host.team_size()};
}

[[noreturn]] void refuse(std::string_view pin, const std::string& why) {
  throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "cpu: kernel '" + std::string(pin) + "': " + why);
}

// "q8_0" -> its id.
nacelle_type find_type(std::string_view name) {
  for (const TypeInfo& info : kTypes)
    if (type_name(info.type) == name) return info.type;
  return NACELLE_TYPE_INVALID;
}

const MatmulVariant* parse_pin(std::string_view pin, IsaSet usable) {
  constexpr std::string_view kOp = "matmul.";
  const auto equals = pin.find('=');
  if (equals == std::string_view::npos || !pin.starts_with(kOp))
    refuse(pin, "expected matmul.TYPE=VARIANT, as in matmul.q8_0=NAME; `nacelle kernels` lists the names");
  const nacelle_type type = find_type(pin.substr(kOp.size(), equals - kOp.size()));
  const MatmulVariant* found = nullptr;
  std::string known;
  for_matmul_variants(type, [&](const MatmulVariant& variant) {
    if (variant.name == pin.substr(equals + 1)) found = &variant;
    if (usable.has(variant.isa)) known += (known.empty() ? "" : ", ") + std::string(variant.name);
  });
  if (known.empty()) refuse(pin, "there is no kernel for weights of that type");
  if (!found) refuse(pin, "there is no such variant; expected one of " + known);
  if (!usable.has(found->isa))
    refuse(pin, std::string("it needs ") + to_string(found->isa) + ", which " +
                    (!detect_isa().has(found->isa) ? "this processor does not offer" : "--isa-cap forbids") +
                    "; expected one of " + known);
  return found;
}

}  // namespace

std::string type_name(nacelle_type type) {
  const TypeInfo* info = type_info(type);
  std::string name = info ? info->name : "unknown";
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return name;
}

Pins::Pins(std::string_view text, IsaSet usable) {
  while (!text.empty()) {
    const std::string_view pin = text.substr(0, text.find(';'));
    text.remove_prefix(std::min(text.size(), pin.size() + 1));
    if (pin.empty()) continue;
    const MatmulVariant* variant = parse_pin(pin, usable);
    if (find(variant->weight)) refuse(pin, "weights of that type have a pin already");
    variants_.push_back(variant);
  }
}

const MatmulVariant* Pins::find(nacelle_type type) const {
  for (const MatmulVariant* variant : variants_)
    if (variant->weight == type) return variant;
  return nullptr;
}

std::string MatmulCase::op() const { return experts > 1 ? "moe_matmul" : "matmul"; }

std::string MatmulCase::pattern() const {
  const std::string mixture = " E=" + std::to_string(experts) + "/" + std::to_string(used);
  return type_name(type) + (experts > 1 ? mixture : "") + " N=" + std::to_string(n) + " K=" + std::to_string(k);
}

Load MatmulCase::load(std::uint32_t rows) const {
  constexpr std::uint32_t kMostExperts = 8;
  const std::uint32_t pairs = rows * used, busy = std::min(experts, pairs);
  return {std::min(busy, kMostExperts), (pairs + busy - 1) / busy};
}

namespace {

// Virtual machines report their host's whole cache; what two cores really reach of it is no more than this.
constexpr std::uint64_t kMostCache = 96u << 20, kLeastCache = 8u << 20;

// Of all matrices of a graph, once packed.
std::uint64_t packed_bytes(const nacelle_graph& graph) {
  std::uint64_t bytes = 0;
  for (std::uint32_t w = 0; w < graph.weight_count; ++w) {
    const nacelle_value& value = *graph.values[graph.weights[w]->value];
    if (value.rank < 2) continue;
    std::uint64_t rows = 1;
    for (std::uint32_t d = 0; d + 1 < value.rank; ++d) rows *= static_cast<std::uint64_t>(value.shape[d]);
    bytes +=
        packed_groups(rows) * packed_group_bytes(value.type, static_cast<std::uint64_t>(value.shape[value.rank - 1]));
  }
  return bytes;
}

}  // namespace

std::uint64_t cache_bytes() {
  const long level3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return std::clamp<std::uint64_t>(level3 > 0 ? static_cast<std::uint64_t>(level3) : 0, kLeastCache, kMostCache);
}

Selection::Selection(const sdk::Host& host, IsaSet usable, const nacelle_graph& graph,
                     std::span<const nacelle_bucket> buckets, std::string_view pins)
    : usable_(usable),
      from_memory_(packed_bytes(graph) > cache_bytes()),
      pins_(pins, usable),
      cache_(host, scope_of(host, usable)),
      uses_(graph.weight_count) {
  find_cases(graph, buckets);
  choices_.resize(cases_.size());
  for (std::size_t i = 0; i < cases_.size(); ++i)
    for (std::uint32_t rows = 0; rows < sdk::kRowBucketCount; ++rows) {
      const nacelle_type type = cases_[i].type;
      Choice& choice = choices_[i][rows];
      choice.variant = prior(type, rows);
      if (pinned(type)) choice.by = NACELLE_CHOSEN_BY_PIN;
      if (!choice.variant || cases_[i].most_rows[rows] == 0) continue;
      choice.verdict = cache_.get(
          key(i, rows), [&](const sdk::Measurement& winner) { return find_winner(type, rows, winner) != nullptr; });
      if (!choice.verdict || pinned(type)) continue;
      choice.variant = find_winner(type, rows, choice.verdict->measured.front());
      choice.by = NACELLE_CHOSEN_BY_MEASUREMENT;
    }
}

void Selection::tell() const {
  for (std::size_t i = 0; i < cases_.size(); ++i)
    for (std::uint32_t rows = 0; rows < sdk::kRowBucketCount; ++rows)
      if (cases_[i].most_rows[rows] && choices_[i][rows].variant && !choices_[i][rows].verdict) return cache_.tell();
}

// Groups weights by the input that they share, then equal groups of all layers.
void Selection::find_cases(const nacelle_graph& graph, std::span<const nacelle_bucket> buckets) {
  // By input, type, experts and how many of them a row takes.
  using Shared = std::tuple<std::uint32_t, nacelle_type, std::uint32_t, std::uint32_t>;
  std::map<Shared, std::vector<std::uint32_t>> steps;
  for (std::uint32_t i = 0; i < graph.op_count; ++i) {
    const nacelle_op& op = *graph.ops[i];
    if (op.kind != NACELLE_OP_MATMUL && op.kind != NACELLE_OP_MOE_MATMUL) continue;
    std::uint32_t experts = 1, used = 1;
    if (op.kind == NACELLE_OP_MOE_MATMUL) {
      const auto moe = sdk::load(static_cast<const nacelle_moe_attributes*>(op.attributes));
      experts = moe.expert_count;
      used = moe.used_count;
    }
    const nacelle_value& value = *graph.values[op.inputs[1]];
    Use& use = uses_[value.weight];
    if (use.index != kNoCase) continue;  // of a weight with several uses the first counts
    use.index = 0;
    use.of_outputs = graph.values[op.inputs[0]]->shape[0] == NACELLE_DIM_OUTPUT_ROWS;
    steps[{op.inputs[0], value.type, experts, used}].push_back(value.weight);
  }
  std::map<std::string, std::uint32_t> known;
  for (const auto& [shared, weights] : steps) {
    const auto [input, type, experts, used] = shared;
    std::uint64_t n = 0, k = 0;
    for (const std::uint32_t weight : weights) {
      const nacelle_value& value = *graph.values[graph.weights[weight]->value];
      n += static_cast<std::uint64_t>(value.shape[value.rank - 2]);
      k = static_cast<std::uint64_t>(value.shape[value.rank - 1]);
    }
    MatmulCase found{type, n, k, experts, used, {}, {}};
    const auto [entry, is_new] = known.try_emplace(found.pattern(), static_cast<std::uint32_t>(cases_.size()));
    if (is_new) cases_.push_back(std::move(found));
    MatmulCase& of = cases_[entry->second];
    of.layers.push_back(weights);
    for (const std::uint32_t weight : weights) uses_[weight].index = entry->second;
    for (const nacelle_bucket& bucket : buckets) {
      std::uint32_t& most = of.most_rows[rows_of(weights[0], bucket)];
      most = std::max(most, uses_[weights[0]].of_outputs ? bucket.output_rows : bucket.rows);
    }
  }
}

std::uint32_t Selection::rows_of(std::uint32_t weight, const nacelle_bucket& bucket) const {
  return sdk::row_bucket(uses_[weight].of_outputs ? bucket.output_rows : bucket.rows);
}

const MatmulVariant* Selection::variant(std::uint32_t weight, nacelle_type type, std::uint32_t rows) const {
  const std::uint32_t index = uses_[weight].index;
  return index == kNoCase ? prior(type, rows) : choices_[index][rows].variant;
}

const MatmulVariant* Selection::prior(nacelle_type type, std::uint32_t rows) const {
  const MatmulVariant* pin = pins_.find(type);
  return pin ? pin : choose_matmul(type, usable_, {}, rows == 0, from_memory_);
}

std::vector<const MatmulVariant*> Selection::candidates(nacelle_type type, std::uint32_t rows) const {
  std::vector<const MatmulVariant*> found;
  const MatmulVariant* best = prior(type, rows);
  if (!best) return found;
  for_matmul_variants(type, [&](const MatmulVariant& variant) {
    if (usable_.has(variant.isa) && variant.numerics == std::string_view(best->numerics) &&
        (differs(variant, rows) || &variant == best))
      found.push_back(&variant);
  });
  std::stable_sort(found.begin(), found.end(), [&](const MatmulVariant* a, const MatmulVariant* b) {
    return cost_on(usable_, *a, rows == 0) < cost_on(usable_, *b, rows == 0);
  });
  return found;
}

// The candidate that a measurement is about; nullptr where this build has none such.
const MatmulVariant* Selection::find_winner(nacelle_type type, std::uint32_t rows,
                                            const sdk::Measurement& winner) const {
  for (const MatmulVariant* variant : candidates(type, rows))
    if (variant->name == winner.variant && variant->revision == winner.revision) return variant;
  return nullptr;
}

sdk::TuningCase Selection::key(std::size_t index, std::uint32_t rows) const {
  const MatmulCase& of = cases_[index];
  // A mixture's load depends on how many experts there are.
  const std::string op =
      of.experts > 1 ? of.op() + " " + std::to_string(of.used) + " of " + std::to_string(of.experts) : of.op();
  return {op, type_name(of.type) + " " + prior(of.type, rows)->numerics, of.n, of.k, rows};
}

bool Selection::decide(std::size_t index, std::uint32_t rows, sdk::Verdict verdict) {
  const nacelle_type type = cases_[index].type;
  const MatmulVariant* winner = find_winner(type, rows, verdict.measured.front());
  if (!winner) return false;
  const bool kept = cache_.put(key(index, rows), verdict);
  Choice& choice = choices_[index][rows];
  if (!pinned(type)) {
    choice.variant = winner;
    choice.by = NACELLE_CHOSEN_BY_MEASUREMENT;
  }
  choice.verdict = std::move(verdict);
  return kept;
}

}  // namespace nacelle::cpu
