// Matmuls: which shape of the shader a bucket's rows run with, and what is added while the sums are at hand.
#include "backends/vulkan/compiler.hpp"
#include "backends/vulkan/matmul_variant.hpp"

namespace nacelle::vulkan {

// A residual whose addition is the product's only use is added with it.
void Compiler::matmul(const nacelle_op& op) {
  const PackedMatrix& matrix = weights_.matrix(op.inputs[1]);
  const nacelle_op* last = &op;
  Ref residual = absolute(0);
  if (const nacelle_op* next = only_consumer(op.outputs[0]); next && next->kind == NACELLE_OP_ADD) {
    const std::uint32_t other = next->inputs[next->inputs[0] == op.outputs[0] ? 1 : 0];
    if (!is_weight(other) && other != op.outputs[0] && place_of(other)) {
      last = next;
      residual = read(other);
      finish(next);
    }
  }
  const Ref x = read(op.inputs[0]), y = write(last->outputs[0]);
  const MatmulVariant variant = choose_matmul(device_, most_rows(x.place->lead), matrix);
  const std::uint32_t columns = static_cast<std::uint32_t>(matrix.shape.rows), width = variant.panels * kPanelColumns;
  push(pipeline_of(device_, matrix.shape.format, variant), {(columns + width - 1) / width, x.place->lead, variant.rows},
       {x, absolute(matrix.codes()), absolute(matrix.headers()), absolute(weights_.vector(input(op, 2))), residual, y,
        counts(x.place->lead)},
       {columns, static_cast<std::uint32_t>(matrix.shape.columns), static_cast<std::uint32_t>(matrix.shape.blocks),
        matrix.slices, matrix.slice_blocks, x.place->stride, y.place->stride,
        residual.place ? residual.place->stride : 0u, matrix.extra_bytes()});
}

}  // namespace nacelle::vulkan
