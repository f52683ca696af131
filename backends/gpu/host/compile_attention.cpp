// Attention with the writing of its cache, the selection of candidates, and the embedding output.
#include <algorithm>

#include "backends/gpu/host/compiler.hpp"
#include "backends/gpu/host/variants.hpp"

namespace nacelle::gpu {
namespace {

// As in kernels/attention.hpp and kernels/select.hpp.
constexpr std::uint32_t kSplitTokens = 256, kAttentionThreads = 128;
constexpr std::uint32_t kStretch = 2048, kMaxCandidates = 256, kSelectThreads = 256;
constexpr std::uint32_t kFewRows = 64;                 // up to here splits are worth a block each on tensor cores
constexpr std::uint64_t kMaxPartialBytes = 256 << 20;  // beyond, blocks walk their splits

}  // namespace

void Compiler::attention(const nacelle_op& op) {
  const auto of = attributes<nacelle_attention_attributes>(op);
  const bool cached = of.cache_group != NACELLE_NO_CACHE;
  const bool has_values = input(op, 2) != NACELLE_NO_VALUE;
  const nacelle_step_layout& step = step_;
  const std::uint64_t count = count_offset(Lead::kRows), sequences = count_offset(Lead::kSequences);
  const std::uint64_t tables = table_offset(of.cache_group);
  const auto view_of = [=](const Addresses& at) {
    KvView view = at.cache->layout(of.cache_group).view(of.cache_layer);
    view.base = at.cache->memory(of.cache_group);
    view.block_count = at.cache->block_count(of.cache_group);
    view.tables = at.in_step<std::uint32_t>(tables);
    view.table_width = step.table_width;
    return view;
  };
  if (cached) {
    const Place* k = read(op.inputs[1]);
    const Place* v = has_values ? read(op.inputs[2]) : nullptr;
    push([=, grid = Grid{of.kv_head_count, bucket_.rows, 1}](const Addresses& at) {
      const KvWriteArguments arguments{view_of(at),
                                       at.rows(*k),
                                       v ? at.rows(*v) : Rows{},
                                       of.kv_head_count,
                                       of.key_width,
                                       of.value_width,
                                       at.in_step<std::uint32_t>(step.positions),
                                       at.in_step<std::uint32_t>(step.row_sequences),
                                       at.in_step<std::uint32_t>(count)};
      return Launch::of(Kernel::k_kv_write, grid, kAttentionThreads, arguments);
    });
  }

  AttentionArguments base{};
  base.heads = of.head_count;
  base.kv_heads = of.kv_head_count;
  base.key_width = of.key_width;
  base.value_width = of.value_width;
  base.value_stride = has_values ? of.value_width : of.key_width;
  base.causal = of.causal;
  base.window = of.window;
  base.chunked = op.kind == NACELLE_OP_CHUNKED_ATTENTION;
  base.scale = of.scale;
  base.soft_cap = of.soft_cap;
  base.alibi_bias = of.alibi_bias;
  base.sinks = weights_.vector(input(op, 3));
  base.bias = weights_.vector(input(op, 4));
  if (base.bias) base.bias_reach = static_cast<std::uint32_t>(graph_.values[op.inputs[4]]->shape[1] / 2);
  base.splits = cached ? divide_up(bucket_.context, kSplitTokens) : 1;
  const AttentionVariant& variant =
      cached ? choose_attention(of, cache_.key_type,
                                graph_.cache_groups[of.cache_group]->value_width ? cache_.value_type : cache_.key_type,
                                weights_.device().properties)
             : own_rows_attention();
  const std::uint32_t group = of.head_count / of.kv_head_count, together = std::min(group, variant.heads);
  const std::uint64_t partial_bytes =
      std::uint64_t{4} * of.head_count * base.splits * (of.value_width + 2);  // of a row
  // A step with a row a sequence gives each row a block of its own; else rows of a sequence share the keys they load.
  const auto rows_of = [&](std::uint32_t queries) {
    return bucket_.rows > bucket_.sequences ? std::max(1u, queries / together) : 1;
  };
  const bool few = variant.tensor ? bucket_.rows <= std::max(bucket_.sequences, kFewRows)
                                  : rows_of(variant.walk_queries) == 1 && base.splits > 1;
  const bool split = cached && few && partial_bytes * bucket_.rows <= kMaxPartialBytes;
  base.tile_rows = rows_of(split ? variant.split_queries : variant.walk_queries);
  Place* partial = split ? temporary(Lead::kRows, partial_bytes) : nullptr;
  const Place* q = read(op.inputs[0]);
  const Place* k = cached ? nullptr : read(op.inputs[1]);
  const Place* v = cached ? nullptr : has_values ? read(op.inputs[2]) : k;
  Place* out = write(op.outputs[0]);
  const auto arguments_at = [=](const Addresses& at) {
    AttentionArguments arguments = base;
    if (cached) arguments.cache = view_of(at);
    if (k) arguments.keys = at.rows(*k);
    if (v) arguments.values = at.rows(*v);
    arguments.q = at.rows(*q);
    arguments.out = at.rows(*out);
    arguments.positions = at.in_step<std::uint32_t>(step.positions);
    arguments.row_sequences = at.in_step<std::uint32_t>(step.row_sequences);
    arguments.sequence_starts = at.in_step<std::uint32_t>(step.sequence_starts);
    arguments.sequence_lengths = at.in_step<std::uint32_t>(step.sequence_lengths);
    if (partial) arguments.partial = at.rows(*partial).data;
    arguments.count = at.in_step<std::uint32_t>(count);
    arguments.sequence_count = at.in_step<std::uint32_t>(sequences);
    return arguments;
  };
  const Grid grid{split ? base.splits : 1, of.kv_head_count * divide_up(group, variant.heads),
                  divide_up(bucket_.rows, base.tile_rows)};
  push([=, kernel = split ? variant.split : variant.walk](const Addresses& at) {
    return Launch::of(kernel, grid, kAttentionThreads, arguments_at(at));
  });
  if (!split) return;
  touch(partial);
  touch(out);
  push([=, fold = Grid{of.head_count, bucket_.rows, 1}](const Addresses& at) {
    return Launch::of(Kernel::k_attention_fold, fold, kAttentionThreads, arguments_at(at));
  });
}

void Compiler::logits_select(const nacelle_op& op) {
  const std::uint32_t width = width_of(op.inputs[0]);
  if (width != graph_.vocabulary)
    throw failure(NACELLE_INVALID_ARGUMENT, "the logits are not as wide as the graph's vocabulary");
  if (bucket_.candidates > kMaxCandidates)
    throw failure(NACELLE_INVALID_ARGUMENT, "a plan selects at most " + std::to_string(kMaxCandidates) +
                                                " candidates, not " + std::to_string(bucket_.candidates));
  const std::uint32_t outputs = bucket_.output_rows, stretches = divide_up(width, kStretch);
  const Place* logits = program_.logits = read(op.inputs[0]);
  Place* adjusted = make_place(true, Lead::kOutputRows, width, outputs);
  Place* found = temporary(Lead::kOutputRows, 8ull * stretches * bucket_.candidates);
  Place* summaries = temporary(Lead::kOutputRows, 16ull * stretches);
  program_.adjusted = adjusted;
  const auto arguments_at = [=, step = step_, output = output_, bucket = bucket_,
                             count = count_offset(Lead::kOutputRows)](const Addresses& at) {
    SelectArguments arguments{};
    arguments.logits = at.rows(*logits);
    arguments.adjusted = at.rows(*adjusted).data;
    if (bucket.flags & NACELLE_BUCKET_MASKS) arguments.masks = at.in_step<std::uint32_t>(step.masks);
    arguments.flags = at.in_step<std::uint32_t>(step.header + offsetof(nacelle_step_header, flags));
    arguments.temperatures = at.in_step<float>(step.temperatures);
    arguments.adjustment_starts = at.in_step<std::uint32_t>(step.adjustment_starts);
    arguments.adjustments = at.in_step<std::uint8_t>(step.adjustments);
    arguments.candidates = bucket.candidates;
    arguments.stretches = stretches;
    arguments.adjustment_count = bucket.adjustments;
    arguments.stretch_ids = reinterpret_cast<std::uint32_t*>(at.at(*found));
    arguments.stretch_values =
        reinterpret_cast<float*>(at.at(*found)) + std::uint64_t{outputs} * stretches * bucket.candidates;
    arguments.summaries = at.rows(*summaries).data;
    arguments.ids = reinterpret_cast<std::uint32_t*>(at.output + output.ids);
    arguments.out_adjusted = reinterpret_cast<float*>(at.output + output.adjusted);
    arguments.out_raw = reinterpret_cast<float*>(at.output + output.raw);
    arguments.logsumexp = reinterpret_cast<float*>(at.output + output.logsumexp);
    arguments.best = at.cache ? at.cache->best() : nullptr;
    arguments.count = at.in_step<std::uint32_t>(count);
    return arguments;
  };
  push([=](const Addresses& at) {
    return Launch::of(Kernel::k_select_adjust, Grid{outputs, 1, 1}, 256, arguments_at(at));
  });
  touch(found);
  touch(summaries);
  push([=](const Addresses& at) {
    return Launch::of(Kernel::k_select_stretch, Grid{stretches, outputs, 1}, kSelectThreads, arguments_at(at));
  });
  touch(found);
  touch(summaries);
  push([=](const Addresses& at) {
    return Launch::of(Kernel::k_select_merge, Grid{outputs, 1, 1}, kSelectThreads, arguments_at(at));
  });
}

// The rows of the output block lie without gaps.
void Compiler::embedding_output(std::uint32_t value) {
  const Place* x = read(value);
  const Grid grid{divide_up(x->width, 256), most_rows(x->lead), 1};
  push([=, offset = output_.embedding, count = count_offset(x->lead)](const Addresses& at) {
    const Rows out{reinterpret_cast<float*>(at.output + offset), x->width, x->width};
    const auto* rows = at.in_step<std::uint32_t>(count);
    return Launch::of(Kernel::k_copy_columns, grid, 256,
                      CopyArguments{at.rows(*x), out, 0, 0, x->width, nullptr, rows, rows});
  });
}

}  // namespace nacelle::gpu
