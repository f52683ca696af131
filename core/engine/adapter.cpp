// A weight is an expression over the file's tensors; a change of these goes the same way: of an [.., N, K] weight, what
// happens to its rows happens to B's, what happens to its columns to A's. An adapter in the other format goes by the
// expression that the architecture has for that one, resolved as if the adapter's pairs were the file's tensors. Of
// experts one matrix is fitted after the other, see expert_pairs.hpp.
#include "core/engine/adapter.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <set>

#include "core/base/error.hpp"
#include "core/engine/adapter_checks.hpp"
#include "core/engine/expert_pairs.hpp"
#include "core/formats/file_error.hpp"
#include "core/plugin_host/sha256.hpp"
#include "sdk/runtime/packed_weights.hpp"

namespace nacelle {
namespace {

// B A, in the shape of an expression's node: B has its rows, A its columns. Or, all of a weight's experts one after the
// other.
struct LowRank {
  std::uint64_t rank = 0;
  std::vector<float> a, b;
};

std::uint64_t columns_of(const sdk::WeightNode& node) { return static_cast<std::uint64_t>(node.shape.back()); }

class Fitter {
 public:
  // `own`: the file names the tensors of the model's format. `targets`: all of the graph's.
  Fitter(AdapterFile& file, bool own, const std::vector<AdapterTarget>& targets) : file_(file), own_(own) {
    for (const LowRankChange& change : file.changes) add(change, change.of_embedding ? of_embedding_ : of_matrix_);
    find_order(targets);
  }

  // What the file changes in the weight; nothing where it changes none of its tensors.
  std::optional<LowRank> fit(const AdapterTarget& target) {
    pairs_ = target.place == AdapterPlace::kEmbedding ? &of_embedding_ : &of_matrix_;
    if (own_) {
      auto pair = fit_target(target, target.source->value);
      if (pair || (target.place == AdapterPlace::kLayer && !of_experts(target))) return pair;
    }
    // A head that is the embedding may go by a name of its own, and experts may be stored in several ways.
    const sdk::KeptExpr* declared = declared_of(target);
    if (!declared) return std::nullopt;
    sdk::WeightNode node;
    try {
      node = sdk::resolve_weight(declared->get(), target.layer, changed_tensors());
    } catch (const sdk::Failure& failure) {
      if (failure.status() == NACELLE_NOT_FOUND) return fit_module(target);
      throw Error(ErrorKind::kUnsupported,
                  file_.path.string() + ": does not fit weight " + in_quotes(target.weight) + ": " + failure.what(),
                  "lora_path");
    }
    if (node.shape != target.shape) fail_shape(leaf_of(node), target.shape, node.shape);
    return fit_target(target, node);
  }

  // Whether it has found its weight.
  bool used(const LowRankChange& change) const { return used_.contains(&change); }
  bool used(const ExpertsChange& change) const { return used_.contains(&change); }

  [[noreturn]] void fail(const std::string& tensor, const std::string& what) const {
    refuse_tensor(file_, tensor, what);
  }

 private:
  using Pairs = std::map<std::string, const LowRankChange*, std::less<>>;  // by tensor, or expert of one

  static bool of_experts(const AdapterTarget& target) { return target.shape.size() == 3; }

  static void add(const LowRankChange& change, Pairs& pairs) {
    pairs[change.experts ? expert_name(change.tensor, change.expert) : change.tensor] = &change;
  }

  // The expression over tensors of the adapter's format.
  const sdk::KeptExpr* declared_of(const AdapterTarget& target) const {
    return (own_ ? target.source->declared : target.source->other).get();
  }

  std::optional<LowRank> fit_target(const AdapterTarget& target, const sdk::WeightNode& node) {
    return of_experts(target) ? fit_experts(target, node) : fit(node);
  }

  // An expert that the adapter leaves alone has zeros, as one has beyond its rank.
  std::optional<LowRank> fit_experts(const AdapterTarget& target, const sdk::WeightNode& node) {
    const auto experts = static_cast<std::uint32_t>(target.shape[0]);
    const auto rows = static_cast<std::uint64_t>(target.shape[1]),
               columns = static_cast<std::uint64_t>(target.shape[2]);
    std::vector<std::optional<LowRank>> parts;
    LowRank whole;
    for (std::uint32_t expert = 0; expert < experts; ++expert) {
      const auto one = expert_node(node, expert);
      if (!one && is_changed(node)) refuse_form(node);
      if (!one) return std::nullopt;
      parts.push_back(fit(*one));
      if (parts.back()) whole.rank = std::max(whole.rank, parts.back()->rank);
    }
    if (whole.rank == 0) return std::nullopt;
    whole.a.assign(experts * whole.rank * columns, 0.0f);
    whole.b.assign(experts * whole.rank * rows, 0.0f);
    for (std::uint32_t expert = 0; expert < experts; ++expert) {
      if (!parts[expert]) continue;
      const LowRank& part = *parts[expert];
      std::ranges::copy(part.a, whole.a.begin() + static_cast<std::ptrdiff_t>(expert * whole.rank * columns));
      for (std::uint64_t row = 0; row < rows; ++row)
        std::copy_n(part.b.begin() + static_cast<std::ptrdiff_t>(row * part.rank), part.rank,
                    whole.b.begin() + static_cast<std::ptrdiff_t>((expert * rows + row) * whole.rank));
    }
    return whole;
  }

  bool is_changed(const sdk::WeightNode& node) const {
    return find(node.tensor) || find(expert_name(node.tensor, 0)) ||
           std::ranges::any_of(node.inputs, [this](const sdk::WeightNode& input) { return is_changed(input); });
  }

  // ---- Pairs of a whole module of experts: which tensor of it they change, its shape tells.

  // The target as made of the tensor, of this module, that the pairs fit; nothing where they fit none. `name` is its.
  std::optional<sdk::WeightNode> resolve_module(const AdapterTarget& target, const ExpertsChange& change, bool a_first,
                                                std::string& name) const {
    const sdk::KeptExpr* declared = of_experts(target) ? declared_of(target) : nullptr;
    if (!declared) return std::nullopt;
    const auto a = static_cast<std::int64_t>(change.a_width), b = static_cast<std::int64_t>(change.b_width);
    const auto lookup = [&](std::string_view tensor, nacelle_type* type, std::uint32_t* rank, std::int64_t* shape) {
      if (tensor.substr(0, tensor.rfind('.')) != change.module) return false;
      name = tensor;
      *type = NACELLE_TYPE_F32;
      *rank = 3;
      std::ranges::copy(std::initializer_list<std::int64_t>{target.shape[0], a_first ? a : b, a_first ? b : a}, shape);
      return true;
    };
    try {
      auto node = sdk::resolve_weight(declared->get(), target.layer, lookup);
      if (node.shape == target.shape && keeps_rows(node)) return node;
    } catch (const sdk::Failure&) {
    }
    return std::nullopt;
  }

  // PEFT has A along a tensor's middle axis or along its last, by its version and the model: all tensors alike, and one
  // that is not square tells.
  void find_order(const std::vector<AdapterTarget>& targets) {
    std::string name;
    for (const ExpertsChange& change : file_.experts)
      for (const AdapterTarget& target : targets)
        for (const bool a_first : {false, true})
          if (change.a_width != change.b_width && resolve_module(target, change, a_first, name)) {
            a_first_ = a_first;
            return;
          }
  }

  std::optional<LowRank> fit_module(const AdapterTarget& target) {
    for (const ExpertsChange& change : file_.experts) {
      std::string name;
      const auto node = resolve_module(target, change, a_first_.value_or(false), name);
      if (!node) continue;
      if (!a_first_)
        fail(change.name,
             fmt::format("of [{}, ..] and [{}, ..]: can be read in two ways; expected pairs of the experts' "
                         "other matrices, which tell, beside it",
                         change.a_width, change.b_width));
      const auto experts = static_cast<std::uint32_t>(target.shape[0]);
      if (change.lines % experts)
        fail(change.name,
             fmt::format("has {} rows, expected a rank for each of the model's {} experts", change.lines, experts));
      std::vector<LowRankChange> changes(experts);
      Pairs pairs;
      for (std::uint32_t expert = 0; expert < experts; ++expert) {
        changes[expert] = expert_change(change, expert, experts, *a_first_);
        changes[expert].tensor = name;
        changes[expert].scale = file_.scale(name, static_cast<std::uint32_t>(change.lines / experts));
        add(changes[expert], pairs);
      }
      used_.insert(&change);
      const Pairs* const all = std::exchange(pairs_, &pairs);
      auto fitted = fit_experts(target, *node);
      pairs_ = all;
      return fitted;
    }
    return std::nullopt;
  }

  // ---- One matrix

  std::optional<LowRank> fit(const sdk::WeightNode& node) {
    if (sdk::is_packed(node)) return change(node.tensor, node.shape);
    switch (node.kind) {
      case NACELLE_EXPR_TENSOR: return tensor(node);
      case NACELLE_EXPR_CONCAT: return concat(node);
      case NACELLE_EXPR_SLICE: return slice(node);
      case NACELLE_EXPR_RESHAPE: return reshape(node);
      case NACELLE_EXPR_PERMUTE: return permute(node);
      case NACELLE_EXPR_SCALE: return scaled(node);
      default: return node.inputs.empty() ? std::nullopt : fit(node.inputs[0]);  // what is added stays as it is
    }
  }

  // Types and shapes that the changed tensors have in a file.
  sdk::TensorLookup changed_tensors() const {
    return [this](std::string_view name, nacelle_type* type, std::uint32_t* rank, std::int64_t* shape) {
      *type = NACELLE_TYPE_F32;
      *rank = 2;
      const LowRankChange* change = find(name);
      if (!change && (change = find(expert_name(name, 0)))) {
        *rank = 3;
        *shape++ = change->experts;
      }
      if (!change) change = neighbour(name);
      if (change) std::ranges::copy(shape_of(*change), shape);
      return change != nullptr;
    };
  }

  const LowRankChange* find(std::string_view tensor) const {
    const auto found = pairs_->find(tensor);
    return found == pairs_->end() ? nullptr : found->second;
  }

  // Another expert's, where the adapter leaves "X.experts.3.Y" alone.
  const LowRankChange* neighbour(std::string_view tensor) const {
    constexpr std::string_view kExperts = ".experts.";
    const std::size_t at = tensor.find(kExperts);
    const std::size_t end = at == tensor.npos ? at : tensor.find('.', at + kExperts.size());
    if (end == tensor.npos) return nullptr;
    const std::string_view before = tensor.substr(0, at + kExperts.size()), behind = tensor.substr(end);
    for (auto pair = pairs_->lower_bound(before); pair != pairs_->end() && pair->first.starts_with(before); ++pair)
      if (pair->first.ends_with(behind)) return pair->second;
    return nullptr;
  }

  static std::vector<std::int64_t> shape_of(const LowRankChange& change) {
    return {static_cast<std::int64_t>(change.rows), static_cast<std::int64_t>(change.columns)};
  }

  std::optional<LowRank> tensor(const sdk::WeightNode& node) { return change(node.tensor, node.shape); }

  // The file has the parts of a quantised matrix, the adapter the name of the whole.
  std::optional<LowRank> change(const std::string& name, const std::vector<std::int64_t>& shape) {
    const LowRankChange* found = find(name);
    if (!found) return std::nullopt;
    const LowRankChange& change = *found;
    if (shape != shape_of(change)) fail_shape(name, shape, shape_of(change));
    used_.insert(&change);
    LowRank pair{change.rank, change.a, change.b};
    for (float& value : pair.b) value *= change.scale;
    return pair;
  }

  // The parts side by side: ranks add up, and each part's rows (or columns) know only its own.
  std::optional<LowRank> concat(const sdk::WeightNode& node) {
    std::vector<std::optional<LowRank>> parts;
    LowRank whole;
    for (const sdk::WeightNode& input : node.inputs) {
      parts.push_back(fit(input));
      if (parts.back()) whole.rank += parts.back()->rank;
    }
    if (whole.rank == 0) return std::nullopt;
    const std::uint64_t columns = columns_of(node);
    const bool of_columns = node.axis + 1 == node.shape.size();
    if (node.axis == 0 && !of_columns && of_one_matrix(parts)) {
      LowRank together{parts[0]->rank, std::move(parts[0]->a), {}};
      for (const auto& part : parts) together.b.insert(together.b.end(), part->b.begin(), part->b.end());
      return together;
    }
    whole.a.assign(whole.rank * columns, 0.0f);
    whole.b.assign(node.row_count() * whole.rank, 0.0f);
    std::uint64_t first_rank = 0, first = 0;  // of the part, along the rank and along the axis
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const sdk::WeightNode& input = node.inputs[i];
      if (parts[i]) place(node, input, *parts[i], of_columns, first, first_rank, whole);
      if (parts[i]) first_rank += parts[i]->rank;
      first += static_cast<std::uint64_t>(input.shape[node.axis]);
    }
    return whole;
  }

  // Rows of one matrix, in another order: they share its A, and the rank stays.
  static bool of_one_matrix(const std::vector<std::optional<LowRank>>& parts) {
    return std::ranges::all_of(
        parts, [&](const auto& part) { return part && part->rank == parts[0]->rank && part->a == parts[0]->a; });
  }

  static void place(const sdk::WeightNode& node, const sdk::WeightNode& input, const LowRank& part, bool of_columns,
                    std::uint64_t first, std::uint64_t first_rank, LowRank& whole) {
    const std::uint64_t columns = columns_of(node), own = columns_of(input);
    for (std::uint64_t r = 0; r < part.rank; ++r)
      std::copy_n(part.a.begin() + static_cast<std::ptrdiff_t>(r * own), own,
                  whole.a.begin() + static_cast<std::ptrdiff_t>((first_rank + r) * columns + (of_columns ? first : 0)));
    // Rows of the whole behind those of the part: in runs of the axes from `axis` on.
    std::uint64_t inner = 1, outer = 1;
    for (std::size_t i = 0; i + 1 < node.shape.size(); ++i)
      (i < node.axis ? outer : inner) *= static_cast<std::uint64_t>(input.shape[i]);
    const std::uint64_t whole_run = node.row_count() / outer;
    const std::uint64_t begin = of_columns ? 0 : first * (inner / static_cast<std::uint64_t>(input.shape[node.axis]));
    for (std::uint64_t o = 0; o < outer; ++o)
      for (std::uint64_t i = 0; i < inner; ++i)
        std::copy_n(
            part.b.begin() + static_cast<std::ptrdiff_t>((o * inner + i) * part.rank), part.rank,
            whole.b.begin() + static_cast<std::ptrdiff_t>((o * whole_run + begin + i) * whole.rank + first_rank));
  }

  std::optional<LowRank> slice(const sdk::WeightNode& node) {
    const sdk::WeightNode& input = node.inputs[0];
    auto from = fit(input);
    if (!from) return from;
    LowRank part{from->rank, {}, {}};
    const auto begin = static_cast<std::uint64_t>(node.begin);
    if (node.axis + 1 == node.shape.size()) {
      for (std::uint64_t r = 0; r < part.rank; ++r) {
        const auto row = from->a.begin() + static_cast<std::ptrdiff_t>(r * columns_of(input) + begin);
        part.a.insert(part.a.end(), row, row + static_cast<std::ptrdiff_t>(columns_of(node)));
      }
      part.b = std::move(from->b);
      return part;
    }
    part.a = std::move(from->a);
    std::uint64_t outer = 1;
    for (std::uint32_t i = 0; i < node.axis; ++i) outer *= static_cast<std::uint64_t>(node.shape[i]);
    const std::uint64_t run = node.row_count() / outer * part.rank, input_run = input.row_count() / outer * part.rank;
    const std::uint64_t skip = begin * (input_run / static_cast<std::uint64_t>(input.shape[node.axis]));
    for (std::uint64_t o = 0; o < outer; ++o) {
      const auto row = from->b.begin() + static_cast<std::ptrdiff_t>(o * input_run + skip);
      part.b.insert(part.b.end(), row, row + static_cast<std::ptrdiff_t>(run));
    }
    return part;
  }

  std::optional<LowRank> reshape(const sdk::WeightNode& node) {
    if (moves_columns(node)) return with_moved_columns(node);
    auto from = fit(node.inputs[0]);
    if (from && columns_of(node) != columns_of(node.inputs[0])) refuse_form(node);
    return from;
  }

  // The columns of a matrix cut into axes, these in another order, and put together again.
  static bool moves_columns(const sdk::WeightNode& node) {
    const sdk::WeightNode& turned = node.inputs[0];
    if (turned.kind != NACELLE_EXPR_PERMUTE || turned.order[0] != 0) return false;
    const sdk::WeightNode& apart = turned.inputs[0];
    return apart.kind == NACELLE_EXPR_RESHAPE && node.shape.size() == 2 && apart.inputs[0].shape == node.shape &&
           apart.shape[0] == node.shape[0];
  }

  std::optional<LowRank> with_moved_columns(const sdk::WeightNode& node) {
    const sdk::WeightNode &turned = node.inputs[0], &apart = turned.inputs[0];
    auto from = fit(apart.inputs[0]);
    if (!from) return from;
    const std::uint64_t columns = columns_of(node);
    LowRank moved{from->rank, std::vector<float>(from->a.size()), std::move(from->b)};
    std::vector<std::uint64_t> place(turned.shape.size(), 0);  // along the axes of `apart`
    for (std::uint64_t column = 0; column < columns; ++column) {
      std::uint64_t rest = column, at = 0;
      for (std::size_t i = turned.shape.size(); i-- > 1;) {
        place[turned.order[i]] = rest % static_cast<std::uint64_t>(turned.shape[i]);
        rest /= static_cast<std::uint64_t>(turned.shape[i]);
      }
      for (std::size_t i = 1; i < place.size(); ++i) at = at * static_cast<std::uint64_t>(apart.shape[i]) + place[i];
      for (std::uint32_t r = 0; r < moved.rank; ++r) moved.a[r * columns + column] = from->a[r * columns + at];
    }
    return moved;
  }

  std::optional<LowRank> permute(const sdk::WeightNode& node) {
    const sdk::WeightNode& input = node.inputs[0];
    auto from = fit(input);
    if (!from) return from;
    const std::size_t rank = node.shape.size();
    if (rank == 2 && node.order[0] == 1) {  // (B A)^T = A^T B^T
      LowRank turned{from->rank, {}, {}};
      turned.a = turn(from->b, input.row_count(), from->rank);
      turned.b = turn(from->a, from->rank, columns_of(input));
      return turned;
    }
    if (node.order.back() + 1 != rank) refuse_form(node);
    LowRank moved{from->rank, std::move(from->a), {}};
    moved.b.reserve(from->b.size());
    std::vector<std::uint64_t> place(rank - 1, 0);  // along the input's axes
    for (std::uint64_t row = 0; row < node.row_count(); ++row) {
      std::uint64_t rest = row, at = 0;
      for (std::size_t i = rank - 1; i-- > 0;) {
        place[node.order[i]] = rest % static_cast<std::uint64_t>(node.shape[i]);
        rest /= static_cast<std::uint64_t>(node.shape[i]);
      }
      for (std::size_t i = 0; i + 1 < rank; ++i) at = at * static_cast<std::uint64_t>(input.shape[i]) + place[i];
      const auto b = from->b.begin() + static_cast<std::ptrdiff_t>(at * moved.rank);
      moved.b.insert(moved.b.end(), b, b + static_cast<std::ptrdiff_t>(moved.rank));
    }
    return moved;
  }

  std::optional<LowRank> scaled(const sdk::WeightNode& node) {
    auto from = fit(node.inputs[0]);
    if (from)
      for (float& value : from->b) value *= static_cast<float>(node.constant);
    return from;
  }

  static std::vector<float> turn(const std::vector<float>& matrix, std::uint64_t rows, std::uint64_t columns) {
    std::vector<float> result(matrix.size());
    for (std::uint64_t r = 0; r < rows; ++r)
      for (std::uint64_t c = 0; c < columns; ++c) result[c * rows + r] = matrix[r * columns + c];
    return result;
  }

  static const std::string& leaf_of(const sdk::WeightNode& node) {
    const sdk::WeightNode* leaf = &node;
    while (!leaf->inputs.empty()) leaf = &leaf->inputs[0];
    return leaf->tensor;
  }

  [[noreturn]] void fail_shape(const std::string& name, const std::vector<std::int64_t>& expected,
                               const std::vector<std::int64_t>& found) const {
    fail(name, fmt::format("expected a pair for the model's {}, found one for {}", text_of_shape(expected),
                           text_of_shape(found)));
  }

  [[noreturn]] void refuse_form(const sdk::WeightNode& node) const {
    fail(leaf_of(node), "the model takes it apart in a way that no low-rank pair can follow");
  }

  AdapterFile& file_;
  bool own_;
  Pairs of_matrix_, of_embedding_;
  const Pairs* pairs_ = nullptr;  // those of the target at hand
  std::set<const void*> used_;    // changes
  std::optional<bool> a_first_;   // see find_order
};

// Every change must have found its weight.
void check_used(const Fitter& fitter, const AdapterFile& file, const ModelFiles& model) {
  for (const LowRankChange& change : file.changes) {
    if (fitter.used(change)) continue;
    if (model.tensor(change.tensor))
      fitter.fail(change.tensor,
                  "the model does not multiply by it in a layer or as its head; expected a projection of attention or "
                  "feed-forward, the embedding or the head");
    fitter.fail(change.tensor, file.format == model.format()
                                   ? "the model " + model.title() + " has no such tensor"
                                   : "no weight of the model " + model.title() + " is made of it");
  }
  for (const ExpertsChange& change : file.experts)
    if (!fitter.used(change))
      fitter.fail(change.name, fmt::format("its pair, of widths {} and {}, fits no weight of experts in the model {}",
                                           change.a_width, change.b_width, model.title()));
}

std::string hash_of(const Adapter& adapter) {
  std::string digests;
  const auto add = [&](const void* data, std::size_t size) {
    digests += sha256(std::string_view(static_cast<const char*>(data), size));
  };
  const auto add_pair = [&](const AdapterPart& part) {
    add(part.weight.data(), part.weight.size());
    add(part.a.data(), part.a.size() * sizeof(float));
    add(part.b.data(), part.b.size() * sizeof(float));
  };
  for (const AdapterPart& part : adapter.parts) add_pair(part);
  for (const auto* part : {&adapter.head, &adapter.embedding}) {
    digests += *part ? '+' : '-';
    if (*part) add_pair(**part);
  }
  return sha256(digests);
}

// Slots are as wide as max_rank; what the host applies has none.
void add_part(Adapter& adapter, const AdapterTarget& target, LowRank pair, std::uint32_t max_rank) {
  if (!target.ready) {
    const bool embedding = target.place == AdapterPlace::kEmbedding;
    throw Error(ErrorKind::kInvalidArgument,
                fmt::format("{}: changes {} (weight {}), for which the model was loaded without room: start with {}",
                            adapter.path.string(), embedding ? "the embedding of tokens" : "a mixture's experts",
                            in_quotes(target.weight), embedding ? "--lora-embeddings" : "--lora-experts"),
                "lora_path");
  }
  if (target.place == AdapterPlace::kLayer && pair.rank > max_rank)
    throw Error(ErrorKind::kInvalidArgument,
                fmt::format("{}: weight {}: expected a rank of {} at most, found {}; raise --max-lora-rank",
                            adapter.path.string(), in_quotes(target.weight), max_rank, pair.rank),
                "lora_path");
  const auto rank = static_cast<std::uint32_t>(pair.rank);
  adapter.rank = std::max(adapter.rank, rank);
  for (float& value : pair.b) value *= target.scale;
  AdapterPart part{target.weight, rank, std::move(pair.a), std::move(pair.b)};
  if (target.place == AdapterPlace::kLayer) return adapter.parts.push_back(std::move(part));
  if (target.place == AdapterPlace::kEmbedding) return void(adapter.embedding = std::move(part));
  adapter.head = std::move(part);
  adapter.head_soft_cap = target.soft_cap;
}

}  // namespace

AdapterPtr fit_adapter(std::string name, AdapterFile file, const std::vector<AdapterTarget>& targets,
                       const ModelFiles& model, std::uint32_t max_rank) {
  check_family(file, model, targets);
  Fitter fitter(file, file.format == model.format(), targets);
  auto adapter = std::make_shared<Adapter>();
  adapter->name = std::move(name);
  adapter->path = file.path;
  check_saved_tensors(file, model, targets);
  for (const AdapterTarget& target : targets)
    if (auto pair = fitter.fit(target)) add_part(*adapter, target, *std::move(pair), max_rank);
  check_used(fitter, file, model);
  adapter->hash = hash_of(*adapter);
  return adapter;
}

}  // namespace nacelle
