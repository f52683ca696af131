// Backends in a process of their own: the same devices and reasons as in this one, and what happens when it dies. Whole
// models run through it in tests/ops and tests/http.
#include <signal.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <thread>

#include "core/base/error.hpp"
#include "core/plugin_host/isolation/arena.hpp"
#include "core/plugin_host/isolation/graph_wire.hpp"
#include "tests/unit/plugin_host/plugin_folder.hpp"

using namespace nacelle;
using nacelle::test::contains;
using nacelle::test::PluginFolder;

namespace {

PluginHostOptions isolating(const PluginFolder& folder, const std::string& name) {
  PluginHostOptions options = folder.options();
  options.isolated = {name};
  options.isolation_program = NACELLE_PLUGIN_PROCESS;
  return options;
}

// The children of all our threads.
std::vector<pid_t> our_children() {
  std::vector<pid_t> found;
  for (const auto& process : std::filesystem::directory_iterator("/proc")) {
    std::ifstream status(process.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (line == "PPid:\t" + std::to_string(::getpid()))
        found.push_back(std::stoi(process.path().filename().string()));
    }
  }
  return found;
}

std::vector<std::string> described(const PluginHost& host) {
  std::vector<std::string> all;
  for (const DeviceRecord& device : host.devices())
    all.push_back(device.name + "|" + device.description + "|" + device.detail + "|" + device.reason + "|" +
                  std::to_string(device.kind) + "|" + std::to_string(device.usable) + "|" +
                  std::to_string(device.memory_free) + "|" + std::to_string(device.block_tokens));
  return all;
}

}  // namespace

TEST_CASE("an isolated backend shows the devices that it has in this process") {
  for (const char* plugin : {"many", "no_device"}) {
    PluginFolder folder;
    folder.add(plugin);
    const auto here = [&] { return described(PluginHost(folder.options())); }();
    const PluginHost host(isolating(folder, plugin == std::string("many") ? "many" : "nodevice"));
    CHECK(described(host) == here);
    REQUIRE(host.plugins()[0].losses);
    CHECK(*host.plugins()[0].losses == 0);
  }
}

TEST_CASE("a plugin that fails to load in its process is refused as in this one") {
  for (const char* plugin : {"throws", "lies_kind"}) {
    PluginFolder folder;
    folder.add(plugin);
    const PluginRecord here = folder.only();
    const PluginHost host(isolating(folder, here.name));
    CHECK(host.plugins()[0].status == here.status);
    CHECK(host.plugins()[0].reason == here.reason);
    CHECK_FALSE(host.plugins()[0].backend);
  }
}

TEST_CASE("a plugin that crashes while it is loaded harms nobody") {
  PluginFolder folder;
  folder.add("crashes");
  folder.add("good");
  const PluginHost host(isolating(folder, "crashes"));
  REQUIRE(host.plugins().size() == 2);
  CHECK(host.plugins()[0].status == PluginStatus::kRefused);
  CHECK(contains(host.plugins()[0].reason, "its process died while the plugin was loaded"));
  CHECK(host.plugins()[1].status == PluginStatus::kLoaded);
}

TEST_CASE("a process that was killed is counted and replaced") {
  PluginFolder folder;
  folder.add("fast");
  const PluginHost host(isolating(folder, "fast"));
  const std::atomic<std::uint64_t>& losses = *host.plugins()[0].losses;
  for (std::uint64_t nth = 1; nth <= 2; ++nth) {
    const auto children = our_children();
    REQUIRE(children.size() == 1);
    ::kill(children[0], SIGKILL);
    while (losses < nth) std::this_thread::yield();
    const bool again = [&] {
      try {
        return host.find_device("fast").description == "GPU A";
      } catch (const Error& error) {
        CHECK(contains(error.what(), "the next one is started within"));
        return false;
      }
    }();
    CHECK(again == (nth == 1));  // the second comes too soon after the first
  }
}

TEST_CASE("a name that isolates nothing is refused") {
  PluginFolder folder;
  folder.add("fast");
  folder.add("good");
  for (const char* name : {"slow", "good"}) {
    try {
      const PluginHost host(isolating(folder, name));
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kInvalidArgument);
      CHECK(error.param() == "isolate");
      CHECK(contains(error.what(), "there are: fast"));
    }
  }
}

TEST_CASE("shared memory is handed out and taken back") {
  isolation::Arena arena;
  const auto a = arena.take(1), b = arena.take(10'000), c = arena.take(4096);
  CHECK(b - a == 4096);
  CHECK(c - b == 12'288);
  *arena.at(b) = std::byte{7};
  arena.give(a, 1);
  arena.give(b, 10'000);
  CHECK(arena.take(16'384) == a);  // side by side they are one gap
  CHECK(*arena.at(b) == std::byte{0});
  arena.give(a, 16'384);
  arena.give(c, 4096);
  CHECK_THROWS_AS(arena.take(isolation::SharedMemory::kSize + 1), std::bad_alloc);
  CHECK(arena.take(isolation::SharedMemory::kSize) == 0);
}

TEST_CASE("a graph crosses whole, and a message that is cut short is noticed") {
  sdk::GraphRecord record;
  record.layer_count = 2;
  record.vocabulary = 7;
  auto value = sdk::make<nacelle_value>();
  value.kind = NACELLE_VALUE_WEIGHT;
  value.shape[0] = NACELLE_DIM_ROWS;
  record.values = {value, value};
  auto norm = sdk::make<nacelle_norm_attributes>();
  norm.epsilon = 0.25f;
  record.ops.push_back({NACELLE_OP_RMS_NORM, 1, {0, 1}, {1}, sdk::Attributes(norm)});
  record.ops.push_back({NACELLE_OP_ADD, -1, {0, NACELLE_NO_VALUE}, {1}, {}});
  record.weights.push_back({"blk.0.norm", 1, 0, nullptr});
  record.cache_groups.push_back(sdk::make<nacelle_cache_group>());
  const sdk::Graph graph(std::move(record));
  const auto bytes_of = [](const nacelle_graph& view) {
    isolation::Writer counter;
    isolation::put_graph(counter, view);
    std::vector<std::byte> bytes(counter.size());
    isolation::Writer out(bytes);
    isolation::put_graph(out, view);
    return bytes;
  };
  const auto bytes = bytes_of(graph.view());
  isolation::Reader in(bytes);
  const sdk::Graph copy(isolation::get_graph(in));
  CHECK(bytes_of(copy.view()) == bytes);
  CHECK(copy.record().ops[0].attributes.as<nacelle_norm_attributes>().epsilon == 0.25f);
  CHECK(copy.record().ops[1].attributes.data() == nullptr);
  for (std::size_t size = 0; size < bytes.size(); size += 8) {
    isolation::Reader part(std::span<const std::byte>(bytes.data(), size));
    CHECK_THROWS_AS(isolation::get_graph(part), sdk::Failure);
  }
  isolation::Writer narrow(std::span<std::byte>(const_cast<std::byte*>(bytes.data()), 8));
  CHECK_THROWS_AS(narrow.put_text("longer than eight"), sdk::Failure);
}
