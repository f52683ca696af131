// LOGITS_SELECT: from a row of logits to its k best, in passes that threads share by stretches of the vocabulary.
//   adjust     rows that the host changes only: a copy, masked; then its sparse adjustments
//   summarise  division by the temperature; maximum and sum of exponentials of a stretch, the peak of each 256 columns
//   choose     one thread a row: the k-th best of the peaks bounds the k best logits from below, so that only columns
//              under peaks as high need a look; then both logsumexps from the stretches, in order
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "backends/cpu/compiler.hpp"

namespace nacelle::cpu {
namespace {

constexpr std::uint32_t kStretch = 4096;  // columns; sums are made of these whatever the thread count
constexpr float kNever = -std::numeric_limits<float>::infinity();

constexpr std::uint32_t divide_up(std::uint32_t n, std::uint32_t by) { return (n + by - 1) / by; }

// Everything the passes share; copied into each of them.
struct Select {
  const VectorKernels* kernels;
  const Place* raw;
  const Place* adjusted;
  const Place* peaks;      // [columns / 256] of the row that is chosen from
  const Place* summaries;  // LogitSummary [2][stretches]: raw, adjusted
  std::uint32_t columns, stretches, candidates;
  nacelle_output_layout output;

  // The row that is chosen from: an unchanged one has no copy.
  float* row(const Frame& frame, std::uint32_t r) const { return frame.at(frame.changed[r] ? *adjusted : *raw, r); }
  std::uint32_t length(std::uint32_t stretch) const { return std::min(kStretch, columns - stretch * kStretch); }
  LogitSummary* summary(const Frame& frame, std::uint32_t r, bool of_adjusted) const {
    return frame.at<LogitSummary>(*summaries, r) + (of_adjusted ? stretches : 0);
  }

  void copy(const Frame& frame, std::uint32_t r, std::uint32_t stretch) const;
  void adjust(const Frame& frame, std::uint32_t r) const;
  void summarise(const Frame& frame, std::uint32_t r, std::uint32_t stretch) const;
  float threshold(const Frame& frame, std::uint32_t r, float* scratch) const;
  std::uint32_t best(const Frame& frame, std::uint32_t r, float* scratch, std::uint32_t* ids) const;
  void choose(const Frame& frame, std::uint32_t r, std::byte* scratch) const;
  float logsumexp(const LogitSummary* parts) const;
};

void Select::copy(const Frame& frame, std::uint32_t r, std::uint32_t stretch) const {
  const std::uint32_t first = stretch * kStretch, n = length(stretch);
  const float* from = frame.at(*raw, r) + first;
  float* to = frame.at(*adjusted, r) + first;
  if (frame.masks)
    kernels->mask(from, frame.masks + std::uint64_t{r} * divide_up(columns, 32) + first / 32, n, to);
  else
    std::copy_n(from, n, to);
}

void Select::adjust(const Frame& frame, std::uint32_t r) const {
  float* logits = frame.at(*adjusted, r);
  for (std::uint32_t i = frame.adjustment_starts[r]; i < frame.adjustment_starts[r + 1]; ++i) {
    const nacelle_adjustment& change = frame.adjustments[i];
    if (change.token >= columns || logits[change.token] == kNever) continue;
    float& logit = logits[change.token];
    logit = (logit > 0 ? logit / change.repetition : logit * change.repetition) + change.bias;
  }
}

void Select::summarise(const Frame& frame, std::uint32_t r, std::uint32_t stretch) const {
  const std::uint32_t first = stretch * kStretch, n = length(stretch);
  float* peak = frame.at(*peaks, r) + first / kPeakColumns;
  summary(frame, r, false)[stretch] = kernels->summarise(frame.at(*raw, r) + first, n, peak);
  if (!frame.changed[r]) return;
  float* logits = frame.at(*adjusted, r) + first;
  const float temperature = frame.temperatures[r];
  if (temperature != 0.0f && temperature != 1.0f) kernels->divide(logits, temperature, n, logits);
  summary(frame, r, true)[stretch] = kernels->summarise(logits, n, peak);
}

// At least min(candidates, columns) logits are this large or larger.
float Select::threshold(const Frame& frame, std::uint32_t r, float* scratch) const {
  const std::uint32_t count = divide_up(columns, kPeakColumns);
  if (count < candidates) return kNever;
  std::copy_n(frame.at(*peaks, r), count, scratch);
  std::nth_element(scratch, scratch + candidates - 1, scratch + count, std::greater<>());
  return scratch[candidates - 1];
}

// The ids of the k best, best first, of equals the smaller id; returns how many there are.
std::uint32_t Select::best(const Frame& frame, std::uint32_t r, float* scratch, std::uint32_t* ids) const {
  const float* logits = row(frame, r);
  const auto better = [&](std::uint32_t a, std::uint32_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  };
  float bound = threshold(frame, r, scratch);
  std::uint32_t count = 0;  // of a heap whose top is the worst
  const float* peak = frame.at(*peaks, r);
  for (std::uint32_t first = 0; first < columns; first += kPeakColumns) {
    if (!(peak[first / kPeakColumns] >= bound)) continue;
    std::uint32_t found[kPeakColumns];
    const std::uint32_t n = std::min(kPeakColumns, columns - first);
    const std::uint32_t hits = kernels->find(logits + first, n, bound, found, kPeakColumns);
    for (std::uint32_t i = 0; i < hits; ++i) {
      const std::uint32_t id = first + found[i];
      if (count == candidates) {
        if (!better(id, ids[0])) continue;
        std::pop_heap(ids, ids + count--, better);
      }
      ids[count++] = id;
      std::push_heap(ids, ids + count, better);
      if (count == candidates) bound = std::max(bound, logits[ids[0]]);
    }
  }
  std::sort_heap(ids, ids + count, better);
  return count;
}

float Select::logsumexp(const LogitSummary* parts) const {
  float highest = kNever;
  for (std::uint32_t i = 0; i < stretches; ++i) highest = std::max(highest, parts[i].highest);
  if (std::isinf(highest)) return highest;
  double sum = 0;
  for (std::uint32_t i = 0; i < stretches; ++i)
    sum += parts[i].sum * std::exp(static_cast<double>(parts[i].highest) - highest);
  return static_cast<float>(highest + std::log(sum));
}

void Select::choose(const Frame& frame, std::uint32_t r, std::byte* scratch) const {
  const std::uint64_t at = std::uint64_t{r} * candidates;
  auto* ids = reinterpret_cast<std::uint32_t*>(frame.output + output.ids) + at;
  auto* to_adjusted = reinterpret_cast<float*>(frame.output + output.adjusted) + at;
  auto* to_raw = reinterpret_cast<float*>(frame.output + output.raw) + at;
  const std::uint32_t count = best(frame, r, reinterpret_cast<float*>(scratch), ids);
  const float* from_adjusted = row(frame, r);
  const float* from_raw = frame.at(*raw, r);
  for (std::uint32_t i = 0; i < candidates; ++i) {
    if (i >= count) ids[i] = NACELLE_NO_VALUE;
    to_adjusted[i] = i < count ? from_adjusted[ids[i]] : kNever;
    to_raw[i] = i < count ? from_raw[ids[i]] : kNever;
  }
  float* sums = reinterpret_cast<float*>(frame.output + output.logsumexp) + 2 * r;
  sums[0] = logsumexp(summary(frame, r, false));
  sums[1] = frame.changed[r] ? logsumexp(summary(frame, r, true)) : sums[0];
}

// Units (row, stretch) of all output rows, or none where no row is changed.
template <class Body>
Step stretches_step(const char* name, const Select& select, bool changed_only, Body body) {
  return {name,
          [=](const Frame& frame, std::uint32_t threads) -> Work {
            const std::uint32_t rows = frame.count(Lead::kOutputRows);
            if (changed_only && std::none_of(frame.changed, frame.changed + rows, [](auto c) { return c != 0; }))
              return {0, 1};
            const std::uint64_t units = std::uint64_t{rows} * select.stretches;
            return {units, std::max<std::uint64_t>(1, units / (threads * 4))};
          },
          [=](const Frame& frame, std::uint64_t begin, std::uint64_t end, std::byte*) {
            for (std::uint64_t unit = begin; unit < end; ++unit) {
              const auto row = static_cast<std::uint32_t>(unit / select.stretches);
              if (!changed_only || frame.changed[row])
                body(frame, row, static_cast<std::uint32_t>(unit % select.stretches));
            }
          }};
}

}  // namespace

void Compiler::logits_select(const nacelle_op& op) {
  Select select{};
  select.kernels = &vectors_;
  select.columns = width_of(op.inputs[0]);
  if (select.columns != graph_.vocabulary)
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "cpu: the logits are not as wide as the graph's vocabulary");
  select.stretches = divide_up(select.columns, kStretch);
  select.candidates = bucket_.candidates;
  select.output = output_;
  need_scratch(divide_up(select.columns, kPeakColumns) * sizeof(float));

  begin_step();
  select.raw = program_.logits = read(op.inputs[0]);
  Place* adjusted = make_place(Space::kSlot, Lead::kOutputRows, select.raw->stride, bucket_.output_rows);
  Place* peaks = temporary(Lead::kOutputRows, divide_up(select.columns, kPeakColumns) * sizeof(float));
  Place* summaries = temporary(Lead::kOutputRows, 2ull * select.stretches * sizeof(LogitSummary));
  select.adjusted = program_.adjusted = adjusted;
  select.peaks = peaks;
  select.summaries = summaries;
  program_.steps.push_back(stretches_step(
      "select: copy", select, true,
      [=](const Frame& frame, std::uint32_t row, std::uint32_t stretch) { select.copy(frame, row, stretch); }));
  begin_rows(Lead::kOutputRows, false);
  push_rows([=](const Frame& frame, std::uint32_t row, std::byte*) {
    if (frame.changed[row]) select.adjust(frame, row);
  });
  begin_step();
  program_.steps.push_back(stretches_step(
      "select: summarise", select, false,
      [=](const Frame& frame, std::uint32_t row, std::uint32_t stretch) { select.summarise(frame, row, stretch); }));
  begin_rows(Lead::kOutputRows, false);
  keep_alive(peaks);
  keep_alive(summaries);
  push_rows([=](const Frame& frame, std::uint32_t row, std::byte* scratch) { select.choose(frame, row, scratch); });
}

}  // namespace nacelle::cpu
