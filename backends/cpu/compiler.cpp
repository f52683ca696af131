// Walking the graph, chaining rows, and giving every value its memory.
#include "backends/cpu/compiler.hpp"

#include <algorithm>
#include <nacelle/value_placement.hpp>
#include <string>
#include <utility>

namespace nacelle::cpu {
namespace {

// A row's norm, encoding or rotation takes about as long as a barrier.
constexpr std::uint64_t kSmallRows = 2;

constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t to) { return (n + to - 1) / to * to; }

constexpr std::pair<std::uint32_t, const std::uint32_t * Frame::*> kInputs[] = {
    {NACELLE_INPUT_TOKENS, &Frame::tokens},           {NACELLE_INPUT_POSITIONS, &Frame::positions},
    {NACELLE_INPUT_OUTPUT_ROWS, &Frame::output_rows}, {NACELLE_INPUT_ADAPTER_SLOTS, &Frame::adapter_slots},
    {NACELLE_INPUT_TOKEN_TYPES, &Frame::token_types},
};

}  // namespace

Compiler::Compiler(const CpuWeights& weights, const nacelle_cache_options& cache, const nacelle_bucket& bucket,
                   const nacelle_output_layout& output, std::uint32_t threads)
    : GraphView("cpu", weights.graph(), bucket),
      weights_(weights),
      vectors_(weights.vectors()),
      cache_(cache),
      output_(output),
      threads_(threads) {}

Program Compiler::compile() {
  analyse();
  for (std::uint32_t i = 0; i < graph_.op_count; ++i)
    if (!done_[i]) emit(i);
  flush_rows();
  place_all();
  return std::move(program_);
}

void Compiler::analyse() {
  program_.values.assign(graph_.value_count, nullptr);
  done_.assign(graph_.op_count, false);
  for (std::uint32_t v = 0; v < graph_.value_count; ++v)
    if (is_boundary(v)) write(v);  // by the host
}

void Compiler::emit(std::uint32_t index) {
  const nacelle_op& op = *graph_.ops[index];
  switch (op.kind) {
    case NACELLE_OP_EMBEDDING: return embedding(op);
    case NACELLE_OP_MATMUL: return matmul(index);
    case NACELLE_OP_RMS_NORM:
    case NACELLE_OP_LAYER_NORM: return norm(op);
    case NACELLE_OP_ROPE: return rope(op);
    case NACELLE_OP_ATTENTION:
    case NACELLE_OP_CHUNKED_ATTENTION: return attention(op);
    case NACELLE_OP_UNARY: return unary(op);
    case NACELLE_OP_GATED: return gated(op);
    case NACELLE_OP_SOFTMAX: return softmax(op);
    case NACELLE_OP_ADD:
    case NACELLE_OP_MUL: return combine(op);
    case NACELLE_OP_SCALE: return scale(op);
    case NACELLE_OP_POSITION_SCALE: return position_scale(op);
    case NACELLE_OP_XIELU: return xielu(op);
    case NACELLE_OP_SPLIT: return split(op);
    case NACELLE_OP_CONCAT: return concat(op);
    case NACELLE_OP_GATHER: return gather(op);
    case NACELLE_OP_POOL: return pool(op);
    case NACELLE_OP_NORMALISE: return normalise(op);
    case NACELLE_OP_MOE_ROUTE: return moe_route(op);
    case NACELLE_OP_MOE_MATMUL: return moe_matmul(index);
    case NACELLE_OP_MOE_COMBINE: return moe_combine(op);
    case NACELLE_OP_ADAPTER_MATMUL:
    case NACELLE_OP_MOE_ADAPTER_MATMUL: return adapter_matmul(op);
    case NACELLE_OP_STATE_SCAN: return state_scan(op);
    case NACELLE_OP_CONVOLUTION: return convolution(op);
    case NACELLE_OP_LOGITS_SELECT: return logits_select(op);
    default:
      throw failure(NACELLE_UNIMPLEMENTED,
                    "operation " + std::to_string(index) + " of kind " + std::to_string(op.kind) + " has no kernel");
  }
}

// ---- Steps

void Compiler::begin_step() {
  flush_rows();
  ++epoch_;
}

void Compiler::push_step(const char* name, decltype(Step::work) work, decltype(Step::run) run) {
  program_.steps.push_back({name, std::move(work), std::move(run)});
}

void Compiler::begin_rows(Lead lead, bool local) {
  if (!chain_.empty() && (chain_lead_ != lead || !local)) flush_rows();
  if (chain_.empty()) ++epoch_;
  chain_lead_ = lead;
}

void Compiler::push_rows(RowFunction function) { chain_.push_back(std::move(function)); }

// All functions of a chain run on one row, then on the next: a row stays in the cache.
void Compiler::flush_rows() {
  if (chain_.empty()) return;
  const Lead lead = chain_lead_;
  push_step(
      "rows",
      [lead](const Frame& frame, std::uint32_t threads) -> Work {
        const std::uint64_t count = frame.count(lead);
        return {count, std::max<std::uint64_t>(1, count / (threads * 4)), count <= kSmallRows};
      },
      [chain = std::exchange(chain_, {})](const Frame& frame, std::uint64_t begin, std::uint64_t end,
                                          std::byte* scratch) {
        for (std::uint64_t row = begin; row < end; ++row)
          for (const RowFunction& function : chain) function(frame, static_cast<std::uint32_t>(row), scratch);
      });
}

// ---- Places

Compiler::IndexArray Compiler::indices_of(std::uint32_t value) const {
  for (const auto& [role, array] : kInputs)
    if (graph_.values[value]->kind == NACELLE_VALUE_INPUT && graph_.values[value]->role == role) return array;
  throw failure(NACELLE_UNIMPLEMENTED, "indices must be an input of the step");
}

Place* Compiler::make_place(Space space, Lead lead, std::uint64_t stride, std::uint64_t row_count) {
  program_.places.push_back(
      {space, lead, 0, round_up(stride, 64), 0, std::max<std::uint64_t>(row_count, 1), epoch_, epoch_});
  return &program_.places.back();
}

Place* Compiler::write(std::uint32_t value) {
  const Lead lead = lead_of(value);
  const std::uint32_t width = width_of(value);
  const Space space = is_kept(value) ? Space::kSlot : Space::kArena;
  Place* place = make_place(space, lead, round_up(width, kGroupRows) * sizeof(float), most_rows(lead));
  place->width = width;
  return program_.values[value] = place;
}

const Place* Compiler::read(std::uint32_t value) {
  if (value >= graph_.value_count || !program_.values[value])
    throw failure(NACELLE_INVALID_ARGUMENT, "an operation reads a value that is made after it");
  return keep_alive(program_.values[value]);
}

const Place* Compiler::keep_alive(Place* place) {
  place->dies = epoch_;
  return place;
}

// What the host may read lives as long as its slot.
void Compiler::place_all() {
  for (const Space space : {Space::kArena, Space::kSlot}) {
    std::vector<Place*> places;
    std::vector<sdk::Lifetime> lifetimes;
    for (Place& place : program_.places) {
      if (place.space != space) continue;
      places.push_back(&place);
      lifetimes.push_back({place.stride * place.row_count, place.born, space == Space::kSlot ? epoch_ : place.dies});
    }
    program_.space_bytes[static_cast<std::size_t>(space)] = sdk::place(lifetimes);
    for (std::size_t i = 0; i < places.size(); ++i) places[i]->offset = lifetimes[i].offset;
  }
}

}  // namespace nacelle::cpu
