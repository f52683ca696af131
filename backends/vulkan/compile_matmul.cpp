// Matmuls: which shape of the shader a bucket's rows run with, and what is added while the sums are at hand.
#include "backends/vulkan/compiler.hpp"
#include "backends/vulkan/matmul_variant.hpp"

namespace nacelle::vulkan {
namespace {

constexpr std::uint32_t kEncodedWords = 10;  // of a block: see shaders/encode_rows.comp

}  // namespace

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
  const Lead lead = lead_of(op.inputs[0]);
  const MatmulVariant variant = choose_matmul(device_, most_rows(lead), matrix);
  const Ref x = variant.integer ? encoded(op.inputs[0], matrix) : read(op.inputs[0]), y = write(last->outputs[0]);
  const std::uint32_t columns = static_cast<std::uint32_t>(matrix.shape.rows), width = variant.panels * kPanelColumns;
  push(pipeline_of(device_, matrix.shape.format, variant), {(columns + width - 1) / width, lead, variant.rows},
       {x, absolute(matrix.codes()), absolute(matrix.headers()), absolute(weights_.vector(input(op, 2))), residual, y,
        counts(lead)},
       {columns, static_cast<std::uint32_t>(matrix.shape.columns), static_cast<std::uint32_t>(matrix.shape.blocks),
        matrix.slices, matrix.slice_blocks, x.place->stride, y.place->stride,
        residual.place ? residual.place->stride : 0u, matrix.extra_bytes()});
}

// The rows of a value in int8, made once for all products that take them in the same order.
Ref Compiler::encoded(std::uint32_t value, const PackedMatrix& matrix) {
  const bool nibbles = matrix.shape.format != Format::kQ8_0;
  const auto found = encoded_.find({value, nibbles});
  if (found != encoded_.end()) return from(found->second);
  const Ref x = read(value);
  const auto blocks = static_cast<std::uint32_t>(matrix.shape.blocks);
  Place* rows = make_place(Space::kArena, x.place->lead, kEncodedWords * blocks);
  push(pipeline("encode_rows", {device_.profile().wide_threads, nibbles}), columns_grid(blocks, x.place->lead, 1),
       {x, to(rows)}, {static_cast<std::uint32_t>(matrix.shape.columns), blocks, x.place->stride, rows->stride});
  encoded_[{value, nibbles}] = rows;
  return from(rows);
}

}  // namespace nacelle::vulkan
