// Walking the graph, the operations that work row by row, and giving every value its memory.
#include "backends/gpu/host/compiler.hpp"

#include <algorithm>
#include <cstddef>
#include <string>

namespace nacelle::gpu {
Compiler::Compiler(const GpuWeights& weights, const nacelle_cache_options& cache, const nacelle_bucket& bucket,
                   const nacelle_step_layout& step, const nacelle_output_layout& output)
    : GraphView(weights.device().backend, weights.graph(), bucket),
      weights_(weights),
      cache_(cache),
      step_(step),
      output_(output),
      done_(graph_.op_count) {}

Program Compiler::compile() {
  program_.values.assign(graph_.value_count, nullptr);
  for (std::uint32_t v = 0; v < graph_.value_count; ++v)
    if (is_boundary(v)) write(v);  // by the host
  for (std::uint32_t i = 0; i < graph_.op_count; ++i)
    if (!done_[i]) emit(i);
  for (std::uint32_t v = 0; v < graph_.value_count; ++v)
    if (graph_.values[v]->output == NACELLE_OUTPUT_EMBEDDING) embedding_output(v);
  place_all();
  return std::move(program_);
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
    case NACELLE_OP_UNARY:
    case NACELLE_OP_GATED:
    case NACELLE_OP_ADD:
    case NACELLE_OP_MUL:
    case NACELLE_OP_SCALE:
    case NACELLE_OP_XIELU: return elements(op);
    case NACELLE_OP_POSITION_SCALE: return position_scale(op);
    case NACELLE_OP_SOFTMAX: return rowwise(op, Kernel::k_softmax);
    case NACELLE_OP_NORMALISE: return rowwise(op, Kernel::k_normalise);
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
                    "operation " + std::to_string(index) + " of kind " + std::to_string(op.kind) + " has no kernel");
  }
}

// ---- Steps and places

void Compiler::push(Step step) {
  program_.steps.emplace_back([step = std::move(step)](Context& context, Queue* queue, const Addresses& at) {
    return context.launch(queue, step(at));
  });
}
void Compiler::push_product(std::function<BlasProduct(const Addresses&)> product) {
  program_.steps.emplace_back([product = std::move(product)](Context& context, Queue* queue, const Addresses& at) {
    return context.multiply(queue, product(at));
  });
}

std::uint64_t Compiler::count_offset(Lead lead) const {
  switch (lead) {
    case Lead::kRows: return step_.header + offsetof(nacelle_step_header, rows);
    case Lead::kOutputRows: return step_.header + offsetof(nacelle_step_header, output_rows);
    default: return step_.header + offsetof(nacelle_step_header, sequences);
  }
}

std::uint64_t Compiler::table_offset(std::uint32_t group) const {
  return step_.block_tables + std::uint64_t{4} * group * bucket_.sequences * step_.table_width;
}

std::uint64_t Compiler::index_offset(std::uint32_t value) const {
  if (graph_.values[value]->kind == NACELLE_VALUE_INPUT) switch (graph_.values[value]->role) {
      case NACELLE_INPUT_TOKENS: return step_.tokens;
      case NACELLE_INPUT_POSITIONS: return step_.positions;
      case NACELLE_INPUT_OUTPUT_ROWS: return step_.output_rows;
      case NACELLE_INPUT_ADAPTER_SLOTS: return step_.adapter_slots;
      case NACELLE_INPUT_TOKEN_TYPES: return step_.token_types;
      default: break;
    }
  throw failure(NACELLE_UNIMPLEMENTED, "indices must be an input of the step");
}

// Rows start on 16 bytes, so that kernels read four elements at once.
Place* Compiler::make_place(bool in_slot, Lead lead, std::uint32_t width, std::uint64_t row_count) {
  Place place;
  place.in_slot = in_slot;
  place.lead = lead;
  place.width = width;
  place.stride = divide_up(width, 4) * 4;
  place.life.bytes = place.stride * sizeof(float) * std::max<std::uint64_t>(row_count, 1);
  place.life.born = place.life.dies = static_cast<std::uint32_t>(program_.steps.size());
  program_.places.push_back(place);
  return &program_.places.back();
}

Place* Compiler::temporary(Lead lead, std::uint64_t bytes_a_row) {
  return make_place(false, lead, static_cast<std::uint32_t>((bytes_a_row + 3) / 4), most_rows(lead));
}

Place* Compiler::write(std::uint32_t value) {
  const Lead lead = lead_of(value);
  return program_.values[value] = make_place(is_kept(value), lead, width_of(value), most_rows(lead));
}

const Place* Compiler::touch(Place* place) {
  place->life.dies = static_cast<std::uint32_t>(program_.steps.size());
  return place;
}

const Place* Compiler::read(std::uint32_t value) {
  if (value >= graph_.value_count || !program_.values[value])
    throw failure(NACELLE_INVALID_ARGUMENT, "an operation reads a value that is made after it");
  return touch(program_.values[value]);
}

void Compiler::place_all() {
  std::vector<sdk::Lifetime> arena;
  for (Place& place : program_.places) {
    if (!place.in_slot) {
      arena.push_back(place.life);
      continue;
    }
    place.life.offset = program_.slot_bytes;
    program_.slot_bytes += (place.life.bytes + 255) / 256 * 256;
  }
  program_.arena_bytes = sdk::place(arena, 256);
  std::size_t next = 0;
  for (Place& place : program_.places)
    if (!place.in_slot) place.life.offset = arena[next++].offset;
}

// ---- Operations on rows

void Compiler::embedding(const nacelle_op& op) {
  const PackedMatrix& table = weights_.matrix(op.inputs[1]);
  const Place* out = write(op.outputs[0]);
  const Grid grid{divide_up(out->width, kRowThreads), bucket_.rows, 1};
  push([=, &table, tokens = index_offset(op.inputs[0]), count = count_offset(Lead::kRows),
        scale = attributes<nacelle_embedding_attributes>(op).scale,
        most = weights_.most_outputs()](const Addresses& at) {
    const EmbeddingArguments arguments{table.packed,
                                       at.in_step<std::uint32_t>(tokens),
                                       at.cache ? at.cache->best() : nullptr,
                                       at.cache ? most : 0,
                                       scale,
                                       at.rows(*out),
                                       at.in_step<std::uint32_t>(count)};
    return Launch::of(table.format->embedding, grid, kRowThreads, arguments);
  });
}

void Compiler::norm(const nacelle_op& op) {
  const auto of = attributes<nacelle_norm_attributes>(op);
  const bool rms = op.kind == NACELLE_OP_RMS_NORM;
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  const std::uint32_t group = of.group ? of.group : out->width;
  const Grid grid{out->width / group, most_rows(out->lead), 1};
  push([=, weight = weights_.vector(input(op, 1)), bias = rms ? nullptr : weights_.vector(input(op, 2)),
        count = count_offset(out->lead)](const Addresses& at) {
    const NormArguments arguments{at.rows(*x), at.rows(*out),    weight, bias,
                                  of.epsilon,  of.weight_offset, group,  at.in_step<std::uint32_t>(count)};
    return Launch::of(rms ? Kernel::k_rms_norm : Kernel::k_layer_norm, grid, kRowThreads, arguments);
  });
}

// The angles of a step are made once for all layers that share their frequencies.
void Compiler::rope(const nacelle_op& op) {
  const auto of = attributes<nacelle_rope_attributes>(op);
  const RopeFrequencies& frequencies = weights_.rope(&op);
  Place* table = nullptr;
  const std::uint64_t positions = index_offset(op.inputs[1]), count = count_offset(Lead::kRows);
  for (const auto& [known, place] : rope_tables_)
    if (known->table.frequencies == frequencies.table.frequencies &&
        known->table.magnitude == frequencies.table.magnitude)
      table = place;
  if (!table) {
    const auto pairs = static_cast<std::uint32_t>(frequencies.table.frequencies.size());
    table = temporary(Lead::kRows, 2 * sizeof(float) * pairs);
    rope_tables_.emplace_back(&frequencies, table);
    const Grid grid{divide_up(pairs, kRowThreads), bucket_.rows, 1};
    push([=, &frequencies](const Addresses& at) {
      const RopeTableArguments arguments{at.in_step<std::uint32_t>(positions),
                                         frequencies.memory.as<float>(),
                                         frequencies.table.magnitude,
                                         pairs,
                                         at.rows(*table).data,
                                         table->stride,
                                         at.in_step<std::uint32_t>(count)};
      return Launch::of(Kernel::k_rope_table, grid, kRowThreads, arguments);
    });
  }
  touch(table);
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  const Grid grid{divide_up(out->width, kRowThreads), bucket_.rows, 1};
  push([=](const Addresses& at) {
    const RopeArguments arguments{
        at.rows(*x),   at.rows(*out),       at.rows(*table).data,          table->stride,
        of.head_width, of.rotary_width / 2, of.style == NACELLE_ROPE_HALF, at.in_step<std::uint32_t>(count)};
    return Launch::of(Kernel::k_rope, grid, kRowThreads, arguments);
  });
}

void Compiler::elements(const nacelle_op& op) {
  ElementArguments of{};
  Kernel kernel = Kernel::k_add;
  if (op.kind == NACELLE_OP_MUL) kernel = Kernel::k_multiply;
  if (op.kind == NACELLE_OP_UNARY || op.kind == NACELLE_OP_GATED) {
    const auto activation = attributes<nacelle_activation_attributes>(op);
    kernel = op.kind == NACELLE_OP_UNARY ? Kernel::k_unary : Kernel::k_gated;
    of.activation = activation.activation;
    of.clamp = activation.clamp;
    of.alpha = activation.alpha;
    of.up_offset = activation.up_offset;
  }
  if (op.kind == NACELLE_OP_SCALE) {
    const auto scale = attributes<nacelle_scale_attributes>(op);
    kernel = Kernel::k_scale;
    of.scale = scale.scale;
    of.shift = scale.shift;
    of.soft_cap = scale.soft_cap;
  }
  if (op.kind == NACELLE_OP_XIELU) {
    kernel = Kernel::k_xielu;
    of.parameters = weights_.vector(op.inputs[1]);
  }
  const Place* a = read(op.inputs[0]);
  const std::uint32_t other = of.parameters ? NACELLE_NO_VALUE : input(op, 1);
  const Place* b = other == NACELLE_NO_VALUE || is_weight(other) ? nullptr : read(other);
  if (other != NACELLE_NO_VALUE && is_weight(other)) of.b = weights_.vector(other);
  const Place* out = write(op.outputs[0]);
  const Grid grid{divide_up(out->width, kRowThreads), most_rows(out->lead), 1};
  push([=, count = count_offset(out->lead)](const Addresses& at) {
    ElementArguments arguments = of;
    arguments.a = at.rows(*a);
    arguments.out = at.rows(*out);
    if (b) {
      arguments.b = at.rows(*b).data;
      arguments.b_stride = b->stride;
    }
    arguments.count = at.in_step<std::uint32_t>(count);
    return Launch::of(kernel, grid, kRowThreads, arguments);
  });
}

void Compiler::position_scale(const nacelle_op& op) {
  const auto of = attributes<nacelle_position_scale_attributes>(op);
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  const Grid grid{divide_up(out->width, kRowThreads), bucket_.rows, 1};
  push([=, positions = index_offset(op.inputs[1]), count = count_offset(Lead::kRows)](const Addresses& at) {
    const PositionScaleArguments arguments{
        at.rows(*x), at.rows(*out), at.in_step<std::uint32_t>(positions), of.strength,
        of.length,   of.offset,     at.in_step<std::uint32_t>(count)};
    return Launch::of(Kernel::k_position_scale, grid, kRowThreads, arguments);
  });
}

void Compiler::rowwise(const nacelle_op& op, Kernel kernel) {
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  push([=, grid = Grid{most_rows(out->lead), 1, 1}, count = count_offset(out->lead)](const Addresses& at) {
    ElementArguments arguments{};
    arguments.a = at.rows(*x);
    arguments.out = at.rows(*out);
    arguments.count = at.in_step<std::uint32_t>(count);
    return Launch::of(kernel, grid, kRowThreads, arguments);
  });
}

void Compiler::copy(Kernel kernel, const Place* x, const Place* out, std::uint32_t from, std::uint32_t to,
                    std::uint32_t width) {
  const Grid grid{divide_up(width, kRowThreads), most_rows(out->lead), 1};
  push([=, count = count_offset(out->lead)](const Addresses& at) {
    const auto* rows = at.in_step<std::uint32_t>(count);
    return Launch::of(kernel, grid, kRowThreads,
                      CopyArguments{at.rows(*x), at.rows(*out), from, to, width, nullptr, rows, rows});
  });
}

void Compiler::split(const nacelle_op& op) {
  std::uint32_t first = 0;
  for (std::uint32_t i = 0; i < op.output_count; ++i) {
    const Place* x = read(op.inputs[0]);
    const Place* out = write(op.outputs[i]);
    copy(Kernel::k_copy_columns, x, out, first, 0, out->width);
    first += out->width;
  }
}

void Compiler::concat(const nacelle_op& op) {
  Place* out = write(op.outputs[0]);
  std::uint32_t first = 0;
  for (std::uint32_t i = 0; i < op.input_count; ++i) {
    const Place* x = read(op.inputs[i]);
    touch(out);
    copy(Kernel::k_copy_columns, x, out, 0, first, x->width);
    first += x->width;
  }
}

void Compiler::gather(const nacelle_op& op) {
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  const Grid grid{divide_up(out->width, kRowThreads), most_rows(out->lead), 1};
  push([=, indices = index_offset(op.inputs[1]), x_count = count_offset(x->lead),
        count = count_offset(out->lead)](const Addresses& at) {
    return Launch::of(Kernel::k_copy_columns, grid, kRowThreads,
                      CopyArguments{at.rows(*x), at.rows(*out), 0, 0, out->width, at.in_step<std::uint32_t>(indices),
                                    at.in_step<std::uint32_t>(x_count), at.in_step<std::uint32_t>(count)});
  });
}

void Compiler::pool(const nacelle_op& op) {
  const std::uint32_t pooling = attributes<nacelle_pool_attributes>(op).pooling;
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  const Grid grid{divide_up(out->width, kRowThreads), bucket_.sequences, 1};
  push([=, starts = step_.sequence_starts, rows = count_offset(Lead::kRows),
        count = count_offset(Lead::kSequences)](const Addresses& at) {
    return Launch::of(Kernel::k_pool, grid, kRowThreads,
                      PoolArguments{at.rows(*x), at.rows(*out), at.in_step<std::uint32_t>(starts), pooling,
                                    at.in_step<std::uint32_t>(rows), at.in_step<std::uint32_t>(count)});
  });
}

}  // namespace nacelle::gpu
