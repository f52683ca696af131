// Matmuls: those that share their input become one step; bias, residual and gated activation are applied to each tile
// while it is in the cache.
#include <algorithm>
#include <memory>

#include "backends/cpu/compiler.hpp"
#include "backends/cpu/tiling.hpp"

namespace nacelle::cpu {

// The operations behind a part: y = x w + b, then perhaps a residual; or gate and up, then their gated product.
struct Compiler::MatmulOps {
  const nacelle_op* matmul;
  const nacelle_op* up;
  const nacelle_op* last;  // ADD or GATED, or the matmul itself
  std::uint32_t residual = NACELLE_NO_VALUE;
};

// The GATED operation of which this matmul is the gate or the up half, where both halves feed nothing else and share
// their input and their kernel.
const nacelle_op* Compiler::gate_of(const nacelle_op& matmul) const {
  const nacelle_op* gated = only_consumer(matmul.outputs[0]);
  if (!gated || gated->kind != NACELLE_OP_GATED || gated->inputs[0] == gated->inputs[1]) return nullptr;
  for (std::uint32_t half = 0; half < 2; ++half) {
    const std::uint32_t value = gated->inputs[half];
    if (only_consumer(value) != gated) return nullptr;
    bool found = false;
    for (std::uint32_t consumer : consumers(matmul.inputs[0])) {
      const nacelle_op& op = *graph_.ops[consumer];
      found = found || (op.kind == NACELLE_OP_MATMUL && op.outputs[0] == value &&
                        weights_.matrix(op.inputs[1]).variant == weights_.matrix(matmul.inputs[1]).variant);
    }
    if (!found) return nullptr;
  }
  return gated;
}

// All matmuls of the input of operation `index` that its encoding serves; they and what is fused with them become done.
std::vector<Compiler::MatmulOps> Compiler::gather_matmuls(std::uint32_t index) {
  const nacelle_op& first = *graph_.ops[index];
  const MatmulVariant* variant = weights_.matrix(first.inputs[1]).variant;
  const auto finish = [&](const nacelle_op* op) {
    done_[static_cast<std::uint32_t>(std::find(graph_.ops, graph_.ops + graph_.op_count, op) - graph_.ops)] = true;
  };
  std::vector<MatmulOps> found;
  for (std::uint32_t consumer : consumers(first.inputs[0])) {
    const nacelle_op& op = *graph_.ops[consumer];
    if (done_[consumer] || op.kind != NACELLE_OP_MATMUL || weights_.matrix(op.inputs[1]).variant != variant) continue;
    MatmulOps ops{&op, nullptr, &op};
    const nacelle_op* next = only_consumer(op.outputs[0]);
    if (const nacelle_op* gated = gate_of(op)) {
      if (gated->inputs[0] != op.outputs[0]) continue;  // the up half: its gate takes it along
      const auto up = std::find_if(graph_.ops, graph_.ops + graph_.op_count, [&](const nacelle_op* other) {
        return other->output_count == 1 && other->outputs[0] == gated->inputs[1];
      });
      ops.up = *up;
      ops.last = gated;
      finish(*up);
      finish(gated);
    } else if (next && next->kind == NACELLE_OP_ADD) {
      const std::uint32_t other = next->inputs[0] == op.outputs[0] ? next->inputs[1] : next->inputs[0];
      if (!is_weight(other) && emitted(other)) {
        ops.last = next;
        ops.residual = other;
        finish(next);
      }
    }
    done_[consumer] = true;
    found.push_back(ops);
  }
  return found;
}

// The rows of `x` as the variant wants them, encoded once for all matmuls that read it.
Place* Compiler::encode(std::uint32_t x, const MatmulVariant& variant) {
  if (!variant.encode) return nullptr;
  const auto key = std::pair(x, variant.encode);
  if (const auto found = encoded_.find(key); found != encoded_.end()) return found->second;
  const Lead lead = lead_of(x);
  begin_rows(lead, true);
  const Place* from = read(x);
  Place* to = temporary(lead, encoded_row_bytes(variant.activation, from->width));
  const std::uint32_t blocks = (from->width + kQuantBlock - 1) / kQuantBlock;
  push_rows([=, encode = variant.encode](const Frame& frame, std::uint32_t row, std::byte*) {
    encode(frame.at(*from, row), from->width, 0, blocks, frame.at<std::uint8_t>(*to, row));
  });
  return encoded_[key] = to;
}

std::vector<Encoding> Compiler::plan_encodings(std::uint32_t value) {
  std::vector<Encoding> found;
  const Lead lead = lead_of(value);
  for (const std::uint32_t consumer : consumers(value)) {
    const nacelle_op& op = *graph_.ops[consumer];
    if (op.kind != NACELLE_OP_MATMUL) continue;
    const MatmulVariant& variant = *weights_.matrix(op.inputs[1]).variant;
    const auto key = std::pair(value, variant.encode);
    if (!variant.encode || encoded_.contains(key)) continue;
    encoded_[key] = temporary(lead, encoded_row_bytes(variant.activation, width_of(value)));
    found.push_back({variant.encode, encoded_[key]});
  }
  return found;
}

bool Compiler::is_only_encoded(std::uint32_t value) const {
  return !is_kept(value) && std::all_of(consumers(value).begin(), consumers(value).end(), [&](std::uint32_t consumer) {
    const nacelle_op& op = *graph_.ops[consumer];
    return op.kind == NACELLE_OP_MATMUL && encoded_.contains({value, weights_.matrix(op.inputs[1]).variant->encode});
  });
}

void Compiler::matmul(std::uint32_t index) {
  const nacelle_op& first = *graph_.ops[index];
  const std::uint32_t x = first.inputs[0];
  const MatmulVariant& variant = *weights_.matrix(first.inputs[1]).variant;
  const std::vector<MatmulOps> found = gather_matmuls(index);
  Place* encoded = encode(x, variant);
  begin_step();
  const Place* from = encoded ? keep_alive(encoded) : read(x);
  std::vector<MatmulPart> parts;
  for (const MatmulOps& ops : found) {
    MatmulPart part;
    part.weights = &weights_.matrix(ops.matmul->inputs[1]);
    part.bias = weights_.vector(input(*ops.matmul, 2));
    if (ops.up) {
      const auto of = attributes<nacelle_activation_attributes>(*ops.last);
      part.gated = {of.activation, of.clamp, of.alpha, of.up_offset};
      part.up_weights = &weights_.matrix(ops.up->inputs[1]);
      part.up_bias = weights_.vector(input(*ops.up, 2));
    }
    if (ops.residual != NACELLE_NO_VALUE) part.residual = read(ops.residual);
    part.out = write(ops.last->outputs[0]);
    // A tile holds whole blocks where the width does: see even_groups.
    if (ops.up && part.out->width % kQuantBlock == 0) {
      part.encodings = plan_encodings(ops.last->outputs[0]);
      part.only_encoded = is_only_encoded(ops.last->outputs[0]);
    }
    parts.push_back(std::move(part));
  }
  push_matmul(std::move(parts), from);
}

namespace {

// One tile of one matmul: `groups` groups from `group`, for the rows of `call`.
void multiply_tile(const PackedMatrix& w, MatmulCall call, std::uint32_t group, std::uint32_t groups, float* out,
                   std::uint64_t out_stride) {
  call.weights = w.memory.as<std::uint8_t>(group * w.group_bytes);
  call.group_bytes = w.group_bytes;
  call.columns = static_cast<std::uint32_t>(w.columns);
  call.out = out;
  call.out_stride = out_stride;
  w.variant->multiply(call, groups);
}

}  // namespace

// One step of matmuls that read the same rows. Its units are cut by tile(); what a part does beside its product is done
// to each kernel call's columns while they are warm.
struct Compiler::MatmulStep {
  const VectorKernels& kernels;
  const Place* x;
  std::vector<MatmulPart> parts;
  const MatmulVariant& variant = *parts[0].weights->variant;
  bool encodes =
      std::any_of(parts.begin(), parts.end(), [](const MatmulPart& part) { return !part.encodings.empty(); });

  Work work(const Frame& frame) const {
    const std::uint32_t rows = frame.count(x->lead);
    if (rows == 0) return {0, 1};
    const Tiling tiling = tile(rows, variant, encodes);
    std::uint64_t units = 0;
    for (const MatmulPart& part : parts) units += tiling.units(part.weights->groups());
    return matmul_work(units, rows);
  }

  void run(const Frame& frame, std::uint64_t begin, std::uint64_t end, std::byte* scratch) const {
    const std::uint32_t rows = frame.count(x->lead);
    const Tiling tiling = tile(rows, variant, encodes);
    std::uint64_t first = 0;  // unit of the part at hand
    for (const MatmulPart& part : parts) {
      const std::uint32_t groups = part.weights->groups();
      for_calls(tiling, rows, groups, first, begin, end,
                [&](std::uint32_t group, std::uint32_t count, std::uint32_t row, std::uint32_t row_count) {
                  run_call(part, frame, group, count, row, row_count, reinterpret_cast<float*>(scratch));
                });
      first += tiling.units(groups);
    }
  }

 private:
  // Groups [group, group + groups) of a part, for rows [row, row + rows). Gate and up are made in scratch.
  void run_call(const MatmulPart& part, const Frame& frame, std::uint32_t group, std::uint32_t groups,
                std::uint32_t row, std::uint32_t rows, float* scratch) const {
    const std::uint32_t columns = groups * kGroupRows;
    MatmulCall call{};
    call.rows = rows;
    call.x = frame.at<const std::uint8_t>(*x, row);
    call.x_stride = x->stride;
    float* out = frame.at(*part.out, row) + std::uint64_t{group} * kGroupRows;
    const std::uint64_t out_stride = part.out->stride / sizeof(float);
    float* gate = part.up_weights ? scratch : out;
    const std::uint64_t gate_stride = part.up_weights ? columns : out_stride;
    float* up = scratch + kScratchFloats;
    if (part.residual) fetch_residual(*part.residual, frame, group, columns, row, rows);
    multiply_tile(*part.weights, call, group, groups, gate, gate_stride);
    if (part.up_weights) multiply_tile(*part.up_weights, call, group, groups, up, columns);
    for (std::uint32_t r = 0; r < rows; ++r) {
      float* y = gate + r * gate_stride;
      float* to = part.only_encoded ? y : out + r * out_stride;
      add_bias(part.bias, group, columns, y);
      if (part.up_weights) {
        float* up_row = up + std::uint64_t{r} * columns;
        add_bias(part.up_bias, group, columns, up_row);
        kernels.gated(part.gated, y, up_row, columns, to);
      }
      if (part.residual) kernels.add(y, residual_at(*part.residual, frame, group, row + r), columns, y);
      for (const Encoding& encoding : part.encodings)
        encoding.encode(to, part.out->width, group / 2, (group + groups) / 2,
                        frame.at<std::uint8_t>(*encoding.to, row + r));
    }
  }

  void add_bias(const float* bias, std::uint32_t group, std::uint32_t columns, float* y) const {
    if (bias) kernels.add(y, bias + std::uint64_t{group} * kGroupRows, columns, y);
  }

  static const float* residual_at(const Place& residual, const Frame& frame, std::uint32_t group, std::uint32_t row) {
    return frame.at(residual, row) + std::uint64_t{group} * kGroupRows;
  }

  // Pieces of rows, too short for the processor to fetch the next one's by itself, and perhaps in the other core's
  // cache: all are on their way while the products are made.
  static void fetch_residual(const Place& residual, const Frame& frame, std::uint32_t group, std::uint32_t columns,
                             std::uint32_t row, std::uint32_t rows) {
    for (std::uint32_t r = 0; r < rows; ++r)
      for (std::uint32_t i = 0; i < columns; i += kGroupRows)
        __builtin_prefetch(residual_at(residual, frame, group, row + r) + i, 0, 2);
  }
};

void Compiler::push_matmul(std::vector<MatmulPart> parts, const Place* x) {
  need_scratch(2 * kScratchFloats * sizeof(float));
  const auto step = std::make_shared<const MatmulStep>(MatmulStep{vectors_, x, std::move(parts)});
  push_step(
      "matmul", [step](const Frame& frame, std::uint32_t) { return step->work(frame); },
      [step](const Frame& frame, std::uint64_t begin, std::uint64_t end, std::byte* scratch) {
        step->run(frame, begin, end, scratch);
      });
}

}  // namespace nacelle::cpu
