// Mixtures of experts: each row's experts are chosen here, rows are sorted by expert, and each expert's rows run
// through the matmul kernels together. An expert without rows is not read.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "backends/cpu/compiler.hpp"

namespace nacelle::cpu {
namespace {

// ---- Choosing

// Of `count` values the index of the largest that is not taken, the smallest of equals; NaN is never preferred.
std::uint32_t best_of(const double* values, const bool* taken, std::uint32_t count) {
  std::uint32_t best = count;
  for (std::uint32_t i = 0; i < count; ++i)
    if (!taken[i] && (best == count || values[i] > values[best] || std::isnan(values[best]))) best = i;
  return best;
}

void softmax(double* values, std::uint32_t count) {
  const double top = *std::max_element(values, values + count);
  double sum = 0;
  for (std::uint32_t i = 0; i < count; ++i) sum += values[i] = std::exp(values[i] - top);
  for (std::uint32_t i = 0; i < count; ++i) values[i] /= sum;
}

// MOE_ROUTE of one row. In float64: it is little work, and a tie that rounding makes would choose another expert.
class Router {
 public:
  explicit Router(const nacelle_moe_attributes& moe) : moe_(moe) {}

  std::uint64_t scratch_bytes() const {
    return (2 * moe_.expert_count + moe_.group_count + moe_.used_count) * sizeof(double) + moe_.expert_count +
           moe_.group_count;
  }

  void run(const float* scores, const float* bias, std::byte* scratch, std::uint32_t* experts, float* weights) const {
    const std::uint32_t count = moe_.expert_count, used = moe_.used_count;
    double* p = reinterpret_cast<double*>(scratch);
    double* choice = p + count;
    double* chosen = choice + count;
    double* worth = chosen + used;
    bool* taken = reinterpret_cast<bool*>(worth + moe_.group_count);
    std::copy_n(scores, count, p);
    if (moe_.routing == NACELLE_ROUTE_SOFTMAX_THEN_TOP) softmax(p, count);
    if (moe_.routing == NACELLE_ROUTE_SIGMOID)
      for (std::uint32_t e = 0; e < count; ++e) p[e] = 1 / (1 + std::exp(-p[e]));
    for (std::uint32_t e = 0; e < count; ++e) choice[e] = bias ? p[e] + bias[e] : p[e];
    std::fill_n(taken, count, false);
    if (moe_.group_count) leave_groups(choice, worth, taken);
    for (std::uint32_t i = 0; i < used; ++i) {
      experts[i] = best_of(choice, taken, count);
      taken[experts[i]] = true;
      chosen[i] = p[experts[i]];
    }
    if (moe_.routing == NACELLE_ROUTE_TOP_THEN_SOFTMAX) softmax(chosen, used);
    double sum = 0;
    for (std::uint32_t i = 0; i < used; ++i) sum += chosen[i];
    const double divisor = moe_.renormalise && sum > 0 ? sum : 1;
    for (std::uint32_t i = 0; i < used; ++i) weights[i] = static_cast<float>(chosen[i] / divisor * moe_.scale);
  }

 private:
  // Takes the experts of all but the best groups. What a group is worth: see the reference.
  void leave_groups(const double* choice, double* worth, bool* taken) const {
    const std::uint32_t size = moe_.expert_count / moe_.group_count;
    for (std::uint32_t g = 0; g < moe_.group_count; ++g) {
      const double* members = choice + g * size;
      const std::uint32_t first = best_of(members, taken, size);
      worth[g] = members[first];
      if (moe_.routing != NACELLE_ROUTE_SIGMOID || size == 1) continue;
      taken[first] = true;
      worth[g] += members[best_of(members, taken, size)];
      taken[first] = false;
    }
    bool* kept = taken + moe_.expert_count;
    std::fill_n(kept, moe_.group_count, false);
    for (std::uint32_t i = 0; i < moe_.group_used; ++i) kept[best_of(worth, kept, moe_.group_count)] = true;
    for (std::uint32_t e = 0; e < moe_.expert_count; ++e) taken[e] = !kept[e / size];
  }

  nacelle_moe_attributes moe_;
};

// ---- Sorting

struct Tile {
  std::uint32_t expert, first, count;  // positions [first, first + count)
};

// What all threads read to know how much there is to do.
struct Tally {
  std::uint32_t tiles, most_rows;  // most_rows: of a tile
};

// The pairs of a row and one of its experts, in the order of the experts: a view of a place. Pair = row * k + slot.
struct Order {
  std::uint32_t* pairs;      // of each position
  std::uint32_t* positions;  // of each pair
  Tile* tiles;

  Order(std::byte* at, std::uint64_t most_pairs)
      : pairs(reinterpret_cast<std::uint32_t*>(at)),
        positions(pairs + most_pairs),
        tiles(reinterpret_cast<Tile*>(positions + most_pairs)) {}

  static std::uint64_t bytes(std::uint64_t most_pairs, std::uint64_t experts) {
    const std::uint64_t most_tiles = most_pairs / kRowBlock + std::min(most_pairs, experts);
    return most_pairs * 2 * sizeof(std::uint32_t) + most_tiles * sizeof(Tile);
  }
};

// `ends`: of each expert. `expert_of(pair)` is below their number.
template <class ExpertOf>
Tally sort(Order& order, std::uint32_t pair_count, std::span<std::uint32_t> ends, ExpertOf expert_of) {
  std::fill(ends.begin(), ends.end(), 0u);
  for (std::uint32_t pair = 0; pair < pair_count; ++pair) ++ends[expert_of(pair)];
  Tally tally{0, 0};
  std::uint32_t begin = 0;
  for (std::uint32_t expert = 0; expert < ends.size(); ++expert) {
    const std::uint32_t end = begin + std::exchange(ends[expert], begin);
    for (; begin < end; begin += std::min(kRowBlock, end - begin)) {
      const std::uint32_t count = std::min(kRowBlock, end - begin);
      order.tiles[tally.tiles++] = {expert, begin, count};
      tally.most_rows = std::max(tally.most_rows, count);
    }
  }
  for (std::uint32_t pair = 0; pair < pair_count; ++pair) {
    const std::uint32_t position = ends[expert_of(pair)]++;
    order.pairs[position] = pair;
    order.positions[pair] = position;
  }
  return tally;
}

std::uint32_t unit_groups(const Tally& tally, std::uint64_t groups, const MatmulVariant& variant) {
  const std::uint64_t wanted = tally.most_rows <= kFewRows ? tally.tiles * groups / 64 : variant.tile_groups;
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(wanted, kFewGroups, kMostGroups));
}

}  // namespace

void Compiler::moe_route(const nacelle_op& op) {
  const Router router(attributes<nacelle_moe_attributes>(op));
  const float* bias = weights_.vector(input(op, 1));
  begin_rows(lead_of(op.outputs[0]), true);
  const Place* scores = read(op.inputs[0]);
  const Place* experts = write(op.outputs[0]);
  const Place* weights = write(op.outputs[1]);
  need_scratch(router.scratch_bytes());
  push_rows([=](const Frame& frame, std::uint32_t row, std::byte* scratch) {
    router.run(frame.at(*scores, row), bias, scratch, frame.at<std::uint32_t>(*experts, row), frame.at(*weights, row));
  });
}

void Compiler::moe_combine(const nacelle_op& op) {
  const VectorKernels& kernels = vectors_;
  begin_rows(lead_of(op.outputs[0]), true);
  const Place* y = read(op.inputs[0]);
  const Place* weights = read(op.inputs[1]);
  const Place* out = write(op.outputs[0]);
  push_rows([=, &kernels](const Frame& frame, std::uint32_t row, std::byte*) {
    float* to = frame.at(*out, row);
    std::fill_n(to, out->width, 0.0f);
    for (std::uint32_t i = 0; i < weights->width; ++i)
      kernels.add_scaled(frame.at(*y, row) + std::uint64_t{i} * out->width, frame.at(*weights, row)[i], out->width, to);
  });
}

// The pairs of this value's experts in order: sorted once for all that is multiplied by them. One thread does it, while
// the others wait at the barrier that they would pass anyway. A thread that comes late to a product still reads the
// tally when the others are steps ahead and write over what they need no more: it lies where nothing else does in the
// whole run.
Compiler::Sorted Compiler::sort_experts(std::uint32_t value, std::uint32_t expert_count) {
  if (const auto found = sorted_.find(value); found != sorted_.end()) return found->second;
  const Lead lead = lead_of(value);
  begin_step();
  const Place* experts = read(value);
  const std::uint64_t most_pairs = std::uint64_t{most_rows(lead)} * experts->width;
  Place* place = make_place(Space::kArena, lead, Order::bytes(most_pairs, expert_count), 1);
  const Place* tally = make_place(Space::kSlot, lead, sizeof(Tally), 1);
  need_scratch(expert_count * sizeof(std::uint32_t));
  push_step(
      "sort experts",
      [lead](const Frame& frame, std::uint32_t) -> Work {
        return {frame.count(lead) ? 1u : 0u, 1, true};
      },
      [=](const Frame& frame, std::uint64_t, std::uint64_t, std::byte* scratch) {
        Order order(frame.at<std::byte>(*place, 0), most_pairs);
        const auto expert_of = [&](std::uint32_t pair) {
          const std::uint32_t expert = frame.at<std::uint32_t>(*experts, pair / experts->width)[pair % experts->width];
          return std::min(expert, expert_count - 1);
        };
        *frame.at<Tally>(*tally, 0) = sort(order, frame.count(lead) * experts->width,
                                           {reinterpret_cast<std::uint32_t*>(scratch), expert_count}, expert_of);
      });
  return sorted_[value] = {place, tally};
}

// Each pair's columns of x in the form that the variant wants, by position.
Place* Compiler::gather_experts(const nacelle_op& op, Place* sorted, const MatmulVariant& variant) {
  const auto of = attributes<nacelle_moe_attributes>(op);
  const std::uint32_t x = op.inputs[0], used = of.used_count;
  const Lead lead = lead_of(x);
  const std::uint64_t most_pairs = std::uint64_t{most_rows(lead)} * used;
  begin_rows(lead, true);
  const Place* from = read(x);
  keep_alive(sorted);
  const std::uint32_t columns = of.x_per_expert ? from->width / used : from->width;
  const std::uint64_t bytes = encoded_row_bytes(variant.activation, columns);
  Place* to = make_place(Space::kArena, lead, bytes, most_pairs);
  const std::uint32_t blocks = (columns + kQuantBlock - 1) / kQuantBlock;
  push_rows([=, per_expert = of.x_per_expert != 0, encode = variant.encode](const Frame& frame, std::uint32_t row,
                                                                            std::byte*) {
    const Order order(frame.at<std::byte>(*sorted, 0), most_pairs);
    const std::uint8_t* first = nullptr;
    for (std::uint32_t slot = 0; slot < used; ++slot) {
      std::uint8_t* at = frame.at<std::uint8_t>(*to, order.positions[row * used + slot]);
      const float* slice = frame.at(*from, row) + (per_expert ? std::uint64_t{slot} * columns : 0);
      if (first && !per_expert)
        std::memcpy(at, first, bytes);
      else if (encode)
        encode(slice, columns, 0, blocks, at);
      else
        std::memcpy(at, slice, columns * sizeof(float));
      first = at;
    }
  });
  return to;
}

// Those products of the operation's input by the same experts that its gathered rows serve (gate and up), as one step.
void Compiler::moe_matmul(std::uint32_t index) {
  const nacelle_op& first = *graph_.ops[index];
  const auto of = attributes<nacelle_moe_attributes>(first);
  const MatmulVariant& variant = *weights_.matrix(first.inputs[1]).variant;
  std::vector<const nacelle_op*> ops;
  for (const std::uint32_t consumer : consumers(first.inputs[0])) {
    const nacelle_op& op = *graph_.ops[consumer];
    if (done_[consumer] || op.kind != NACELLE_OP_MOE_MATMUL || op.inputs[2] != first.inputs[2] ||
        weights_.matrix(op.inputs[1]).variant != &variant ||
        attributes<nacelle_moe_attributes>(op).x_per_expert != of.x_per_expert)
      continue;
    done_[consumer] = true;
    ops.push_back(&op);
  }
  const Sorted sorted = sort_experts(first.inputs[2], of.expert_count);
  Place* x = gather_experts(first, sorted.order, variant);
  begin_step();
  keep_alive(sorted.order);
  keep_alive(x);
  std::vector<MatmulPart> parts;
  for (const nacelle_op* op : ops) {
    MatmulPart part;
    part.weights = &weights_.matrix(op->inputs[1]);
    part.bias = weights_.vector(input(*op, 3));
    part.out = write(op->outputs[0]);
    parts.push_back(part);
  }
  push_moe_matmul(std::move(parts), x, sorted, of.used_count);
}

void Compiler::push_moe_matmul(std::vector<MatmulPart> parts, const Place* x, const Sorted& sorted,
                               std::uint32_t used) {
  const MatmulVariant& variant = *parts[0].weights->variant;
  const VectorKernels& kernels = vectors_;
  const std::uint64_t most_pairs = x->row_count;
  const Lead lead = x->lead;
  std::uint64_t groups = 0;
  for (const MatmulPart& part : parts) groups += part.weights->groups();
  need_scratch(kScratchFloats * sizeof(float));

  // Groups [group, group + count) of one part for the rows of one tile: into scratch, then each row to its slot.
  const auto run_unit = [=, &kernels](const MatmulPart& part, const Frame& frame, const Order& order, const Tile& tile,
                                      std::uint32_t group, std::uint32_t count, float* scratch) {
    const PackedMatrix& w = *part.weights;
    const std::uint32_t width = count * kGroupRows, column = group * kGroupRows;
    w.variant->multiply({w.group(tile.expert, group), w.group_bytes, static_cast<std::uint32_t>(w.columns), tile.count,
                         frame.at<const std::uint8_t>(*x, tile.first), x->stride, scratch, width},
                        count);
    const auto rows = static_cast<std::uint32_t>(w.rows), wanted = std::min(width, rows - column);
    for (std::uint32_t r = 0; r < tile.count; ++r) {
      const std::uint32_t pair = order.pairs[tile.first + r];
      float* out = frame.at(*part.out, pair / used) + std::uint64_t{pair % used} * rows + column;
      const float* y = scratch + std::uint64_t{r} * width;
      if (part.bias)
        kernels.add(y, part.bias + std::uint64_t{tile.expert} * rows + column, wanted, out);
      else
        std::copy_n(y, wanted, out);
    }
  };

  push_step(
      "moe matmul",
      [=, &variant](const Frame& frame, std::uint32_t threads) -> Work {
        if (frame.count(lead) == 0) return {0, 1};
        const Tally& tally = *frame.at<Tally>(*sorted.tally, 0);
        const std::uint32_t size = unit_groups(tally, groups, variant);
        std::uint64_t units = 0;
        for (const MatmulPart& part : parts) units += (part.weights->groups() + size - 1) / size * tally.tiles;
        return {units, std::max<std::uint64_t>(1, units / (threads * 16))};
      },
      [=, &variant](const Frame& frame, std::uint64_t begin, std::uint64_t end, std::byte* scratch) {
        const Order order(frame.at<std::byte>(*sorted.order, 0), most_pairs);
        const Tally& tally = *frame.at<Tally>(*sorted.tally, 0);
        const std::uint32_t size = unit_groups(tally, groups, variant), tiles = tally.tiles;
        std::uint64_t first = 0;  // unit of the part at hand
        for (const MatmulPart& part : parts) {
          const std::uint32_t own = part.weights->groups();
          const std::uint64_t chunks = (own + size - 1) / size, units = chunks * tiles;
          // A tile's groups follow each other: its weights are read front to back.
          for (std::uint64_t unit = std::max(begin, first); unit < std::min(end, first + units); ++unit) {
            const Tile& tile = order.tiles[(unit - first) / chunks];
            const auto group = static_cast<std::uint32_t>((unit - first) % chunks) * size;
            run_unit(part, frame, order, tile, group, std::min(size, own - group), reinterpret_cast<float*>(scratch));
          }
          first += units;
        }
      });
}

}  // namespace nacelle::cpu
