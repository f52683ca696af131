// Operations that work row by row.
#include "backends/vulkan/compiler.hpp"

namespace nacelle::vulkan {

void Compiler::embedding(const nacelle_op& op) {
  const PackedMatrix& table = weights_.matrix(op.inputs[1]);
  const Ref best{Ref::Kind::kBest};
  const Ref tokens = indices_of(op.inputs[0]), y = write(op.outputs[0]);
  const std::uint32_t threads = device_.physical().subgroup, blocks = static_cast<std::uint32_t>(table.shape.blocks);
  push(pipeline(std::string("embedding_") + format_name(table.shape.format), {threads}),
       {(blocks + threads - 1) / threads, Lead::kRows},
       {tokens, best, absolute(table.codes()), absolute(table.headers()), y},
       {static_cast<std::uint32_t>(table.shape.rows), static_cast<std::uint32_t>(table.shape.columns), blocks,
        y.place->stride, table.extra_bytes(), attributes<nacelle_embedding_attributes>(op).scale});
}

// Also LAYER_NORM, NORMALISE and SOFTMAX.
void Compiler::norm(const nacelle_op& op) {
  enum : std::uint32_t { kRms, kLayer, kNormalise, kSoftmax };
  std::uint32_t kind = op.kind == NACELLE_OP_NORMALISE ? kNormalise : kSoftmax;
  nacelle_norm_attributes of{};
  if (op.kind == NACELLE_OP_RMS_NORM || op.kind == NACELLE_OP_LAYER_NORM) {
    of = attributes<nacelle_norm_attributes>(op);
    kind = op.kind == NACELLE_OP_RMS_NORM ? kRms : kLayer;
  }
  const Ref x = read(op.inputs[0]), y = write(op.outputs[0]);
  const std::uint32_t group = of.group ? of.group : x.place->width;
  push(pipeline("norm", {device_.profile().row_threads, kind}), {x.place->width / group, x.place->lead},
       {x, absolute(weights_.vector(input(op, 1))), absolute(weights_.vector(input(op, 2))), y},
       {group, x.place->stride, y.place->stride, of.epsilon, of.weight_offset});
}

void Compiler::rope(const nacelle_op& op) {
  const auto of = attributes<nacelle_rope_attributes>(op);
  const Ref x = read(op.inputs[0]), y = write(op.outputs[0]);
  push(pipeline("rope", {device_.profile().wide_threads}), columns_grid(x.place->width, x.place->lead, 1),
       {x, indices_of(op.inputs[1]), absolute(weights_.rope_table(&op)), y},
       {x.place->width, of.head_width, of.rotary_width / 2, of.style == NACELLE_ROPE_INTERLEAVED ? 1u : 0u,
        x.place->stride, y.place->stride});
}

void Compiler::elementwise(const nacelle_op& op) {
  enum : std::uint32_t { kAdd, kMul, kScale, kUnary, kGated, kXielu };
  std::uint32_t kind = kAdd, activation = 0;
  float p[3] = {};
  if (op.kind == NACELLE_OP_MUL) kind = kMul;
  if (op.kind == NACELLE_OP_XIELU) kind = kXielu;
  if (op.kind == NACELLE_OP_SCALE) {
    const auto of = attributes<nacelle_scale_attributes>(op);
    kind = kScale;
    p[0] = of.scale, p[1] = of.shift, p[2] = of.soft_cap;
  }
  if (op.kind == NACELLE_OP_UNARY || op.kind == NACELLE_OP_GATED) {
    const auto of = attributes<nacelle_activation_attributes>(op);
    kind = op.kind == NACELLE_OP_UNARY ? kUnary : kGated;
    activation = of.activation;
    p[0] = of.clamp, p[1] = of.alpha, p[2] = of.up_offset;
  }
  const Ref a = read(op.inputs[0]);
  Ref b = absolute(0);
  std::uint32_t b_stride = 0;
  if (const std::uint32_t second = input(op, 1); second != NACELLE_NO_VALUE) {
    b = is_weight(second) ? absolute(weights_.vector(second)) : read(second);
    b_stride = b.place ? b.place->stride : 0;
  }
  const Ref y = write(op.outputs[0]);
  push(pipeline("elementwise", {device_.profile().wide_threads, kind, activation}),
       columns_grid(a.place->width, a.place->lead), {a, b, y},
       {a.place->width, a.place->stride, b_stride, y.place->stride, p[0], p[1], p[2]});
}

void Compiler::position_scale(const nacelle_op& op) {
  const auto of = attributes<nacelle_position_scale_attributes>(op);
  const Ref x = read(op.inputs[0]), y = write(op.outputs[0]);
  push(pipeline("position_scale", {device_.profile().wide_threads}), columns_grid(x.place->width, x.place->lead),
       {x, indices_of(op.inputs[1]), y},
       {x.place->width, x.place->stride, y.place->stride, of.length, of.offset, of.strength});
}

void Compiler::copy_columns(const Ref& x, std::uint32_t x_stride, std::uint32_t x_first, const Ref& indices,
                            const Ref& y, std::uint32_t y_stride, std::uint32_t y_first, std::uint32_t width,
                            Lead lead) {
  push(pipeline("copy", {device_.profile().wide_threads}), columns_grid(width, lead), {x, indices, y},
       {width, x_stride, y_stride, x_first, y_first});
}

void Compiler::split(const nacelle_op& op) {
  const Ref x = read(op.inputs[0]);
  std::uint32_t first = 0;
  for (std::uint32_t i = 0; i < op.output_count; ++i) {
    const Ref y = write(op.outputs[i]);
    copy_columns(x, x.place->stride, first, absolute(0), y, y.place->stride, 0, y.place->width, x.place->lead);
    first += y.place->width;
  }
}

void Compiler::concat(const nacelle_op& op) {
  const Ref y = write(op.outputs[0]);
  std::uint32_t first = 0;
  for (std::uint32_t i = 0; i < op.input_count; ++i) {
    const Ref x = read(op.inputs[i]);
    copy_columns(x, x.place->stride, 0, absolute(0), y, y.place->stride, first, x.place->width, x.place->lead);
    first += x.place->width;
  }
}

void Compiler::gather(const nacelle_op& op) {
  const Ref x = read(op.inputs[0]), indices = indices_of(op.inputs[1]), y = write(op.outputs[0]);
  copy_columns(x, x.place->stride, 0, indices, y, y.place->stride, 0, x.place->width, y.place->lead);
}

void Compiler::pool(const nacelle_op& op) {
  const Ref x = read(op.inputs[0]), y = write(op.outputs[0]);
  push(pipeline("pool", {device_.profile().wide_threads}), columns_grid(x.place->width, Lead::kSequences),
       {x, step(step_.sequence_starts), y},
       {x.place->width, x.place->stride, y.place->stride, attributes<nacelle_pool_attributes>(op).pooling});
}

// A value marked NACELLE_OUTPUT_EMBEDDING is put into the output block, its rows side by side.
void Compiler::publish_embedding() {
  for (std::uint32_t v = 0; v < graph_.value_count; ++v) {
    if (graph_.values[v]->output != NACELLE_OUTPUT_EMBEDDING || !place_of(v)) continue;
    const Ref x = read(v);
    copy_columns(x, x.place->stride, 0, absolute(0), output(output_.embedding), x.place->width, 0, x.place->width,
                 x.place->lead);
  }
}

}  // namespace nacelle::vulkan
