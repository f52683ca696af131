// Devices: listing, naming and choosing.
#include <catch2/catch.hpp>

#include "core/base/error.hpp"
#include "core/plugin_host/tuning_store.hpp"
#include "tests/unit/plugin_host/plugin_folder.hpp"

using namespace nacelle;
using nacelle::test::contains;
using nacelle::test::PluginFolder;

namespace {

// The error of a call, which must throw.
template <class Call>
Error error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  FAIL("no error");
  return Error(ErrorKind::kInternal, "");
}

struct Expected {
  ErrorKind kind;
  const char* text;
};

void check_name(const PluginHost& host, const std::string& name, Expected expected) {
  const Error error = error_of([&] { host.find_device(name); });
  INFO(name << ": " << error.what());
  CHECK(error.kind() == expected.kind);
  CHECK(contains(error.what(), expected.text));
  CHECK(contains(error.what(), name));
  CHECK(error.param() == "device");
}

}  // namespace

TEST_CASE("every device is listed, also those that cannot be used") {
  PluginFolder folder;
  folder.add("many");
  folder.add("no_device");
  folder.add("throws_later");
  const PluginHost host(folder.options());
  const auto devices = host.devices();
  struct Row {
    const char *name, *description, *reason;
    bool usable;
  };
  const Row rows[] = {
      {"many", "Old GPU", "compute capability 3.0 is too old", false},
      {"many:1", "CPU", "", true},
      {"many:2", "Emulated", "", true},
      {"many:3", "", "many: device_info: the device fell off the bus", false},
      {"many:4", "Odd", "block_tokens 17", false},
      {"nodevice", "", "the driver libfast.so.1 is not installed", false},
      {"throwing", "", "threw an exception across the ABI", false},
  };
  REQUIRE(devices.size() == std::size(rows));
  for (std::size_t i = 0; i < devices.size(); ++i) {
    INFO(devices[i].name << ": " << devices[i].reason);
    CHECK(devices[i].name == rows[i].name);
    CHECK(devices[i].description == rows[i].description);
    CHECK(devices[i].usable == rows[i].usable);
    CHECK(contains(devices[i].reason, rows[i].reason));
    CHECK(devices[i].api);
  }
  CHECK(devices[1].memory_total == 8);
  CHECK(devices[1].memory_free == 4);
  CHECK(devices[1].detail == "avx2");
  CHECK(devices[1].block_tokens == 16);
  CHECK(devices[1].kind == NACELLE_DEVICE_CPU);

  const auto probed = host.probe_plugins();
  REQUIRE(probed.size() == 3);
  CHECK(probed[0].status == PluginStatus::kLoaded);
  CHECK(probed[1].status == PluginStatus::kUnavailable);
  CHECK(probed[1].reason == "the driver libfast.so.1 is not installed");
  CHECK(probed[2].status == PluginStatus::kUnavailable);
}

TEST_CASE("a device is found by name and never replaced by another") {
  PluginFolder folder;
  folder.add("many");
  folder.add("no_device");
  folder.add("wrong_major", "libnacelle_backend_cuda.so");
  folder.add("fails", "libnacelle_backend_fails.so");
  const PluginHost host(folder.options());
  CHECK(host.find_device("many:1").description == "CPU");
  CHECK(host.find_device("many:2").kind == NACELLE_DEVICE_EMULATED);
  check_name(host, "many", {ErrorKind::kUnavailable, "compute capability 3.0 is too old"});
  check_name(host, "many:0", {ErrorKind::kUnavailable, "compute capability 3.0 is too old"});
  check_name(host, "many:5", {ErrorKind::kNotFound, "many has: many, many:1, many:2, many:3, many:4"});
  check_name(host, "nodevice", {ErrorKind::kUnavailable, "libfast.so.1 is not installed"});
  check_name(host, "vulkan:1", {ErrorKind::kNotFound, "backends here: many, nodevice"});
  for (const char* name : {"many:", "many:x", "many:1x", "many:-1", "many:99999999999", "many:1:2"})
    check_name(host, name, {ErrorKind::kInvalidArgument, "expected BACKEND or BACKEND:INDEX"});
  check_name(host, "", {ErrorKind::kNotFound, "no such backend"});
}

TEST_CASE("a device whose plugin was refused is told with the plugin's reason") {
  PluginFolder folder;
  folder.add("throws");
  const PluginHost host(folder.options());
  check_name(host, "throwing", {ErrorKind::kUnavailable, "its plugin is refused: "});
}

TEST_CASE("only the backend that was asked for opens its driver") {
  PluginFolder folder;
  folder.add("many");
  folder.add("fast");
  const PluginHost host(folder.options());
  const TuningStore cache(folder.path() / "cache");
  CHECK_FALSE(cache.get("driver of many"));
  host.find_device("many:1");
  CHECK(cache.get("driver of many"));
  CHECK_FALSE(cache.get("driver of fast"));
}

TEST_CASE("a backend that sees no hardware opens its driver only where it is named") {
  PluginFolder folder;
  folder.add("absent");
  folder.add("many");
  const PluginHost host(folder.options());
  const TuningStore cache(folder.path() / "cache");
  CHECK(host.candidates().size() == 1);
  CHECK(host.default_device().name == "many:1");
  CHECK_FALSE(cache.get("driver of absent"));
  CHECK(host.find_device("absent").description == "Software GPU");
  CHECK(cache.get("driver of absent"));
}

TEST_CASE("the default device is a GPU before a CPU, and never an emulated one") {
  PluginFolder cpu, gpu, none;
  cpu.add("many");
  CHECK(PluginHost(cpu.options()).default_device().name == "many:1");
  gpu.add("many");
  gpu.add("fast");
  CHECK(PluginHost(gpu.options()).default_device().description == "GPU B");  // more free memory than GPU A
  none.add("no_device");
  const PluginHost host(none.options());
  const Error error = error_of([&] { host.default_device(); });
  CHECK(error.kind() == ErrorKind::kUnavailable);
  CHECK(contains(error.what(), "nodevice (the driver libfast.so.1 is not installed)"));
}
