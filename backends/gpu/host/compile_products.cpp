// Matrix products, experts and adapters.
#include <algorithm>

#include "backends/gpu/host/compiler.hpp"
#include "backends/gpu/host/variants.hpp"

namespace nacelle::gpu {
namespace {

// An encoded row, its factor and its sums, one array after the other in a place.
struct EncodedLayout {
  EncodedLayout(std::uint32_t width, std::uint32_t rows)
      : stride(divide_up(width, 32) * 32),
        scales(std::uint64_t{stride} * 2 * rows),
        sums(scales + std::uint64_t{divide_up(rows, 4)} * 16) {}
  EncodedRows at(std::uint8_t* base) const {
    return {reinterpret_cast<std::uint16_t*>(base), reinterpret_cast<float*>(base + scales),
            reinterpret_cast<float*>(base + sums), stride};
  }
  std::uint64_t row_bytes() const { return stride * 2 + 16 + stride / 16 * 4; }  // enough for every row's share
  std::uint32_t stride;
  std::uint64_t scales, sums;
};

}  // namespace

// The rows of a value as the tensor cores take them, made once for all products that read it.
const Place* Compiler::encode(std::uint32_t value, const PackedMatrix& matrix) {
  const auto key = std::pair(value, matrix.format->bfloat16);
  if (const auto found = encoded_.find(key); found != encoded_.end()) return touch(found->second);
  const Place* x = read(value);
  const std::uint32_t rows = most_rows(x->lead);
  const EncodedLayout layout(x->width, rows);
  Place* to = temporary(x->lead, layout.row_bytes());
  encoded_[key] = to;
  push([=, bfloat16 = matrix.format->bfloat16, count = count_offset(x->lead)](const Addresses& at) {
    const EncodeArguments arguments{at.rows(*x), layout.at(at.at(*to)), bfloat16, at.in_step<std::uint32_t>(count)};
    return Launch::of(Kernel::k_encode_rows, Grid{rows, 1, 1}, kRowThreads, arguments);
  });
  return touch(to);
}

// The bias belongs to the product; an addition behind it, of a value that is already there, is taken along.
void Compiler::matmul(std::uint32_t index) {
  const nacelle_op& op = *graph_.ops[index];
  const PackedMatrix& matrix = weights_.matrix(op.inputs[1]);
  const Lead lead = lead_of(op.inputs[0]);
  const std::uint32_t rows = most_rows(lead);
  const MatmulVariant variant = choose_matmul(*matrix.format, matrix.tensor, rows);
  const nacelle_op* last = &op;
  std::uint32_t residual = NACELLE_NO_VALUE;
  const nacelle_op* next = only_consumer(op.outputs[0]);
  if (next && next->kind == NACELLE_OP_ADD && next->inputs[0] != next->inputs[1]) {
    const std::uint32_t other = next->inputs[0] == op.outputs[0] ? next->inputs[1] : next->inputs[0];
    if (!is_weight(other) && program_.values[other]) {
      last = next;
      residual = other;
      done_[consumers(op.outputs[0])[0]] = true;
    }
  }
  const Place* encoded = matrix.tensor ? encode(op.inputs[0], matrix) : nullptr;
  const Place* x = encoded ? program_.values[op.inputs[0]] : read(op.inputs[0]);
  const Place* added = residual == NACELLE_NO_VALUE ? nullptr : read(residual);
  const Place* out = write(last->outputs[0]);
  const EncodedLayout layout(x->width, rows);
  const Grid grid{divide_up(matrix.packed.panels, variant.panels), divide_up(rows, variant.rows), 1};
  const std::uint32_t threads = variant.warp_per_slice ? 32 * matrix.packed.slices : 128;
  push([=, &matrix, bias = weights_.vector(input(op, 2)), count = count_offset(lead)](const Addresses& at) {
    MatmulArguments arguments{};
    arguments.weights = matrix.packed;
    arguments.x = at.rows(*x);
    if (encoded) arguments.encoded = layout.at(at.at(*encoded));
    arguments.out = at.rows(*out);
    arguments.bias = bias;
    if (added) {
      arguments.residual = at.rows(*added).data;
      arguments.residual_stride = added->stride;
    }
    arguments.count = at.in_step<std::uint32_t>(count);
    return Launch::of(variant.kernel, grid, threads, arguments);
  });
}

void Compiler::moe_route(const nacelle_op& op) {
  const auto of = attributes<nacelle_moe_attributes>(op);
  const Place* scores = read(op.inputs[0]);
  const Place* experts = write(op.outputs[0]);
  const Place* weights = write(op.outputs[1]);
  push([=, bias = weights_.vector(input(op, 1)), grid = Grid{most_rows(scores->lead), 1, 1},
        count = count_offset(scores->lead)](const Addresses& at) {
    const MoeRouteArguments arguments{at.rows(*scores),
                                      bias,
                                      reinterpret_cast<std::uint32_t*>(at.at(*experts)),
                                      at.rows(*weights),
                                      experts->stride,
                                      of.expert_count,
                                      of.used_count,
                                      of.routing,
                                      of.renormalise,
                                      of.group_count,
                                      of.group_used,
                                      of.scale,
                                      at.in_step<std::uint32_t>(count)};
    return Launch::of(Kernel::k_moe_route, grid, kRowThreads, arguments);
  });
}

void Compiler::moe_matmul(const nacelle_op& op) {
  const auto of = attributes<nacelle_moe_attributes>(op);
  const PackedMatrix& matrix = weights_.matrix(op.inputs[1]);
  const Place* x = read(op.inputs[0]);
  const Place* experts = read(op.inputs[2]);
  const Place* out = write(op.outputs[0]);
  const Grid grid{matrix.expert_panels, of.used_count, most_rows(out->lead)};
  push([=, &matrix, bias = weights_.vector(input(op, 3)), count = count_offset(out->lead)](const Addresses& at) {
    const MoeMatmulArguments arguments{matrix.packed,
                                       of.expert_count,
                                       of.used_count,
                                       matrix.expert_panels,
                                       matrix.outputs,
                                       of.x_per_expert,
                                       at.rows(*x),
                                       at.rows(*out),
                                       reinterpret_cast<const std::uint32_t*>(at.at(*experts)),
                                       experts->stride,
                                       bias,
                                       at.in_step<std::uint32_t>(count)};
    return Launch::of(matrix.format->moe, grid, 32 * matrix.packed.slices, arguments);
  });
}

void Compiler::moe_combine(const nacelle_op& op) {
  const auto of = attributes<nacelle_moe_attributes>(op);
  const Place* y = read(op.inputs[0]);
  const Place* weights = read(op.inputs[1]);
  const Place* out = write(op.outputs[0]);
  const Grid grid{divide_up(out->width, kRowThreads), most_rows(out->lead), 1};
  push([=, count = count_offset(out->lead)](const Addresses& at) {
    return Launch::of(Kernel::k_moe_combine, grid, kRowThreads,
                      MoeCombineArguments{at.rows(*y), at.rows(*weights), at.rows(*out), of.used_count,
                                          at.in_step<std::uint32_t>(count)});
  });
}

void Compiler::adapter(const nacelle_op& op) {
  const std::uint32_t target = attributes<nacelle_adapter_attributes>(op).target;
  const Place* base = read(op.inputs[0]);
  const Place* x = read(op.inputs[1]);
  const Place* out = write(op.outputs[0]);
  const AdapterEntry* entries = weights_.adapters(target);
  push([=, slots = index_offset(op.inputs[2]), entry_count = entries ? weights_.adapter_slots() : 0,
        grid = Grid{most_rows(out->lead), 1, 1}, count = count_offset(out->lead)](const Addresses& at) {
    return Launch::of(Kernel::k_adapter, grid, kRowThreads,
                      AdapterArguments{at.rows(*base), at.rows(*x), at.rows(*out), at.in_step<std::uint32_t>(slots),
                                       entries, entry_count, at.in_step<std::uint32_t>(count)});
  });
}

}  // namespace nacelle::gpu
