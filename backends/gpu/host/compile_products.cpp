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

// A matrix product with what it takes along.
struct Compiler::Product {
  const nacelle_op& op;
  const PackedMatrix& matrix;
  Lead lead;
  std::uint32_t rows, result, residual;  // values; the residual may be NACELLE_NO_VALUE

  // All that does not lie in a plan's memory.
  MatmulArguments constant(const float* bias) const {
    MatmulArguments arguments{};
    arguments.weights = matrix.packed;
    arguments.bias = bias;
    return arguments;
  }
};

namespace {

void add_residual(MatmulArguments& to, const Place* added, const Addresses& at) {
  if (!added) return;
  to.residual = at.rows(*added).data;
  to.residual_stride = added->stride;
}

}  // namespace

// The bias belongs to the product; an addition behind it, of a value that is already there, is taken along.
void Compiler::matmul(std::uint32_t index) {
  const nacelle_op& op = *graph_.ops[index];
  const Lead lead = lead_of(op.inputs[0]);
  Product of{op, weights_.matrix(op.inputs[1]), lead, most_rows(lead), op.outputs[0], NACELLE_NO_VALUE};
  const nacelle_op* next = only_consumer(op.outputs[0]);
  if (next && next->kind == NACELLE_OP_ADD && next->inputs[0] != next->inputs[1]) {
    const std::uint32_t other = next->inputs[0] == op.outputs[0] ? next->inputs[1] : next->inputs[0];
    if (!is_weight(other) && program_.values[other]) {
      of.result = next->outputs[0];
      of.residual = other;
      done_[consumers(op.outputs[0])[0]] = true;
    }
  }
  if (!vendor_product(of)) own_product(of);
}

void Compiler::own_product(const Product& of) {
  const PackedMatrix& matrix = of.matrix;
  const MatmulVariant variant = choose_matmul(*matrix.format, matrix.tensor, of.rows);
  const Place* encoded = matrix.tensor ? encode(of.op.inputs[0], matrix) : nullptr;
  const Place* x = encoded ? program_.values[of.op.inputs[0]] : read(of.op.inputs[0]);
  const Place* added = of.residual == NACELLE_NO_VALUE ? nullptr : read(of.residual);
  const Place* out = write(of.result);
  const EncodedLayout layout(x->width, of.rows);
  const Grid grid{divide_up(matrix.packed.panels, variant.panels), divide_up(of.rows, variant.rows), 1};
  const std::uint32_t threads = variant.warp_per_slice ? 32 * matrix.packed.slices : 128;
  push([=, base = of.constant(weights_.vector(input(of.op, 2))), count = count_offset(of.lead)](const Addresses& at) {
    MatmulArguments arguments = base;
    arguments.x = at.rows(*x);
    if (encoded) arguments.encoded = layout.at(at.at(*encoded));
    arguments.out = at.rows(*out);
    add_residual(arguments, added, at);
    arguments.count = at.in_step<std::uint32_t>(count);
    return Launch::of(variant.kernel, grid, threads, arguments);
  });
}

// By the vendor's library: the weights unpacked to 16 bits, the product, then scales, bias and residual. False where
// it may not be used or cannot.
bool Compiler::vendor_product(const Product& of) {
  const PackedMatrix& matrix = of.matrix;
  const Blas* blas = weights_.vendor_products();
  if (!blas || !takes_vendor_product(*matrix.format, matrix.packed, weights_.device().properties, of.rows))
    return false;
  const std::uint32_t columns = matrix.packed.columns, outputs = matrix.packed.rows;
  const std::uint32_t weight_stride = divide_up(columns, 32) * 32;
  const std::uint32_t out_stride = divide_up(outputs, 4) * 4;
  const EncodedLayout layout(columns, of.rows);
  BlasProduct shape{};
  shape.rows = of.rows;
  shape.outputs = outputs;
  shape.columns = columns;
  shape.weight_stride = weight_stride;
  shape.x_stride = layout.stride;
  shape.y_stride = out_stride;
  shape.bfloat16 = matrix.format->bfloat16;
  if (!blas->supports(shape)) return false;

  const Place* encoded = encode(of.op.inputs[0], matrix);
  Place* unpacked = make_place(false, of.lead, weight_stride / 2, std::uint64_t{matrix.packed.panels} * 16);
  Place* workspace = make_place(false, of.lead, kBlasWorkspace / 4, 1);
  const MatmulArguments base = of.constant(weights_.vector(input(of.op, 2)));
  push([=, kernel = matrix.format->unpack,
        grid = Grid{matrix.packed.panels, divide_up(matrix.packed.tiles, 8), 1}](const Addresses& at) {
    const UnpackArguments arguments{base.weights, reinterpret_cast<std::uint16_t*>(at.at(*unpacked)), weight_stride};
    return Launch::of(kernel, grid, 256, arguments);
  });
  touch(unpacked);
  touch(workspace);
  encode(of.op.inputs[0], matrix);  // read once more
  Place* out = write(of.result);
  push_product([=](const Addresses& at) {
    BlasProduct product = shape;
    product.weights = at.at(*unpacked);
    product.x = layout.at(at.at(*encoded)).data;
    product.y = at.rows(*out).data;
    product.workspace = at.at(*workspace);
    return product;
  });
  encode(of.op.inputs[0], matrix);
  const Place* added = of.residual == NACELLE_NO_VALUE ? nullptr : read(of.residual);
  touch(out);
  push([=, grid = Grid{divide_up(outputs, 256), of.rows, 1}, count = count_offset(of.lead)](const Addresses& at) {
    MatmulArguments arguments = base;
    arguments.encoded = layout.at(at.at(*encoded));
    arguments.out = at.rows(*out);
    add_residual(arguments, added, at);
    arguments.count = at.in_step<std::uint32_t>(count);
    return Launch::of(Kernel::k_matmul_finish, grid, 256, arguments);
  });
  return true;
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
  const Place* experts = op.kind == NACELLE_OP_MOE_ADAPTER_MATMUL ? read(op.inputs[3]) : nullptr;
  const Place* out = write(op.outputs[0]);
  const AdapterEntry* entries = weights_.adapters(target);
  const sdk::AdapterShape of = sdk::adapter_shape(*graph_.values[target]);
  const std::uint32_t used = experts ? experts->width : 1, columns = static_cast<std::uint32_t>(of.columns);
  AdapterArguments constant{};
  constant.entries = entries;
  constant.entry_count = entries ? weights_.adapter_slots() : 0;
  constant.expert_stride = experts ? experts->stride : 0;
  constant.expert_count = static_cast<std::uint32_t>(of.matrices);
  constant.outputs = out->width / used;
  constant.columns = columns;
  constant.x_step = x->width == columns ? 0 : columns;
  push([=, slots = index_offset(op.inputs[2]), grid = Grid{most_rows(out->lead), used, 1},
        count = count_offset(out->lead)](const Addresses& at) {
    AdapterArguments arguments = constant;
    arguments.base = at.rows(*base);
    arguments.x = at.rows(*x);
    arguments.out = at.rows(*out);
    arguments.slots = at.in_step<std::uint32_t>(slots);
    if (experts) arguments.experts = reinterpret_cast<const std::uint32_t*>(at.at(*experts));
    arguments.count = at.in_step<std::uint32_t>(count);
    return Launch::of(Kernel::k_adapter, grid, kRowThreads, arguments);
  });
}

}  // namespace nacelle::gpu
