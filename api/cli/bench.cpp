// bench: prompt and generation speed through the engine, as a client would get it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>

#include "api/cli/commands.hpp"
#include "api/cli/comparison.hpp"
#include "api/cli/generate.hpp"
#include "api/cli/limits.hpp"
#include "api/cli/output.hpp"
#include "api/cli/setup.hpp"
#include "core/engine/placed_model.hpp"

namespace nacelle::cli {
namespace {

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// The value that `share` of the others do not exceed.
double percentile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

double seconds(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

class Bench {
 public:
  Bench(const BenchOptions& options, Engine& engine) : options_(options), engine_(engine) {}

  // Tokens a second of a prompt of N tokens; its one generated token is the end of the prompt's last step.
  double prompt() {
    const Generated result = generate(engine_, request(options_.prompt, 1));
    return options_.prompt / seconds(result.submitted, result.first_token);
  }

  // Tokens a second of `sequences` answers together. Each starts from one token, and then every token is one step; or
  // from --depth tokens, and then time counts from the first generated token on.
  double generation(std::uint32_t sequences) {
    const std::uint32_t depth = std::max(options_.depth, 1u);
    const bool from_empty = options_.depth == 0;
    std::vector<GenerationRequest> requests;
    for (std::uint32_t i = 0; i < sequences; ++i)
      requests.push_back(request(depth, options_.gen + (from_empty ? 0 : 1)));
    std::vector<Generated> results = generate_all(engine_, std::move(requests));
    auto begin = from_empty ? results[0].submitted : results[0].first_token;
    auto end = results[0].last_token;
    for (const Generated& result : results) {
      begin = from_empty ? std::min(begin, result.submitted) : std::max(begin, result.first_token);
      end = std::max(end, result.last_token);
    }
    if (sequences == 1) gaps_.push_back(std::move(results[0].gaps));
    return options_.gen * static_cast<double>(sequences) / seconds(begin, end);
  }

  // How long a reader of one stream waited from token to token, in ms, over all runs of generation(1) but the first.
  Json gaps() const {
    std::vector<double> all;
    for (std::size_t run = 1; run < gaps_.size(); ++run)
      for (const auto gap : gaps_[run]) all.push_back(std::chrono::duration<double, std::milli>(gap).count());
    std::sort(all.begin(), all.end());
    return {{"p50", percentile(all, 0.5)}, {"p99", percentile(all, 0.99)}, {"max", percentile(all, 1)}};
  }

 private:
  GenerationRequest request(std::uint32_t prompt, std::uint32_t gen) {
    GenerationRequest request;
    request.id = "bench";
    const std::uint32_t vocabulary = engine_.model().description().vocabulary;
    std::uniform_int_distribution<TokenId> token(0, static_cast<TokenId>(vocabulary) - 1);
    for (std::uint32_t i = 0; i < prompt; ++i)
      request.prompt.push_back(token(random_));  // new each time: no cache helps
    request.sampling.temperature = options_.temperature;
    request.sampling.top_p = options_.top_p;
    request.max_tokens = gen;
    request.ignore_eos = true;
    return request;
  }

  const BenchOptions& options_;
  Engine& engine_;
  std::mt19937 random_{1};
  std::vector<std::vector<std::chrono::steady_clock::duration>> gaps_;
};

std::vector<double> repeat(std::uint32_t times, const std::function<double()>& measure) {
  measure();  // the first run pays for cold caches and first plans
  std::vector<double> samples;
  for (std::uint32_t i = 0; i < times; ++i) samples.push_back(measure());
  return samples;
}

// The larger of each.
nacelle_ceilings best_of(const nacelle_ceilings& a, const nacelle_ceilings& b) {
  nacelle_ceilings best = a;
  for (double nacelle_ceilings::*of : {&nacelle_ceilings::read_bytes, &nacelle_ceilings::int8_ops,
                                       &nacelle_ceilings::bf16_ops, &nacelle_ceilings::f32_ops})
    best.*of = std::max(a.*of, b.*of);
  return best;
}

// Runs with probes of the machine between them. Its speed changes from minute to minute, on some machines by half, so
// that a run is held against what was measured beside it and nothing else: the better of the probes before and after.
// Where the change falls into a run its share is too small, never too large.
class ProbedRuns {
 public:
  ProbedRuns(const PlacedModel& device, nacelle_ceilings before) : device_(device), probes_{before} {}

  // After a run that does not count, as repeat().
  void measure(std::uint32_t times, const std::function<double()>& run) {
    run();
    probe();
    for (std::uint32_t i = 0; i < times; ++i) {
      speeds_.push_back(run());
      probe();
      beside_.push_back(best_of(probes_[probes_.size() - 2], probes_.back()));
    }
  }
  void probe() { probes_.push_back(device_.ceilings()); }

  double speed() const { return median(speeds_); }
  const std::vector<double>& speeds() const { return speeds_; }
  const std::vector<nacelle_ceilings>& probes() const { return probes_; }
  nacelle_ceilings best() const {
    nacelle_ceilings best = probes_.front();
    for (const nacelle_ceilings& probe : probes_) best = best_of(best, probe);
    return best;
  }
  // Of each run, what it reached of the limit that `limit` makes of the ceilings beside it; empty where there is none.
  std::vector<double> shares(const std::function<double(const nacelle_ceilings&)>& limit) const {
    std::vector<double> shares;
    for (std::size_t i = 0; i < speeds_.size(); ++i)
      if (const double most = limit(beside_[i]); most > 0) shares.push_back(speeds_[i] / most);
    return shares;
  }
  // GB/s read in the better probe beside each run.
  std::vector<double> reads() const {
    std::vector<double> reads;
    for (const nacelle_ceilings& ceilings : beside_) reads.push_back(ceilings.read_bytes / 1e9);
    return reads;
  }

 private:
  const PlacedModel& device_;
  std::vector<nacelle_ceilings> probes_, beside_;  // in order; of each run
  std::vector<double> speeds_;
};

void check_bench(const BenchOptions& options) {
  const auto positive = [](std::uint32_t value, const char* flag) {
    if (value == 0) throw Error(ErrorKind::kInvalidArgument, std::string("--") + flag + " must be at least 1", flag);
  };
  positive(options.prompt, "prompt");
  positive(options.gen, "gen");
  positive(options.repeat, "repeat");
  for (const std::uint32_t n : options.batch) positive(n, "batch");
  if (options.threshold != 0 && options.compare.empty())
    throw Error(ErrorKind::kInvalidArgument, "--threshold needs --compare FILE", "threshold");
}

// What the device cannot do or say is null.
Json to_json(const nacelle_ceilings& ceilings) {
  const auto giga = [](double value) { return value > 0 ? Json(value / 1e9) : Json(nullptr); };
  return {{"read_gbps", giga(ceilings.read_bytes)},
          {"int8_gops", giga(ceilings.int8_ops)},
          {"bf16_gflops", giga(ceilings.bf16_ops)},
          {"f32_gflops", giga(ceilings.f32_ops)}};
}

TokenWork token_work(const PlacedModel& device) {
  std::vector<const nacelle_graph*> graphs;
  for (std::size_t i = 0; i < device.size(); ++i) graphs.push_back(&device.segment(i).graph());
  return work_of(graphs);
}

// Of `n` sequences together, two: as many times one alone, and the arithmetic.
Json batch_row(std::uint32_t n, double tps, double alone, const Limits& limits) {
  const auto known = [](double limit) { return limit > 0 ? Json(limit) : Json(nullptr); };
  const double limit = limits.batch > 0 ? std::min(n * alone, limits.batch) : 0;
  return {{"n", n},
          {"tps", tps},
          {"limit_streams", n * alone},
          {"limit_arithmetic", known(limits.batch)},
          {"of_limit", limit > 0 ? Json(tps / limit) : Json(nullptr)}};
}

std::string describe_ceilings(const Json& ceilings) {
  struct Part {
    const char* key;
    const char* what;
    const char* unit;
  };
  constexpr Part kParts[] = {{"read_gbps", "reads", "GB/s"},
                             {"int8_gops", "int8", "GOP/s"},
                             {"bf16_gflops", "bf16", "GFLOP/s"},
                             {"f32_gflops", "f32", "GFLOP/s"}};
  std::string text;
  for (const Part& part : kParts)
    if (ceilings[part.key].is_number())
      text += fmt::format("{}{} {:.1f} {}", text.empty() ? "" : ", ", part.what, ceilings[part.key].get<double>(),
                          part.unit);
  return text;
}

std::shared_ptr<Model> load(const BenchOptions& options, PluginHost& host) {
  const std::uint32_t answer = std::max(options.depth, 1u) + options.gen + 1;
  const std::uint32_t most = options.batch.empty() ? 1 : *std::max_element(options.batch.begin(), options.batch.end());
  LoadOptions load;
  load.need_tokenizer = false;
  load.context = std::max(options.prompt + 1, answer) + 1;
  // Room for the blocks' last, part-filled ones; and never less than the context, which --context may have raised.
  load.cache_tokens = std::max({load.context, options.model.context, most * (answer + 64)});
  ModelFlags flags = options.model;
  flags.max_sequences = std::max(flags.max_sequences, most);
  return load_model(host, flags, options.path, std::move(load));
}

// Of what the engine did between two snapshots: microseconds of its own, beside the device's runs, a generated token.
double host_microseconds(const EngineStats& before, const EngineStats& after) {
  const auto tokens = static_cast<double>(after.generated_tokens - before.generated_tokens);
  const double seconds = after.plan_seconds - before.plan_seconds + after.sample_seconds - before.sample_seconds;
  return tokens > 0 ? seconds * 1e6 / tokens : 0;
}

// Prompt, generation and batches, and the ceilings of the same minutes.
Json measure(const BenchOptions& options, PluginHost& host, Engine& engine) {
  Bench bench(options, engine);
  const PlacedModel& device = engine.model().device();
  const TokenWork work = token_work(device);
  ProbedRuns pp(device, device.ceilings());
  pp.measure(options.repeat, [&] { return bench.prompt(); });
  const EngineStats start = engine.stats();
  ProbedRuns tg(device, pp.probes().back());
  tg.measure(options.repeat, [&] { return bench.generation(1); });
  const EngineStats stats = engine.stats();
  std::vector<double> together;
  for (const std::uint32_t n : options.batch)
    together.push_back(median(repeat(options.repeat, [&] { return bench.generation(n); })));
  const nacelle_ceilings ended = tg.probes().back();
  if (!together.empty()) tg.probe();
  Json ceilings = to_json(best_of(pp.best(), tg.best()));
  ceilings["before"] = to_json(pp.probes().front());
  ceilings["after"] = to_json(tg.probes().back());
  Json batch = Json::array();
  for (std::size_t i = 0; i < together.size(); ++i)
    batch.push_back(
        batch_row(options.batch[i], together[i], tg.speed(), limits_of(work, best_of(ended, tg.probes().back()))));
  const auto pp_shares = pp.shares([&](const nacelle_ceilings& beside) { return limits_of(work, beside).prompt; });
  const auto tg_shares = tg.shares([&](const nacelle_ceilings& beside) { return limits_of(work, beside).generation; });
  const auto share = [](const std::vector<double>& shares) {
    return shares.empty() ? Json(nullptr) : Json(median(shares));
  };
  return {{"model", engine.model().name()},
          {"device", to_string(engine.model().placement())},
          {"threads", host.team().size()},
          {"prompt", options.prompt},
          {"gen", options.gen},
          {"depth", options.depth},
          {"pp_tps", pp.speed()},
          {"tg_tps", tg.speed()},
          {"tg_gap_ms", bench.gaps()},
          {"samples",
           {{"pp_tps", pp.speeds()},
            {"tg_tps", tg.speeds()},
            {"pp_of_limit", pp_shares},
            {"tg_of_limit", tg_shares},
            {"tg_read_gbps", tg.reads()}}},
          {"batch", batch},
          {"ceilings", ceilings},
          {"pp_of_limit", share(pp_shares)},
          {"tg_of_limit", share(tg_shares)},
          {"host_us_per_token", host_microseconds(start, stats)},
          {"submits_per_step", stats.submits_per_step},
          {"allocs_per_step", stats.allocs_per_step}};
}

void print_text(const BenchOptions& options, const Json& result) {
  std::vector<std::vector<std::string>> table = {{"TEST", "TOKENS/S", "OF LIMIT", "LIMIT"}};
  const auto add = [&](std::string test, const Json& tps, const Json& of_limit, std::string limit) {
    const bool known = of_limit.is_number();
    table.push_back({std::move(test), fmt::format("{:.1f}", tps.get<double>()),
                     known ? fmt::format("{:.0f} %", 100 * of_limit.get<double>()) : "-",
                     known ? std::move(limit) : "-"});
  };
  add(fmt::format("prompt {}", options.prompt), result["pp_tps"], result["pp_of_limit"], "arithmetic of the layers");
  add(fmt::format("gen {} at depth {}", options.gen, options.depth), result["tg_tps"], result["tg_of_limit"],
      "reading the weights");
  for (const Json& row : result["batch"])
    add(fmt::format("gen {} x {}", options.gen, row["n"].get<int>()), row["tps"], row["of_limit"],
        fmt::format("the lesser of {} alone, {:.1f}, and arithmetic, {:.1f}", row["n"].get<int>(),
                    row["limit_streams"].get<double>(),
                    row["limit_arithmetic"].is_number() ? row["limit_arithmetic"].get<double>() : 0));
  const std::string ceilings = describe_ceilings(result["ceilings"]);
  std::printf("%s on %s, %u threads%s%s\n", result["model"].get<std::string>().c_str(),
              result["device"].get<std::string>().c_str(), result["threads"].get<unsigned>(),
              ceilings.empty() ? "" : "; at best this machine: ", ceilings.c_str());
  print_table(table);
  std::string reads;
  for (const Json& read : result["samples"]["tg_read_gbps"])
    reads += fmt::format("{}{:.1f}", reads.empty() ? "" : ", ", read.get<double>());
  if (result["tg_of_limit"].is_number())
    std::printf(
        "\nshares are medians, each run's of the better probe just before or after it; beside generation: %s GB/s\n",
        reads.c_str());
  const Json& gaps = result["tg_gap_ms"];
  std::printf("\nfrom token to token: median %.1f ms, 99 %% within %.1f ms, longest %.1f ms\n",
              gaps["p50"].get<double>(), gaps["p99"].get<double>(), gaps["max"].get<double>());
  std::printf("beside the device: %.1f us a token\n", result["host_us_per_token"].get<double>());
}

void print_text(const std::vector<Ratio>& ratios, const std::vector<std::string>& differ, const std::string& path) {
  std::printf("\nagainst %s\n", path.c_str());
  for (const std::string& difference : differ) std::printf("beware: %s\n", difference.c_str());
  std::vector<std::vector<std::string>> table = {{"FIGURE", "BEFORE", "NOW", "RATIO"}};
  for (const Ratio& ratio : ratios)
    table.push_back({ratio.figure, fmt::format("{:.1f}", ratio.before), fmt::format("{:.1f}", ratio.now),
                     fmt::format("{:.3f}", ratio.value())});
  print_table(table);
}

}  // namespace

int run_command(const BenchOptions& options) {
  check_bench(options);
  const Json earlier = options.compare.empty() ? Json() : read_bench(options.compare);  // before minutes are spent
  const auto host = make_host(options.host);
  // Every token is computed: what is measured is the model's speed, not the text's.
  Engine engine(load(options, *host), {.prefix_cache = false, .speculation = {.lookup = false, .draft = nullptr}});
  Json result = measure(options, *host, engine);
  std::vector<Ratio> ratios;
  std::vector<std::string> differ;
  if (!options.compare.empty()) {
    ratios = compare(result, earlier, options.compare);
    differ = differences(result, earlier);
    for (const Ratio& ratio : ratios)
      result["compare"].push_back(
          {{"figure", ratio.figure}, {"before", ratio.before}, {"now", ratio.now}, {"ratio", ratio.value()}});
  }
  if (options.host.json) {
    print_json(result);
  } else {
    print_text(options, result);
    if (!ratios.empty()) print_text(ratios, differ, options.compare);
  }
  int code = 0;
  for (const Ratio& ratio : ratios) {
    if (!ratio.is_speed || ratio.value() >= options.threshold) continue;
    std::fprintf(stderr, "nacelle: %s is %.3f of %s's, less than --threshold %g\n", ratio.figure.c_str(), ratio.value(),
                 options.compare.c_str(), options.threshold);
    code = 1;
  }
  return code;
}

}  // namespace nacelle::cli
