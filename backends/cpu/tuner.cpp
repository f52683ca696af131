// How a matmul is measured: cold weights for single rows, units claimed by all threads, equal bits or nothing.
#include "backends/cpu/tuner.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "backends/cpu/ceilings.hpp"
#include "backends/cpu/tiling.hpp"

namespace nacelle::cpu {
namespace {

using Clock = std::chrono::steady_clock;

// What is measured: a few, and none that static cost puts this far behind.
constexpr std::size_t kFewCandidates = 4;
constexpr double kFarBehind = 10;
constexpr double kCeilingShare = 0.2;  // of the budget
constexpr std::uint64_t kLine = 64;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

constexpr std::uint64_t padded_columns(std::uint64_t columns) {
  return (columns + kQuantBlock - 1) / kQuantBlock * kQuantBlock;
}

// Rows as a model might have them: of both signs, of unlike size from block to block. On each cache line of its own.
sdk::Buffer make_activations(const sdk::Host& host, std::uint64_t rows, std::uint64_t columns) {
  sdk::Buffer buffer(host, rows * padded_columns(columns) * sizeof(float));
  std::uint32_t state = 1;
  for (std::uint64_t i = 0; i < rows * padded_columns(columns); ++i) {
    state = state * 1664525u + 1013904223u;
    const float size = static_cast<float>(1 + i / kQuantBlock % 5);
    buffer.as<float>()[i] = (static_cast<float>(state >> 8) / 8388608.0f - 1.0f) * size;
  }
  return buffer;
}

// Rows in the form that a variant wants.
struct Rows {
  const MatmulVariant& variant;
  const float* plain;
  std::uint8_t* encoded;
  std::uint64_t columns;

  std::uint64_t stride() const {
    return variant.encode ? encoded_row_bytes(variant.activation, columns) : padded_columns(columns) * sizeof(float);
  }
  const std::uint8_t* row(std::uint64_t index) const {
    return (variant.encode ? encoded : reinterpret_cast<const std::uint8_t*>(plain)) + index * stride();
  }
  void encode(std::uint64_t index) const {
    const auto blocks = static_cast<std::uint32_t>(padded_columns(columns) / kQuantBlock);
    variant.encode(plain + index * padded_columns(columns), static_cast<std::uint32_t>(columns), 0, blocks,
                   encoded + index * stride());
  }
};

double peak_ops(const nacelle_ceilings& ceilings, Activation activation) {
  switch (activation) {
    case Activation::kFloat: return ceilings.f32_ops;
    case Activation::kBf16: return ceilings.bf16_ops;
    default: return ceilings.int8_ops;
  }
}

}  // namespace

Tuner::Tuner(const sdk::Host& host, Selection& selection, std::span<const PackedMatrix> matrices)
    : host_(host), selection_(selection), matrices_(matrices) {
  std::uint64_t all = 0;
  for (const PackedMatrix& matrix : matrices) all += matrix.memory.size();
  // A model that fits in the cache stays there in use, too.
  cold_bytes_ = all > cache_bytes() ? cache_bytes() : 0;
}

// What there is to measure, single rows first: most time is spent there.
std::vector<Tuner::Job> Tuner::jobs(bool again) const {
  std::vector<Job> jobs;
  for (const std::uint32_t rows : {0u, 2u, 1u})
    for (std::size_t i = 0; i < selection_.cases().size(); ++i) {
      const Choice& choice = selection_.choice(i, rows);
      if (selection_.cases()[i].most_rows[rows] && choice.variant && (again || !choice.verdict))
        jobs.push_back({i, rows});
    }
  return jobs;
}

nacelle_tune_report Tuner::run(const nacelle_tune_options& options) {
  auto report = sdk::make<nacelle_tune_report>();
  for (std::size_t i = 0; i < selection_.cases().size(); ++i)
    for (const std::uint32_t most : selection_.cases()[i].most_rows) report.cases += most > 0;
  const std::vector<Job> todo = jobs(options.flags & NACELLE_TUNE_AGAIN);
  if (todo.empty()) return report;
  const auto begin = Clock::now();
  const double budget = static_cast<double>(options.budget_ns) * 1e-9;
  ceilings_ = measure_ceilings(host_, selection_.usable(), budget * kCeilingShare, cold_bytes_ > 0);
  for (std::size_t i = 0; i < todo.size(); ++i) {
    if (options.progress && options.progress(options.context, i, todo.size()) == NACELLE_CANCELLED) break;
    const double left = budget - seconds_since(begin);
    if (left <= 0) break;
    sdk::Verdict verdict = measure(todo[i], left / static_cast<double>(todo.size() - i));
    if (verdict.measured.empty()) continue;
    ++report.measured;
    report.kept += selection_.decide(todo[i].index, todo[i].rows, std::move(verdict));
  }
  if (options.progress) options.progress(options.context, todo.size(), todo.size());
  if (report.kept) selection_.mark_tuned();
  return report;
}

sdk::Verdict Tuner::measure(const Job& job, double seconds) {
  const MatmulCase& of = selection_.cases()[job.index];
  sdk::Verdict verdict;
  verdict.rows = std::min(sdk::kRowBuckets[job.rows].measured_rows, of.most_rows[job.rows]);
  const Load load = of.load(verdict.rows);
  const std::vector<Step> steps = steps_of(of, load.experts);
  make_room(of, steps, load.rows);

  std::vector<sdk::TuningCandidate> candidates;
  std::size_t turn = 0;
  for (const MatmulVariant* variant : sound_candidates(of.type, job.rows, steps[0])) {
    candidates.push_back({variant->name, variant->revision, [&, variant] {
                            if (job.rows == 0) evict(steps);
                            return run_step(*variant, steps[turn++ % steps.size()], load.rows);
                          }});
  }
  if (candidates.empty()) return verdict;
  verdict.measured = sdk::rank(candidates, {seconds, 3, candidates.size() > 1 ? 21u : 7u});

  std::uint64_t bytes = 0;
  for (const Slice& slice : steps[0]) bytes += slice.bytes();
  const double operations = of.operations(load);
  const double peak = peak_ops(ceilings_, selection_.prior(of.type, job.rows)->activation);
  // What the caches hold is not bounded by memory.
  const bool cold = cold_bytes_ > 0 && ceilings_.read_bytes > 0;
  const double reading = cold ? static_cast<double>(bytes) / ceilings_.read_bytes : 0;
  const double computing = peak > 0 ? operations / peak : 0;
  verdict.floor_seconds = std::max(reading, computing);
  verdict.bound = reading > computing ? sdk::Bound::kMemory : sdk::Bound::kCompute;
  return verdict;
}

std::vector<Tuner::Step> Tuner::steps_of(const MatmulCase& of, std::uint32_t experts) const {
  std::vector<Step> steps;
  for (const std::vector<std::uint32_t>& weights : of.layers) {
    steps.emplace_back();
    for (const std::uint32_t weight : weights)
      for (std::uint32_t expert = 0; expert < experts; ++expert) steps.back().push_back({&matrices_[weight], expert});
  }
  return steps;
}

void Tuner::make_room(const MatmulCase& of, const std::vector<Step>& steps, std::uint32_t rows) {
  std::uint64_t row_bytes = 0, columns = 0;
  for (const MatmulVariant* variant : selection_.candidates(of.type, 0))
    row_bytes = std::max(row_bytes, encoded_row_bytes(variant->activation, of.k));
  for (const Step& step : steps) {
    std::uint64_t of_step = 0;
    for (const Slice& slice : step) of_step += slice.matrix->groups() * kGroupRows;
    columns = std::max(columns, of_step);
  }
  x_ = make_activations(host_, rows, of.k);
  encoded_ = sdk::Buffer(host_, rows * row_bytes);
  out_ = sdk::Buffer(host_, rows * columns * sizeof(float));
}

// Within a class all variants promise the same bits. One that breaks the promise is a defect and never displaces the
// static choice; that that one is right, the operation tests see to.
std::vector<const MatmulVariant*> Tuner::sound_candidates(nacelle_type type, std::uint32_t bucket,
                                                          const Step& step) const {
  constexpr std::uint32_t kRows = 7, kGroups = 3;
  const PackedMatrix& matrix = *step[0].matrix;
  const std::uint32_t groups = std::min(kGroups, matrix.groups());
  const sdk::Buffer x = make_activations(host_, kRows, matrix.columns);
  const auto result = [&](const MatmulVariant& variant) {
    const sdk::Buffer encoded(host_, kRows * encoded_row_bytes(variant.activation, matrix.columns));
    const Rows rows{variant, x.as<float>(), encoded.as<std::uint8_t>(), matrix.columns};
    for (std::uint64_t row = 0; row < kRows && variant.encode; ++row) rows.encode(row);
    std::vector<float> out(kRows * groups * kGroupRows);
    variant.multiply({matrix.memory.as<std::uint8_t>(), matrix.group_bytes, static_cast<std::uint32_t>(matrix.columns),
                      kRows, rows.row(0), rows.stride(), out.data(), groups * kGroupRows},
                     groups);
    return out;
  };
  std::vector<const MatmulVariant*> all = selection_.candidates(type, bucket), sound;
  const std::vector<float> expected = result(*all[0]);
  all.resize(std::min(all.size(), kFewCandidates));
  for (const MatmulVariant* variant : all) {
    const IsaSet usable = selection_.usable();
    if (cost_on(usable, *variant, bucket == 0) > kFarBehind * cost_on(usable, *all[0], bucket == 0)) continue;
    const std::vector<float> got = variant == all[0] ? expected : result(*variant);
    if (std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)) == 0) {
      sound.push_back(variant);
    } else {
      host_.log(NACELLE_LOG_ERROR, std::string("tuning: ") + variant->name + " and " + all[0]->name +
                                       " differ in bits, though both are of class " + variant->numerics +
                                       "; the first is not used; please report this");
    }
  }
  return sound;
}

// Reads other weights until what the caches held of these is gone. The time of it is not counted.
void Tuner::evict(const std::vector<Step>& own) {
  std::uint64_t own_bytes = 0;
  for (const Step& step : own)
    for (const Slice& slice : step) own_bytes += slice.bytes();
  if (own_bytes >= 2 * cold_bytes_) return;  // going round the layers is enough
  std::atomic<std::uint64_t> sink{0};
  std::uint64_t read = 0;
  for (std::size_t visited = 0; read < cold_bytes_ && visited < matrices_.size(); ++visited) {
    const PackedMatrix& matrix = matrices_[cursor_++ % matrices_.size()];
    const bool is_own = std::any_of(own.begin(), own.end(), [&](const Step& step) {
      return std::any_of(step.begin(), step.end(), [&](const Slice& slice) { return slice.matrix == &matrix; });
    });
    if (is_own || matrix.memory.size() == 0) continue;
    const std::uint64_t bytes = std::min(matrix.memory.size(), cold_bytes_ - read);
    host_.parallel_for(bytes / kLine, 4096, [&](std::uint64_t begin, std::uint64_t end) {
      std::uint64_t sum = 0;
      for (std::uint64_t line = begin; line < end; ++line) sum += *matrix.memory.as<std::uint8_t>(line * kLine);
      sink += sum;
    });
    read += bytes;
  }
}

// Encodes the rows and multiplies by all matrices of the step; seconds. The pool's wake-up is a part of it, as the
// pool sleeps between two measurements: its first barrier is passed before the clock starts.
double Tuner::run_step(const MatmulVariant& variant, const Step& step, std::uint32_t rows) {
  const std::uint64_t columns = step[0].matrix->columns;
  const Tiling tiling = tile(rows, variant, false);
  std::uint64_t units = 0;
  for (const Slice& slice : step) units += tiling.units(slice.matrix->groups());
  const Chunks chunks(matmul_work(units, rows), host_.team_size());
  const Rows x{variant, x_.as<float>(), encoded_.as<std::uint8_t>(), columns};
  Clock::time_point begin;
  double seconds = 0;
  host_.team_run([&](const nacelle_team_member& member) {
    host_.barrier(member);
    if (member.index == 0) begin = Clock::now();
    if (variant.encode) {
      for (std::uint64_t row; (row = host_.claim(member, 1)) < rows;) x.encode(row);
      host_.barrier(member);
    }
    for (std::uint64_t claimed; (claimed = host_.claim(member, chunks.grain())) < chunks.total();) {
      const Chunks::Range range = chunks[claimed];
      std::uint64_t first = 0;
      float* out = out_.as<float>();
      for (const auto& [matrix, expert] : step) {
        const std::uint64_t out_stride = std::uint64_t{matrix->groups()} * kGroupRows;
        for_calls(tiling, rows, matrix->groups(), first, range.begin, range.end,
                  [&, &of = *matrix, e = expert](std::uint32_t group, std::uint32_t groups, std::uint32_t row,
                                                 std::uint32_t row_count) {
                    variant.multiply(
                        {of.group(e, group), of.group_bytes, static_cast<std::uint32_t>(columns), row_count, x.row(row),
                         x.stride(), out + row * out_stride + group * kGroupRows, out_stride},
                        groups);
                  });
        first += tiling.units(matrix->groups());
        out += rows * out_stride;
      }
    }
    host_.barrier(member);
    if (member.index == 0) seconds = seconds_since(begin);
  });
  return seconds;
}

nacelle_tune_report CpuWeights::tune(const nacelle_tune_options& options) {
  if (compiled_)
    throw sdk::Failure(NACELLE_FAILED_PRECONDITION, "cpu: tune must come before the first plan is compiled");
  const nacelle_tune_report report = Tuner(host_, selection_, matrices_[0]).run(options);
  apply_selection();
  return report;
}

}  // namespace nacelle::cpu
