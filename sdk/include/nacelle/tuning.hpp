// Choosing among kernel variants by measurement, for any backend: what a verdict is keyed by, its text form, the
// interleaved rounds that lead to one, the rule by which a measured winner displaces the static one, and the cache of
// verdicts in the host's tuning store. Header-only. Functions: any thread; a TuningCache: one thread at a time.
#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <nacelle/plugin.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace nacelle::sdk {

// Raised when the key or the text form changes its meaning: older verdicts are then not found.
inline constexpr std::uint32_t kTuningSchema = 1;

// ---- Cases ------------------------------------------------------------------------------------------------------

// Rows of activations fall in three buckets: decoding, decoding in batches, prompts. Each is measured at one count.
struct RowBucket {
  const char* name;
  std::uint32_t measured_rows;
};
inline constexpr RowBucket kRowBuckets[] = {{"1", 1}, {"2-16", 8}, {"17+", 128}};
inline constexpr std::uint32_t kRowBucketCount = 3;
constexpr std::uint32_t row_bucket(std::uint64_t rows) { return rows <= 1 ? 0 : rows <= 16 ? 1 : 2; }

// What every verdict of one device depends on.
struct TuningScope {
  std::string plugin;
  std::string build;   // content hash of the plugin, build_id(); empty: nothing is kept or believed
  std::string device;  // model, what of it is usable, cores, driver
  std::uint32_t threads = 1;
};

struct TuningCase {
  std::string op;     // the pattern: "matmul"
  std::string types;  // "q8_0"
  std::uint64_t n = 0, k = 0;
  std::uint32_t rows = 0;  // index into kRowBuckets
};

namespace detail {
inline void add_field(std::string& text, std::string_view name, std::string value) {
  std::replace(value.begin(), value.end(), '\n', ' ');  // one field a line, whatever a device calls itself
  text.append(name).append("=").append(value).append("\n");
}
inline std::string device_key(const TuningScope& scope) {
  std::string key;
  add_field(key, "plugin", scope.plugin);
  add_field(key, "device", scope.device);
  add_field(key, "threads", std::to_string(scope.threads));
  return key;
}
}  // namespace detail

inline std::string tuning_key(const TuningScope& scope, const TuningCase& of) {
  std::string key = detail::device_key(scope);
  detail::add_field(key, "schema", std::to_string(kTuningSchema));
  detail::add_field(key, "build", scope.build);
  detail::add_field(key, "op", of.op);
  detail::add_field(key, "types", of.types);
  detail::add_field(key, "n", std::to_string(of.n));
  detail::add_field(key, "k", std::to_string(of.k));
  detail::add_field(key, "rows", kRowBuckets[of.rows].name);
  return key;
}

// ---- Verdicts ---------------------------------------------------------------------------------------------------

struct Measurement {
  std::string variant;
  std::uint32_t revision = 0;
  double seconds = 0;  // median
  double spread = 0;   // seconds between the quartiles
};

enum class Bound : std::uint32_t { kMemory, kCompute };

struct Verdict {
  std::uint32_t rows = 0;             // that were measured
  double floor_seconds = 0;           // what the device's ceilings, measured beside it, would allow; 0: unknown
  Bound bound = Bound::kMemory;       // which of them
  std::vector<Measurement> measured;  // the winner first, then the others by time
};

// Text: "rows floor bound" and a line "variant revision seconds spread" each.
inline std::string to_text(const Verdict& verdict) {
  const auto number = [](double value) {
    char digits[32];
    return std::string(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
  };
  std::string text = std::to_string(verdict.rows) + " " + number(verdict.floor_seconds) + " " +
                     std::to_string(static_cast<std::uint32_t>(verdict.bound)) + "\n";
  for (const Measurement& m : verdict.measured)
    text += m.variant + " " + std::to_string(m.revision) + " " + number(m.seconds) + " " + number(m.spread) + "\n";
  return text;
}

namespace detail {

// Takes words off a text; once one did not fit, everything fails.
class Words {
 public:
  explicit Words(std::string_view text) : text_(text) {}
  bool at_end() const { return text_.empty(); }
  bool failed() const { return failed_; }
  std::string_view word(char end) {
    const auto length = text_.find(end);
    if (length == std::string_view::npos || length == 0) {
      failed_ = true;
      text_ = {};
      return {};
    }
    const std::string_view word = text_.substr(0, length);
    text_.remove_prefix(length + 1);
    return word;
  }
  template <class T>
  T number(char end) {
    T value{};
    const std::string_view digits = word(end);
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (result.ec != std::errc() || result.ptr != digits.data() + digits.size()) failed_ = true;
    return value;
  }
  double seconds(char end) {
    const double value = number<double>(end);
    if (!(value >= 0 && value < 1e6)) failed_ = true;
    return value;
  }

 private:
  std::string_view text_;
  bool failed_ = false;
};

}  // namespace detail

// Nothing for text that is not wholly a verdict.
inline std::optional<Verdict> parse_verdict(std::string_view text) {
  detail::Words words(text);
  Verdict verdict;
  verdict.rows = words.number<std::uint32_t>(' ');
  verdict.floor_seconds = words.seconds(' ');
  const auto bound = words.number<std::uint32_t>('\n');
  verdict.bound = static_cast<Bound>(bound);
  while (!words.failed() && !words.at_end()) {
    Measurement m;
    m.variant = words.word(' ');
    m.revision = words.number<std::uint32_t>(' ');
    m.seconds = words.seconds(' ');
    m.spread = words.seconds('\n');
    verdict.measured.push_back(std::move(m));
  }
  if (words.failed() || bound > 1 || verdict.measured.empty()) return std::nullopt;
  return verdict;
}

// ---- Measuring --------------------------------------------------------------------------------------------------

struct TuningCandidate {
  std::string variant;
  std::uint32_t revision = 0;
  std::function<double()>
      run;  // does the work once, from cold memory where that is the case, and says how long it took
};

struct TuningLimits {
  double seconds = 0.1;  // ends a measurement, but never before min_rounds
  std::uint32_t min_rounds = 3, max_rounds = 21;
};

// By how much a measured winner must be faster than the static one, and in what share of the rounds it must have been
// ahead: noise displaces nothing, so that two runs of one machine agree.
inline constexpr double kDisplacingGain = 0.03;
inline constexpr double kDisplacingShare = 0.75;
// A candidate this much slower than the leader, in its first run or after the first rounds, is measured no further.
inline constexpr double kHopelessAtOnce = 3, kHopeless = 1.5;

inline double quantile(std::vector<double> samples, double at) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  const double place = at * static_cast<double>(samples.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const auto above = std::min(below + 1, samples.size() - 1);
  return samples[below] + (samples[above] - samples[below]) * (place - static_cast<double>(below));
}

// Interleaved rounds: in each, every candidate runs once, a different one first, so that whatever slows the machine
// slows all of them. Returns each candidate's samples; index i is round i for all. The first run of each warms up, and
// counts only where it is the last one.
inline std::vector<std::vector<double>> measure_rounds(std::span<const TuningCandidate> candidates,
                                                       const TuningLimits& limits) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const std::size_t count = candidates.size();
  std::vector<std::vector<double>> samples(count);
  std::vector<bool> hopeless(count);
  std::vector<double> first;
  for (const TuningCandidate& candidate : candidates) first.push_back(candidate.run());
  const double least = *std::min_element(first.begin(), first.end());
  for (std::size_t i = 1; i < count; ++i) {
    if (first[i] <= kHopelessAtOnce * least) continue;
    hopeless[i] = true;
    samples[i] = {first[i]};
  }
  for (std::uint32_t round = 0; round < limits.max_rounds; ++round) {
    const std::chrono::duration<double> spent = Clock::now() - begin;
    if (round >= limits.min_rounds && spent.count() > limits.seconds) break;
    if (round == limits.min_rounds) {
      double leader = HUGE_VAL;
      for (const auto& own : samples) leader = std::min(leader, quantile(own, 0.5));
      for (std::size_t i = 0; i < count; ++i) hopeless[i] = hopeless[i] || quantile(samples[i], 0) > kHopeless * leader;
    }
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t at = (i + round) % count;
      if (!hopeless[at]) samples[at].push_back(candidates[at].run());
    }
  }
  return samples;
}

// True where samples `challenger` displace those of the static winner.
inline bool displaces(const std::vector<double>& challenger, const std::vector<double>& prior) {
  const std::size_t rounds = std::min(challenger.size(), prior.size());
  std::size_t ahead = 0;
  for (std::size_t i = 0; i < rounds; ++i) ahead += challenger[i] < prior[i];
  return rounds > 0 && quantile(challenger, 0.5) <= (1 - kDisplacingGain) * quantile(prior, 0.5) &&
         static_cast<double>(ahead) >= kDisplacingShare * static_cast<double>(rounds);
}

// Measures `candidates`, of which the first is the static winner, and ranks them. At least one candidate.
inline std::vector<Measurement> rank(std::span<const TuningCandidate> candidates, const TuningLimits& limits) {
  const auto samples = measure_rounds(candidates, limits);
  std::vector<Measurement> ranked;
  std::size_t winner = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const double median = quantile(samples[i], 0.5);
    ranked.push_back({candidates[i].variant, candidates[i].revision, median,
                      quantile(samples[i], 0.75) - quantile(samples[i], 0.25)});
    if (displaces(samples[i], samples[0]) && (winner == 0 || median < ranked[winner].seconds)) winner = i;
  }
  std::rotate(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(winner),
              ranked.begin() + static_cast<std::ptrdiff_t>(winner) + 1);
  std::sort(ranked.begin() + 1, ranked.end(),
            [](const Measurement& a, const Measurement& b) { return a.seconds < b.seconds; });
  return ranked;
}

// ---- The cache --------------------------------------------------------------------------------------------------

// Verdicts of one device in the host's store. Whatever is missing, damaged or stale is as if it had never been
// measured. The host tells of damage and of a store that cannot be written, tell() of the rest: one line each.
class TuningCache {
 public:
  TuningCache(const Host& host, TuningScope scope) : host_(host), scope_(std::move(scope)) {}

  const TuningScope& scope() const { return scope_; }

  // `usable(winner)`: this build and this device still have that variant in that revision.
  template <class Usable>
  std::optional<Verdict> get(const TuningCase& of, Usable&& usable) {
    if (scope_.build.empty()) return std::nullopt;
    const auto text = host_.tuning(tuning_key(scope_, of), &damaged_);
    if (!text) {
      ++missing_;
      return std::nullopt;
    }
    auto verdict = parse_verdict(*text);
    if (verdict && usable(verdict->measured.front())) return verdict;
    ++stale_;
    return std::nullopt;
  }

  // False where it could not be kept.
  bool put(const TuningCase& of, const Verdict& verdict) {
    return !scope_.build.empty() && host_.keep_tuning(tuning_key(scope_, of), to_text(verdict));
  }
  // After a round of put(): lets later builds know that this one was tuned.
  void mark() { host_.keep_tuning(marker(), scope_.build); }

  // One line where static cost has to do, after all get() of a model.
  void tell() const {
    const std::string instead = "; kernels are chosen by static cost until `nacelle tune` measures them";
    if (stale_ > 0) {
      host_.log(NACELLE_LOG_WARNING, "tuning: " + std::to_string(stale_) +
                                         " cached verdicts name a variant or revision that cannot be used here" +
                                         instead);
    } else if (missing_ > 0 && !damaged_) {
      const auto build = host_.tuning(marker());
      if (build && *build != scope_.build)
        host_.log(NACELLE_LOG_WARNING,
                  "tuning: the cached verdicts are those of another build of this plugin" + instead);
      else
        host_.log(NACELLE_LOG_INFO, "tuning: " + std::to_string(missing_) + " cases were not measured here" + instead);
    }
  }

 private:
  std::string marker() const { return detail::device_key(scope_) + "latest build"; }

  Host host_;
  TuningScope scope_;
  std::uint32_t missing_ = 0, stale_ = 0;
  bool damaged_ = false;
};

}  // namespace nacelle::sdk
