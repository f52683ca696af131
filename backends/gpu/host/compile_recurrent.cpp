// Operations that carry a state along each sequence.
#include "backends/gpu/host/compiler.hpp"

namespace nacelle::gpu {
namespace {

constexpr std::uint32_t kScanColumns = 32, kScanThreads = 256;  // as in kernels/recurrent.hpp

// By the widest keys of a head alone: a model's rows have the same bits in every plan.
Kernel scan_kernel(std::uint32_t key_width) {
  return key_width <= 64    ? Kernel::k_state_scan_64
         : key_width <= 128 ? Kernel::k_state_scan_128
                            : Kernel::k_state_scan_256;
}

}  // namespace

std::function<StateView(const Addresses&)> Compiler::state_of(std::uint32_t group, std::uint32_t layer) const {
  return [=, step = step_, tables = table_offset(group)](const Addresses& at) {
    const KvView view = at.cache->layout(group).view(layer);
    return StateView{at.cache->memory(group) + view.key_offset, view.block_bytes,
                     at.in_step<std::uint32_t>(tables),         step.table_width,
                     at.in_step<std::uint32_t>(step.positions), at.in_step<std::uint32_t>(step.sequence_starts)};
  };
}

void Compiler::state_scan(const nacelle_op& op) {
  const auto of = attributes<nacelle_scan_attributes>(op);
  ScanArguments base{};
  base.rate = weights_.vector(input(op, 4));
  base.step_bias = weights_.vector(input(op, 5));
  base.skip = weights_.vector(input(op, 7));
  base.heads = of.head_count;
  base.groups = of.group_count;
  base.key_width = of.key_width;
  base.value_width = of.value_width;
  base.delta = of.rule == NACELLE_SCAN_DELTA;
  base.each_row = graph_.values[op.inputs[4]]->shape[0] != of.head_count;
  base.scale = of.scale;
  const Place *q = read(op.inputs[0]), *k = read(op.inputs[1]), *v = read(op.inputs[2]), *steps = read(op.inputs[3]);
  const Place* strength = input(op, 6) == NACELLE_NO_VALUE ? nullptr : read(op.inputs[6]);
  const Place* out = write(op.outputs[0]);
  const Grid grid{divide_up(of.value_width, kScanColumns) * of.head_count, bucket_.sequences, 1};
  push([=, state = state_of(of.cache_group, of.cache_layer), kernel = scan_kernel(of.key_width),
        count = count_offset(Lead::kSequences)](const Addresses& at) {
    ScanArguments arguments = base;
    arguments.state = state(at);
    arguments.q = at.rows(*q);
    arguments.k = at.rows(*k);
    arguments.v = at.rows(*v);
    arguments.steps = at.rows(*steps);
    if (strength) arguments.strength = at.rows(*strength);
    arguments.out = at.rows(*out);
    arguments.sequence_count = at.in_step<std::uint32_t>(count);
    return Launch::of(kernel, grid, kScanThreads, arguments);
  });
}

void Compiler::convolution(const nacelle_op& op) {
  const auto of = attributes<nacelle_convolution_attributes>(op);
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  const Grid grid{divide_up(out->width, kRowThreads), bucket_.rows, 1};
  push([=, state = state_of(of.cache_group, of.cache_layer), filters = weights_.vector(op.inputs[1]),
        bias = weights_.vector(input(op, 2)), sequences = step_.row_sequences,
        count = count_offset(Lead::kRows)](const Addresses& at) {
    const ConvolutionArguments arguments{state(at),
                                         at.rows(*x),
                                         at.rows(*out),
                                         filters,
                                         bias,
                                         of.length,
                                         of.activation,
                                         at.in_step<std::uint32_t>(sequences),
                                         at.in_step<std::uint32_t>(count)};
    return Launch::of(Kernel::k_convolution, grid, kRowThreads, arguments);
  });
}

}  // namespace nacelle::gpu
