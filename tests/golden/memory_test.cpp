// What a model is planned to take before it is loaded, against what its backend then allocates.
#include <catch2/catch.hpp>
#include <string>

#include "core/engine/model_graph.hpp"
#include "core/plugin_host/plugin_host.hpp"
#include "tests/shared_data.hpp"
#include "tests/support/engine_fixture.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

LoadOptions small(std::uint32_t max_sequences) {
  return {.path = source_dir() / "models/demo/nacelle-demo-q8_0.gguf",
          .device = "cpu",
          .context = 256,
          .max_sequences = max_sequences,
          .cache_tokens = 256};
}

// A host whose plugins may allocate so much.
std::unique_ptr<PluginHost> host_of(std::uint64_t bytes) {
  PluginHostOptions options;
  options.folders = {NACELLE_TEST_PLUGINS};
  options.threads = 1;
  options.max_memory = bytes;
  return std::make_unique<PluginHost>(options);
}

// By the files alone, before anything is loaded.
std::uint64_t planned(const LoadOptions& options) {
  const auto host = make_host(1);
  const auto files = ModelFiles::open(options.path);
  const ModelGraph graph = read_graph(*host, *files, false);
  const Forecast plan = forecast(*host, *files, graph, {{host->find_device("cpu"), graph.graph.layer_count}}, options);
  REQUIRE(plan.plan.memories().size() == 1);
  return plan.plan.memories().begin()->second.total(plan.kv_tokens);
}

// By what the backend then allocates.
std::uint64_t taken(const LoadOptions& options) {
  const auto host = host_of(1024 * kMiB);
  const auto model = Model::load(*host, options);
  return host->memory().budget().used;
}

}  // namespace

TEST_CASE("a model takes no more than it was planned to, and at most a twentieth less") {
  for (const std::uint32_t context : {256u, 1024u})
    for (const std::uint32_t sequences : {1u, 32u, 200u})
      for (const nacelle_type values : {NACELLE_TYPE_F16, NACELLE_TYPE_Q4_0}) {
        LoadOptions options = small(sequences);
        options.context = options.cache_tokens = context;
        options.value_type = values;
        const auto plan = static_cast<double>(planned(options)), real = static_cast<double>(taken(options));
        INFO(sequences << " sequences of " << context << ": planned " << plan << ", taken " << real);
        CHECK(real <= plan);
        CHECK(real >= 0.95 * plan);
      }
}
