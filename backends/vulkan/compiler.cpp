// Walking the graph, putting barriers, and giving every value its memory.
#include "backends/vulkan/compiler.hpp"

#include <algorithm>
#include <nacelle/value_placement.hpp>
#include <string>
#include <utility>

namespace nacelle::vulkan {
namespace {

constexpr std::uint64_t kPlaceAlignment = 256;

constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t to) { return (n + to - 1) / to * to; }

// What a barrier is about: places, layers of the cache, the best tokens. The step block is never written here, and the
// parts of the output block never meet.
std::pair<const void*, std::uint64_t> key_of(const Ref& ref) {
  switch (ref.kind) {
    case Ref::Kind::kPlace: return {ref.place, 0};
    case Ref::Kind::kCache: return {nullptr, std::uint64_t{ref.group} << 32 | ref.layer};
    case Ref::Kind::kBest: return {nullptr, ~std::uint64_t{0}};
    default: return {nullptr, ~std::uint64_t{1}};
  }
}
bool is_tracked(const Ref& ref) {
  return ref.kind == Ref::Kind::kPlace || ref.kind == Ref::Kind::kCache || ref.kind == Ref::Kind::kBest;
}

}  // namespace

Compiler::Compiler(const VulkanWeights& weights, const nacelle_cache_options& cache, const nacelle_bucket& bucket,
                   const nacelle_step_layout& step, const nacelle_output_layout& output)
    : GraphView("vulkan", weights.graph(), bucket),
      weights_(weights),
      device_(weights.device()),
      cache_(cache),
      step_(step),
      output_(output) {}

Program Compiler::compile() {
  analyse();
  for (std::uint32_t i = 0; i < graph_.op_count; ++i)
    if (!done_[i]) emit(i);
  publish_embedding();
  place_all();
  return std::move(program_);
}

void Compiler::analyse() {
  program_.values.assign(graph_.value_count, nullptr);
  done_.assign(graph_.op_count, false);
  for (std::uint32_t v = 0; v < graph_.value_count; ++v)
    if (is_boundary(v))  // the host writes it
      program_.values[v] = make_place(Space::kSlot, lead_of(v), width_of(v));
}

void Compiler::finish(const nacelle_op* op) {
  done_[static_cast<std::uint32_t>(std::find(graph_.ops, graph_.ops + graph_.op_count, op) - graph_.ops)] = true;
}

void Compiler::emit(std::uint32_t index) {
  const nacelle_op& op = *graph_.ops[index];
  switch (op.kind) {
    case NACELLE_OP_EMBEDDING: return embedding(op);
    case NACELLE_OP_MATMUL: return matmul(op);
    case NACELLE_OP_RMS_NORM:
    case NACELLE_OP_LAYER_NORM:
    case NACELLE_OP_NORMALISE:
    case NACELLE_OP_SOFTMAX: return norm(op);
    case NACELLE_OP_ROPE: return rope(op);
    case NACELLE_OP_ATTENTION:
    case NACELLE_OP_CHUNKED_ATTENTION: return attention(op);
    case NACELLE_OP_UNARY:
    case NACELLE_OP_GATED:
    case NACELLE_OP_ADD:
    case NACELLE_OP_MUL:
    case NACELLE_OP_SCALE:
    case NACELLE_OP_XIELU: return elementwise(op);
    case NACELLE_OP_POSITION_SCALE: return position_scale(op);
    case NACELLE_OP_SPLIT: return split(op);
    case NACELLE_OP_CONCAT: return concat(op);
    case NACELLE_OP_GATHER: return gather(op);
    case NACELLE_OP_POOL: return pool(op);
    case NACELLE_OP_MOE_ROUTE: return moe_route(op);
    case NACELLE_OP_MOE_MATMUL: return moe_matmul(op);
    case NACELLE_OP_MOE_COMBINE: return moe_combine(op);
    case NACELLE_OP_ADAPTER_MATMUL:
    case NACELLE_OP_MOE_ADAPTER_MATMUL: return adapter(op);
    case NACELLE_OP_STATE_SCAN: return state_scan(op);
    case NACELLE_OP_CONVOLUTION: return convolution(op);
    case NACELLE_OP_LOGITS_SELECT: return logits_select(op);
    default:
      throw failure(NACELLE_UNIMPLEMENTED,
                    "operation " + std::to_string(index) + " of kind " + std::to_string(op.kind) + " has no shader");
  }
}

// ---- Dispatches

VkPipeline Compiler::pipeline(const std::string& shader, const std::vector<std::uint32_t>& constants,
                              bool full_subgroups) const {
  return device_.pipelines().get(shader, constants, full_subgroups);
}

bool Compiler::needs_barrier(const Dispatch& dispatch) const {
  return std::any_of(dispatch.refs, dispatch.refs + dispatch.ref_count, [&](const Ref& ref) {
    return is_tracked(ref) && (written_.contains(key_of(ref)) || (ref.written && read_.contains(key_of(ref))));
  });
}

void Compiler::push(VkPipeline pipeline, const Grid& grid, std::initializer_list<Ref> refs,
                    std::initializer_list<Word> words) {
  Dispatch dispatch{};
  dispatch.pipeline = pipeline;
  const auto found = std::find(program_.grids.begin(), program_.grids.end(), grid);
  dispatch.grid = static_cast<std::uint32_t>(found - program_.grids.begin());
  if (found == program_.grids.end()) program_.grids.push_back(grid);
  for (const Ref& ref : refs) dispatch.refs[dispatch.ref_count++] = ref;
  for (const Word& word : words) dispatch.words[dispatch.word_count++] = word.bits;
  if (needs_barrier(dispatch)) {
    dispatch.barrier_before = true;
    written_.clear();
    read_.clear();
    ++epoch_;
  }
  for (const Ref& ref : refs) {
    if (!is_tracked(ref)) continue;
    (ref.written ? written_ : read_).insert(key_of(ref));
    if (!ref.place) continue;
    if (!ref.place->born) ref.place->born = epoch_;
    ref.place->dies = epoch_;
  }
  program_.dispatches.push_back(dispatch);
}

Grid Compiler::columns_grid(std::uint32_t width, Lead lead, std::uint32_t per_thread) const {
  const std::uint32_t columns = device_.profile().wide_threads * per_thread;
  return {(width + columns - 1) / columns, lead};
}

// ---- Places

Ref Compiler::indices_of(std::uint32_t value) const {
  const nacelle_value& of = *graph_.values[value];
  if (of.kind == NACELLE_VALUE_INPUT && of.role == NACELLE_INPUT_TOKENS) return step(step_.tokens);
  if (of.kind == NACELLE_VALUE_INPUT && of.role == NACELLE_INPUT_POSITIONS) return step(step_.positions);
  if (of.kind == NACELLE_VALUE_INPUT && of.role == NACELLE_INPUT_OUTPUT_ROWS) return step(step_.output_rows);
  if (of.kind == NACELLE_VALUE_INPUT && of.role == NACELLE_INPUT_ADAPTER_SLOTS) return step(step_.adapter_slots);
  if (of.kind == NACELLE_VALUE_INPUT && of.role == NACELLE_INPUT_TOKEN_TYPES) return step(step_.token_types);
  throw failure(NACELLE_UNIMPLEMENTED, "indices must be an input of the step");
}

// Shaders count elements with 32 bits.
Place* Compiler::make_place(Space space, Lead lead, std::uint32_t width) {
  const std::uint64_t stride = round_up(width, 4), elements = stride * std::max<std::uint64_t>(most_rows(lead), 1);
  if (elements > UINT32_MAX)
    throw failure(NACELLE_OUT_OF_MEMORY, "a value of " + std::to_string(most_rows(lead)) + " rows of " +
                                             std::to_string(width) + " is too large; use a smaller batch");
  program_.places.push_back({space, lead, width, static_cast<std::uint32_t>(stride), elements * sizeof(float)});
  return &program_.places.back();
}

Ref Compiler::write(std::uint32_t value) {
  program_.values[value] = make_place(is_kept(value) ? Space::kSlot : Space::kArena, lead_of(value), width_of(value));
  return to(program_.values[value]);
}

Ref Compiler::read(std::uint32_t value) {
  if (value >= graph_.value_count || !program_.values[value])
    throw failure(NACELLE_INVALID_ARGUMENT, "an operation reads a value that is made after it");
  return from(program_.values[value]);
}

// What the host may read lives as long as its slot.
void Compiler::place_all() {
  for (const Space space : {Space::kArena, Space::kSlot}) {
    std::vector<Place*> places;
    std::vector<sdk::Lifetime> lifetimes;
    for (Place& place : program_.places) {
      if (place.space != space) continue;
      places.push_back(&place);
      lifetimes.push_back({place.bytes, place.born, space == Space::kSlot ? epoch_ : place.dies});
    }
    program_.space_bytes[static_cast<std::size_t>(space)] = sdk::place(lifetimes, kPlaceAlignment);
    for (std::size_t i = 0; i < places.size(); ++i) places[i]->offset = lifetimes[i].offset;
  }
}

}  // namespace nacelle::vulkan
