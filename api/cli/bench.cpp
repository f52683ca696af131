// bench: prompt and generation speed through the engine, as a client would get it.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <random>

#include "api/cli/bandwidth.hpp"
#include "api/cli/commands.hpp"
#include "api/cli/generate.hpp"
#include "api/cli/output.hpp"
#include "api/cli/setup.hpp"

namespace nacelle::cli {
namespace {

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
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
  // from
  // --depth tokens, and then time counts from the first generated token on.
  double generation(std::uint32_t sequences) {
    const std::uint32_t depth = std::max(options_.depth, 1u);
    const bool from_empty = options_.depth == 0;
    std::vector<GenerationRequest> requests;
    for (std::uint32_t i = 0; i < sequences; ++i)
      requests.push_back(request(depth, options_.gen + (from_empty ? 0 : 1)));
    const std::vector<Generated> results = generate_all(engine_, std::move(requests));
    auto begin = from_empty ? results[0].submitted : results[0].first_token;
    auto end = results[0].last_token;
    for (const Generated& result : results) {
      begin = from_empty ? std::min(begin, result.submitted) : std::max(begin, result.first_token);
      end = std::max(end, result.last_token);
    }
    return options_.gen * static_cast<double>(sequences) / seconds(begin, end);
  }

 private:
  GenerationRequest request(std::uint32_t prompt, std::uint32_t gen) {
    GenerationRequest request;
    request.id = "bench";
    const std::uint32_t vocabulary = engine_.model().description().vocabulary;
    std::uniform_int_distribution<TokenId> token(0, static_cast<TokenId>(vocabulary) - 1);
    for (std::uint32_t i = 0; i < prompt; ++i)
      request.prompt.push_back(token(random_));  // new each time: no cache helps
    request.sampling.temperature = 0;
    request.max_tokens = gen;
    request.ignore_eos = true;
    return request;
  }

  const BenchOptions& options_;
  Engine& engine_;
  std::mt19937 random_{1};
};

std::vector<double> repeat(std::uint32_t times, const std::function<double()>& measure) {
  measure();  // the first run pays for cold caches and first plans
  std::vector<double> samples;
  for (std::uint32_t i = 0; i < times; ++i) samples.push_back(measure());
  return samples;
}

void check_bench(const BenchOptions& options) {
  const auto positive = [](std::uint32_t value, const char* flag) {
    if (value == 0) throw Error(ErrorKind::kInvalidArgument, std::string("--") + flag + " must be at least 1", flag);
  };
  positive(options.prompt, "prompt");
  positive(options.gen, "gen");
  positive(options.repeat, "repeat");
  for (const std::uint32_t n : options.batch) positive(n, "batch");
}

std::shared_ptr<Model> load(const BenchOptions& options, PluginHost& host) {
  const std::uint32_t answer = std::max(options.depth, 1u) + options.gen + 1;
  const std::uint32_t most = options.batch.empty() ? 1 : *std::max_element(options.batch.begin(), options.batch.end());
  LoadOptions load;
  load.need_tokenizer = false;
  load.context = std::max(options.prompt + 1, answer) + 1;
  load.max_sequences = most;
  load.cache_tokens = std::max(load.context, most * (answer + 64));  // room for the blocks' last, part-filled ones
  return load_model(host, options.model, options.path, std::move(load));
}

}  // namespace

int run_command(const BenchOptions& options) {
  check_bench(options);
  const auto host = make_host(options.host);
  const double read_gbps = measure_read_gbps(host->team());
  Engine engine(load(options, *host));
  Bench bench(options, engine);
  const std::vector<double> pp = repeat(options.repeat, [&] { return bench.prompt(); });
  const std::vector<double> tg = repeat(options.repeat, [&] { return bench.generation(1); });
  const EngineStats stats = engine.stats();
  Json batch = Json::array();
  for (const std::uint32_t n : options.batch) {
    batch.push_back({{"n", n}, {"tps", median(repeat(options.repeat, [&] { return bench.generation(n); }))}});
  }
  const std::string device = engine.model().placement().front().device;
  if (options.host.json) {
    print_json({{"model", engine.model().name()},
                {"device", device},
                {"threads", host->team().size()},
                {"prompt", options.prompt},
                {"gen", options.gen},
                {"depth", options.depth},
                {"pp_tps", median(pp)},
                {"tg_tps", median(tg)},
                {"samples", {{"pp_tps", pp}, {"tg_tps", tg}}},
                {"batch", batch},
                // What portable code cannot reach says nothing of the machine: null until a kernel measures it.
                {"ceilings", {{"read_gbps", read_gbps}, {"int8_gops", nullptr}, {"bf16_gflops", nullptr}}},
                {"submits_per_step", stats.submits_per_step},
                {"allocs_per_step", stats.allocs_per_step}});
    return 0;
  }
  std::vector<std::vector<std::string>> table = {{"TEST", "TOKENS/S"}};
  table.push_back({fmt::format("prompt {}", options.prompt), fmt::format("{:.1f}", median(pp))});
  table.push_back({fmt::format("gen {} at depth {}", options.gen, options.depth), fmt::format("{:.1f}", median(tg))});
  for (const Json& row : batch) {
    table.push_back({fmt::format("gen {} x {}", options.gen, row["n"].get<int>()),
                     fmt::format("{:.1f}", row["tps"].get<double>())});
  }
  std::printf("%s on %s, %u threads; this machine reads %.1f GB/s\n", engine.model().name().c_str(), device.c_str(),
              host->team().size(), read_gbps);
  print_table(table);
  return 0;
}

}  // namespace nacelle::cli
