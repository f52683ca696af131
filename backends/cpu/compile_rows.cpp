// Operations that work row by row.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/compiler.hpp"

namespace nacelle::cpu {

void Compiler::embedding(const nacelle_op& op) {
  const float factor = attributes<nacelle_embedding_attributes>(op).scale;
  const PackedMatrix* table = &weights_.matrix(op.inputs[1]);
  const IndexArray tokens = indices_of(op.inputs[0]);
  begin_rows(Lead::kRows, true);
  const Place* out = write(op.outputs[0]);
  push_rows([=](const Frame& frame, std::uint32_t row, std::byte*) {
    // An id outside the table must not read outside its memory.
    const std::uint64_t token = std::min<std::uint64_t>((frame.*tokens)[row], table->rows - 1);
    unpack_row(table->type, table->memory.as<std::uint8_t>(), token, table->columns, factor, frame.at(*out, row));
  });
}

void Compiler::norm(const nacelle_op& op) {
  const auto of = attributes<nacelle_norm_attributes>(op);
  const float* weight = weights_.vector(input(op, 1));
  const float* bias = op.kind == NACELLE_OP_LAYER_NORM ? weights_.vector(input(op, 2)) : nullptr;
  const bool rms = op.kind == NACELLE_OP_RMS_NORM;
  const VectorKernels& kernels = vectors_;
  begin_rows(lead_of(op.outputs[0]), true);
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  const std::uint32_t width = out->width, group = of.group ? of.group : width;
  // What only products read is encoded at once, and the row itself is never written to memory.
  std::vector<Encoding> encodings = plan_encodings(op.outputs[0]);
  const bool only_encoded = !encodings.empty() && is_only_encoded(op.outputs[0]);
  if (only_encoded) need_scratch(out->stride);
  push_rows([=, &kernels, encodings = std::move(encodings)](const Frame& frame, std::uint32_t row, std::byte* scratch) {
    const float* from = frame.at(*x, row);
    float* to = only_encoded ? reinterpret_cast<float*>(scratch) : frame.at(*out, row);
    for (std::uint32_t i = 0; i + group <= width; i += group)
      if (rms)
        kernels.rms_norm(from + i, weight, of.weight_offset, of.epsilon, group, to + i);
      else
        kernels.layer_norm(from + i, weight, bias, of.weight_offset, of.epsilon, group, to + i);
    for (const Encoding& encoding : encodings)
      encoding.encode(to, width, 0, (width + kQuantBlock - 1) / kQuantBlock, frame.at<std::uint8_t>(*encoding.to, row));
  });
}

// Cosines, then sines, of each row's angles: computed once a step for all layers that share a table.
const Place* Compiler::rope_rows(const RopeTable& table) {
  for (const auto& [known, place] : rope_rows_)
    if (known->frequencies == table.frequencies && known->magnitude == table.magnitude) return keep_alive(place);
  const std::uint32_t pairs = static_cast<std::uint32_t>(table.frequencies.size());
  Place* place = temporary(Lead::kRows, 2 * sizeof(float) * pairs);
  push_rows([=, &table](const Frame& frame, std::uint32_t row, std::byte*) {
    float* cosines = frame.at(*place, row);
    for (std::uint32_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(frame.positions[row]) * table.frequencies[i];
      cosines[i] = static_cast<float>(std::cos(angle) * table.magnitude);
      cosines[pairs + i] = static_cast<float>(std::sin(angle) * table.magnitude);
    }
  });
  rope_rows_.emplace_back(&table, place);
  return place;
}

void Compiler::rope(const nacelle_op& op) {
  const auto of = attributes<nacelle_rope_attributes>(op);
  begin_rows(Lead::kRows, true);
  const Place* table = rope_rows(weights_.rope_table(&op));
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  const auto rotate = of.style == NACELLE_ROPE_HALF ? vectors_.rotate_half : vectors_.rotate_interleaved;
  const std::uint32_t pairs = of.rotary_width / 2;
  push_rows([=](const Frame& frame, std::uint32_t row, std::byte*) {
    const float* cosines = frame.at(*table, row);
    const float* from = frame.at(*x, row);
    float* to = frame.at(*out, row);
    for (std::uint32_t head = 0; head + of.head_width <= out->width; head += of.head_width) {
      rotate(from + head, cosines, cosines + pairs, pairs, to + head);
      std::copy(from + head + 2 * pairs, from + head + of.head_width, to + head + 2 * pairs);
    }
  });
}

void Compiler::unary(const nacelle_op& op) {
  const std::uint32_t activation = attributes<nacelle_activation_attributes>(op).activation;
  const VectorKernels& kernels = vectors_;
  begin_rows(lead_of(op.outputs[0]), true);
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  push_rows([=, &kernels](const Frame& frame, std::uint32_t row, std::byte*) {
    kernels.unary(activation, frame.at(*x, row), out->width, frame.at(*out, row));
  });
}

void Compiler::gated(const nacelle_op& op) {
  const auto of = attributes<nacelle_activation_attributes>(op);
  const GatedAttributes gate{of.activation, of.clamp, of.alpha, of.up_offset};
  const VectorKernels& kernels = vectors_;
  begin_rows(lead_of(op.outputs[0]), true);
  const Place* x = read(op.inputs[0]);
  const Place* up = read(op.inputs[1]);
  const Place* out = write(op.outputs[0]);
  push_rows([=, &kernels](const Frame& frame, std::uint32_t row, std::byte*) {
    kernels.gated(gate, frame.at(*x, row), frame.at(*up, row), out->width, frame.at(*out, row));
  });
}

void Compiler::combine(const nacelle_op& op) {
  const auto kernel = op.kind == NACELLE_OP_ADD ? vectors_.add : vectors_.multiply;
  begin_rows(lead_of(op.outputs[0]), true);
  const Place* a = read(op.inputs[0]);
  if (is_weight(op.inputs[1])) {
    const float* b = weights_.vector(op.inputs[1]);
    const Place* out = write(op.outputs[0]);
    push_rows([=](const Frame& frame, std::uint32_t row, std::byte*) {
      kernel(frame.at(*a, row), b, out->width, frame.at(*out, row));
    });
    return;
  }
  const Place* b = read(op.inputs[1]);
  const Place* out = write(op.outputs[0]);
  push_rows([=](const Frame& frame, std::uint32_t row, std::byte*) {
    kernel(frame.at(*a, row), frame.at(*b, row), out->width, frame.at(*out, row));
  });
}

void Compiler::scale(const nacelle_op& op) {
  const auto of = attributes<nacelle_scale_attributes>(op);
  const VectorKernels& kernels = vectors_;
  begin_rows(lead_of(op.outputs[0]), true);
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  push_rows([=, &kernels](const Frame& frame, std::uint32_t row, std::byte*) {
    kernels.scale(frame.at(*x, row), of.scale, of.shift, of.soft_cap, out->width, frame.at(*out, row));
  });
}

// The factor follows from the row's position alone, so that the whole of a row gets it from one logarithm.
void Compiler::position_scale(const nacelle_op& op) {
  const auto of = attributes<nacelle_position_scale_attributes>(op);
  const VectorKernels& kernels = vectors_;
  const IndexArray positions = indices_of(op.inputs[1]);
  begin_rows(Lead::kRows, true);
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  push_rows([=, &kernels](const Frame& frame, std::uint32_t row, std::byte*) {
    const std::uint64_t steps = (std::uint64_t{(frame.*positions)[row]} + of.offset) / of.length;
    const auto factor = static_cast<float>(1 + of.strength * std::log1p(static_cast<double>(steps)));
    kernels.scale(frame.at(*x, row), factor, 0, 0, out->width, frame.at(*out, row));
  });
}

void Compiler::xielu(const nacelle_op& op) {
  const float* parameters = weights_.vector(op.inputs[1]);
  const auto softplus = [](float x) {
    return static_cast<float>(std::log1p(std::exp(-std::abs(x)))) + std::max(x, 0.0f);
  };
  const float slope = parameters[2];
  const XieluAttributes of{softplus(parameters[0]), slope + softplus(parameters[1]), slope, parameters[3]};
  const VectorKernels& kernels = vectors_;
  begin_rows(lead_of(op.outputs[0]), true);
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  push_rows([=, &kernels](const Frame& frame, std::uint32_t row, std::byte*) {
    kernels.xielu(of, frame.at(*x, row), out->width, frame.at(*out, row));
  });
}

void Compiler::softmax(const nacelle_op& op) {
  const VectorKernels& kernels = vectors_;
  begin_rows(lead_of(op.outputs[0]), true);
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  push_rows([=, &kernels](const Frame& frame, std::uint32_t row, std::byte*) {
    kernels.softmax(frame.at(*x, row), out->width, frame.at(*out, row));
  });
}

void Compiler::normalise(const nacelle_op& op) {
  const VectorKernels& kernels = vectors_;
  begin_rows(lead_of(op.outputs[0]), true);
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  push_rows([=, &kernels](const Frame& frame, std::uint32_t row, std::byte*) {
    kernels.normalise(frame.at(*x, row), out->width, frame.at(*out, row));
  });
}

void Compiler::split(const nacelle_op& op) {
  begin_rows(lead_of(op.inputs[0]), true);
  const Place* x = read(op.inputs[0]);
  std::uint32_t first = 0;
  for (std::uint32_t i = 0; i < op.output_count; ++i) {
    const Place* out = write(op.outputs[i]);
    push_rows([=](const Frame& frame, std::uint32_t row, std::byte*) {
      std::copy_n(frame.at(*x, row) + first, out->width, frame.at(*out, row));
    });
    first += out->width;
  }
}

void Compiler::concat(const nacelle_op& op) {
  begin_rows(lead_of(op.outputs[0]), true);
  const Place* out = write(op.outputs[0]);
  std::uint32_t first = 0;
  for (std::uint32_t i = 0; i < op.input_count; ++i) {
    const Place* x = read(op.inputs[i]);
    push_rows([=](const Frame& frame, std::uint32_t row, std::byte*) {
      std::copy_n(frame.at(*x, row), x->width, frame.at(*out, row) + first);
    });
    first += x->width;
  }
}

void Compiler::gather(const nacelle_op& op) {
  const IndexArray indices = indices_of(op.inputs[1]);
  begin_rows(lead_of(op.outputs[0]), false);
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  push_rows([=](const Frame& frame, std::uint32_t row, std::byte*) {
    const std::uint32_t last = std::max(1u, frame.count(x->lead)) - 1;
    std::copy_n(frame.at(*x, std::min((frame.*indices)[row], last)), out->width, frame.at(*out, row));
  });
}

void Compiler::pool(const nacelle_op& op) {
  const std::uint32_t pooling = attributes<nacelle_pool_attributes>(op).pooling;
  const VectorKernels& kernels = vectors_;
  begin_rows(Lead::kSequences, false);
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  push_rows([=, &kernels](const Frame& frame, std::uint32_t sequence, std::byte*) {
    std::uint32_t begin = frame.sequence_starts[sequence], end = frame.sequence_starts[sequence + 1];
    if (pooling == NACELLE_POOL_FIRST) end = std::min(begin + 1, end);
    if (pooling == NACELLE_POOL_LAST && end > begin) begin = end - 1;
    float* to = frame.at(*out, sequence);
    std::fill_n(to, out->width, 0.0f);
    const float share = end > begin ? 1.0f / static_cast<float>(end - begin) : 0.0f;
    for (std::uint32_t row = begin; row < end; ++row) kernels.add_scaled(frame.at(*x, row), share, out->width, to);
  });
}

// In plain f32: the low-rank products are small beside the weight that they change.
void Compiler::adapter_matmul(const nacelle_op& op) {
  const std::uint32_t target = attributes<nacelle_adapter_attributes>(op).target;
  const IndexArray slots = indices_of(op.inputs[2]);
  const CpuWeights& weights = weights_;
  const VectorKernels& kernels = vectors_;
  begin_rows(lead_of(op.outputs[0]), true);
  const Place* y = read(op.inputs[0]);
  const Place* x = read(op.inputs[1]);
  const Place* experts = op.kind == NACELLE_OP_MOE_ADAPTER_MATMUL ? read(op.inputs[3]) : nullptr;
  const Place* out = write(op.outputs[0]);
  need_scratch(weights_.max_rank() * sizeof(float));
  const sdk::AdapterShape of = sdk::adapter_shape(*graph_.values[target]);
  const std::uint32_t used = experts ? experts->width : 1, rows = out->width / used;
  const auto columns = static_cast<std::uint32_t>(of.columns);
  // An expert's x is the row, or its own slice of it.
  const std::uint64_t x_step = x->width == columns ? 0 : columns;
  push_rows([=, &weights, &kernels](const Frame& frame, std::uint32_t row, std::byte* scratch) {
    float* to = frame.at(*out, row);
    std::copy_n(frame.at(*y, row), out->width, to);
    const sdk::LowRankPair* pair = weights.adapters().find(target, (frame.*slots)[row]);
    if (!pair) return;
    float* low = reinterpret_cast<float*>(scratch);
    for (std::uint32_t slice = 0; slice < used; ++slice, to += rows) {
      const std::uint64_t matrix =
          experts ? std::min<std::uint64_t>(frame.at<std::uint32_t>(*experts, row)[slice], of.matrices - 1) : 0;
      const float* a = pair->a.data() + matrix * pair->rank * columns;
      const float* b = pair->b.data() + matrix * pair->rank * rows;
      for (std::uint32_t i = 0; i < pair->rank; ++i)
        low[i] = kernels.dot(frame.at(*x, row) + slice * x_step, a + std::uint64_t{i} * columns, columns);
      for (std::uint32_t n = 0; n < rows; ++n)
        to[n] += pair->scale * kernels.dot(low, b + std::uint64_t{n} * pair->rank, pair->rank);
    }
  });
}

}  // namespace nacelle::cpu
