// What a model is planned to take before it is loaded, against what its backend then allocates.
#include <catch2/catch.hpp>
#include <string>

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

// "needs 14 MiB: ...", of the refusal where next to nothing is allowed.
std::uint64_t planned(std::uint32_t max_sequences) {
  const auto host = host_of(kMiB);
  try {
    Model::load(*host, small(max_sequences));
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kResource);
    const std::string text = error.what();
    const std::size_t at = text.find("needs ");
    REQUIRE(at != std::string::npos);
    return std::stoull(text.substr(at + 6)) * kMiB;
  }
  FAIL("it was loaded");
  return 0;
}

}  // namespace

TEST_CASE("a model takes no more than it was planned to, and not much less") {
  for (const std::uint32_t sequences : {1u, 32u, 200u}) {
    const std::uint64_t plan = planned(sequences);
    const auto host = host_of(1024 * kMiB);
    const auto model = Model::load(*host, small(sequences));
    const std::uint64_t taken = host->memory().budget().used;
    INFO(sequences << " sequences: planned " << plan << ", taken " << taken);
    CHECK(taken <= plan + kMiB / 2);  // the message rounds
    CHECK(taken * 2 > plan);
  }
}
