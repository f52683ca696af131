// LOGITS_SELECT: a stretch of a row to a workgroup for what changes logits and for their sums, then a row to a
// workgroup for the choice.
#include "backends/vulkan/compiler.hpp"

namespace nacelle::vulkan {
namespace {

// A thread of the choice walks the row many times, and mesa's llvmpipe ends every loop of an invocation once they have
// gone round 65535 times together.
constexpr std::uint32_t kSelectThreads = 256;
constexpr std::uint32_t kStretch = 2048;  // columns; shaders/logits_adjust.comp knows it too

}  // namespace

void Compiler::logits_select(const nacelle_op& op) {
  const Ref raw = read(op.inputs[0]);
  if (raw.place->width != graph_.vocabulary)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "logits_select: the logits are not as wide as the graph's vocabulary");
  const std::uint32_t stretches = (graph_.vocabulary + kStretch - 1) / kStretch;
  const std::uint32_t threads = device_.profile().row_threads;
  Place* adjusted = make_place(Space::kSlot, Lead::kOutputRows, graph_.vocabulary);
  Place* summaries = make_place(Space::kArena, Lead::kOutputRows, 4 * stretches);
  Place* found = make_place(Space::kArena, Lead::kOutputRows, bucket_.candidates);
  push(pipeline("logits_adjust", {threads}), {stretches, Lead::kOutputRows},
       {raw, to(adjusted), step(step_.header), step(step_.masks), step(step_.temperatures),
        step(step_.adjustment_starts), step(step_.adjustments), to(summaries)},
       {graph_.vocabulary, raw.place->stride, adjusted->stride, bucket_.flags & NACELLE_BUCKET_MASKS ? 1u : 0u});
  push(pipeline("logits_select", {kSelectThreads}), {1, Lead::kOutputRows},
       {raw, from(adjusted), from(summaries), output(output_.ids), output(output_.adjusted), output(output_.raw),
        output(output_.logsumexp), Ref{Ref::Kind::kBest, true}, to(found)},
       {graph_.vocabulary, raw.place->stride, adjusted->stride, bucket_.candidates, stretches});
  program_.logits = raw.place;
  program_.adjusted = adjusted;
}

}  // namespace nacelle::vulkan
