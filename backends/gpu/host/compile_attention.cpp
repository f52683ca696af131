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

std::function<KvView(const Addresses&)> Compiler::kv_of(std::uint32_t group, std::uint32_t layer) const {
  return [=, table_width = step_.table_width, tables = table_offset(group)](const Addresses& at) {
    KvView view = at.cache->layout(group).view(layer);
    view.base = at.cache->memory(group);
    view.block_count = at.cache->block_count(group);
    view.tables = at.in_step<std::uint32_t>(tables);
    view.table_width = table_width;
    return view;
  };
}

void Compiler::write_kv(const nacelle_op& op) {
  const auto of = attributes<nacelle_attention_attributes>(op);
  const Place* k = read(op.inputs[1]);
  const Place* v = input(op, 2) == NACELLE_NO_VALUE ? nullptr : read(op.inputs[2]);
  push([=, step = step_, count = count_offset(Lead::kRows), cache = kv_of(of.cache_group, of.cache_layer),
        grid = Grid{of.kv_head_count, bucket_.rows, 1}](const Addresses& at) {
    const KvWriteArguments arguments{cache(at),
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

AttentionArguments Compiler::attention_arguments(const nacelle_op& op) const {
  const auto of = attributes<nacelle_attention_attributes>(op);
  const bool has_values = input(op, 2) != NACELLE_NO_VALUE;
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
  base.splits = of.cache_group == NACELLE_NO_CACHE ? 1 : divide_up(bucket_.context, kSplitTokens);
  return base;
}

// How the work of an attention is given to blocks of threads.
struct Compiler::AttentionBlocks {
  Kernel kernel;
  bool split;               // a block takes one split of the keys, and a fold follows; else it walks all splits
  std::uint32_t tile_rows;  // that a block takes
  std::uint32_t heads;      // blocks side by side for a row's heads
};

Compiler::AttentionBlocks Compiler::attention_blocks(const nacelle_attention_attributes& of, std::uint32_t splits,
                                                     std::uint64_t partial_bytes) const {
  const bool cached = of.cache_group != NACELLE_NO_CACHE;
  const AttentionVariant& variant =
      cached ? choose_attention(of, cache_.key_type,
                                graph_.cache_groups[of.cache_group]->value_width ? cache_.value_type : cache_.key_type,
                                weights_.device().properties)
             : own_rows_attention();
  const std::uint32_t group = of.head_count / of.kv_head_count, together = std::min(group, variant.heads);
  // A step with a row a sequence gives each row a block of its own; else rows of a sequence share the keys they load.
  const auto rows_of = [&](std::uint32_t queries) {
    return bucket_.rows > bucket_.sequences ? std::max(1u, queries / together) : 1;
  };
  const bool few = variant.tensor ? bucket_.rows <= std::max(bucket_.sequences, kFewRows)
                                  : rows_of(variant.walk_queries) == 1 && splits > 1;
  const bool split = cached && few && partial_bytes * bucket_.rows <= kMaxPartialBytes;
  return {split ? variant.split : variant.walk, split, rows_of(split ? variant.split_queries : variant.walk_queries),
          of.kv_head_count * divide_up(group, variant.heads)};
}

void Compiler::attention(const nacelle_op& op) {
  const auto of = attributes<nacelle_attention_attributes>(op);
  const bool cached = of.cache_group != NACELLE_NO_CACHE;
  if (cached) write_kv(op);
  AttentionArguments base = attention_arguments(op);
  const std::uint64_t partial_bytes =
      std::uint64_t{4} * of.head_count * base.splits * (of.value_width + 2);  // of a row
  const AttentionBlocks blocks = attention_blocks(of, base.splits, partial_bytes);
  base.tile_rows = blocks.tile_rows;
  Place* partial = blocks.split ? temporary(Lead::kRows, partial_bytes) : nullptr;
  const Place* q = read(op.inputs[0]);
  const Place* k = cached ? nullptr : read(op.inputs[1]);
  const Place* v = cached ? nullptr : input(op, 2) == NACELLE_NO_VALUE ? k : read(op.inputs[2]);
  Place* out = write(op.outputs[0]);
  const auto arguments_at = [=, step = step_, count = count_offset(Lead::kRows),
                             sequences = count_offset(Lead::kSequences),
                             cache = kv_of(of.cache_group, of.cache_layer)](const Addresses& at) {
    AttentionArguments arguments = base;
    if (cached) arguments.cache = cache(at);
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
  const Grid grid{blocks.split ? base.splits : 1, blocks.heads, divide_up(bucket_.rows, blocks.tile_rows)};
  push([=, kernel = blocks.kernel](const Addresses& at) {
    return Launch::of(kernel, grid, kAttentionThreads, arguments_at(at));
  });
  if (!blocks.split) return;
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
