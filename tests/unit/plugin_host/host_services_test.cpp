// Each service of nacelle_host, called as a plugin calls it.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nacelle/plugin.hpp>

#include "core/base/cpu_budget.hpp"
#include "core/base/error.hpp"
#include "core/plugin_host/tuning_store.hpp"
#include "tests/unit/plugin_host/plugin_folder.hpp"

using namespace nacelle;
using nacelle::test::contains;
using nacelle::test::PluginFolder;
using sdk::view;

namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string text_of(const std::optional<std::vector<std::byte>>& data) {
  return data ? std::string(reinterpret_cast<const char*>(data->data()), data->size()) : "(none)";
}

}  // namespace

TEST_CASE("errors carry a status and a message, and check() turns them into exceptions") {
  PluginFolder folder;
  const PluginHost host(folder.options());
  const nacelle_host* services = host.services();
  void* context = services->context;

  nacelle_error* error = services->error_create(context, NACELLE_NOT_FOUND, view("no such key"));
  CHECK(services->error_status(context, error) == NACELLE_NOT_FOUND);
  CHECK(view(services->error_message(context, error)) == "no such key");
  services->error_destroy(context, error);
  services->error_destroy(context, nullptr);

  CHECK_NOTHROW(check(services, NACELLE_OK, nullptr, "cpu: prepare"));
  CHECK_NOTHROW(check(services, NACELLE_OK, services->error_create(context, 9, view("odd")), "cpu: prepare"));
  struct Row {
    nacelle_status status;
    ErrorKind kind;
  };
  const Row rows[] = {
      {NACELLE_INVALID_ARGUMENT, ErrorKind::kInvalidArgument},
      {NACELLE_UNIMPLEMENTED, ErrorKind::kUnsupported},
      {NACELLE_NOT_FOUND, ErrorKind::kNotFound},
      {NACELLE_OUT_OF_MEMORY, ErrorKind::kResource},
      {NACELLE_UNAVAILABLE, ErrorKind::kUnavailable},
      {NACELLE_DEVICE_LOST, ErrorKind::kUnavailable},
      {NACELLE_FAILED_PRECONDITION, ErrorKind::kInternal},
      {NACELLE_CANCELLED, ErrorKind::kUnavailable},
      {NACELLE_INTERNAL, ErrorKind::kInternal},
      {4711, ErrorKind::kInternal},
  };
  for (const Row& row : rows) {
    for (const bool with_message : {true, false}) {
      try {
        check(services, row.status, with_message ? services->error_create(context, row.status, view("why")) : nullptr,
              "cpu: prepare");
        FAIL("no error for status " << row.status);
      } catch (const Error& thrown) {
        CHECK(thrown.kind() == row.kind);
        CHECK(contains(thrown.what(), with_message ? "cpu: prepare: why" : "cpu: prepare: "));
      }
    }
  }
}

TEST_CASE("a plugin that names itself is named once") {
  PluginFolder folder;
  const PluginHost host(folder.options());
  const nacelle_host* services = host.services();
  const auto message = [&](const char* text, const char* what) {
    try {
      check(services, NACELLE_INTERNAL, services->error_create(services->context, NACELLE_INTERNAL, view(text)), what);
    } catch (const Error& thrown) {
      return std::string(thrown.what());
    }
    return std::string("no error");
  };
  CHECK(message("cpu: no kernel", "cpu: cannot pack") == "cpu: cannot pack: no kernel");
  CHECK(message("vulkan: no shader", "vulkan:1: cannot pack") == "vulkan:1: cannot pack: no shader");
  CHECK(message("cpux: odd", "cpu: cannot pack") == "cpu: cannot pack: cpux: odd");
}

TEST_CASE("memory is aligned as asked, and nonsense gives NULL") {
  PluginFolder folder;
  const PluginHost host(folder.options());
  const nacelle_host* services = host.services();
  for (const std::uint64_t size : {0ull, 1ull, 63ull, 4096ull, (2ull << 20), (5ull << 20) + 3})
    for (const std::uint64_t alignment : {1ull, 64ull, 4096ull, 1ull << 16}) {
      void* pointer = services->allocate(services->context, size, alignment);
      REQUIRE(pointer);
      CHECK(reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0);
      // Large blocks begin on a huge page.
      if (size >= 2u << 20) CHECK(reinterpret_cast<std::uintptr_t>(pointer) % (2u << 20) == 0);
      std::memset(pointer, 1, size);
      services->deallocate(services->context, pointer, size, alignment);
    }
  CHECK_FALSE(services->allocate(services->context, 64, 0));
  CHECK_FALSE(services->allocate(services->context, 64, 48));
  CHECK_FALSE(services->allocate(services->context, ~0ull, 64));
}

TEST_CASE("settings reach plugins, cut at the buffer's end") {
  PluginFolder folder;
  auto options = folder.options();
  options.config = {{"backend.cpu.isa", "avx2"}, {"empty", ""}};
  const PluginHost host(options);
  const nacelle_host* services = host.services();
  const sdk::Host cpu(services, "cpu");
  CHECK(cpu.config("backend.cpu.isa") == "avx2");
  CHECK(cpu.config("empty") == "");
  CHECK(cpu.config("backend.cpu") == std::nullopt);
  std::array<char, 2> small{};
  std::uint64_t size = 0;
  CHECK(services->config_get(services->context, view("backend.cpu.isa"), small.data(), 2, &size) == NACELLE_OK);
  CHECK(size == 4);
  CHECK(std::string_view(small.data(), 2) == "av");
  CHECK(services->config_get(services->context, view("backend.cpu.isa"), nullptr, 0, nullptr) == NACELLE_OK);
  CHECK(services->config_get(services->context, {nullptr, 7}, nullptr, 0, nullptr) == NACELLE_NOT_FOUND);
}

TEST_CASE("plugins learn the container's memory limit, and a setting overrides it") {
  PluginFolder folder;
  auto options = folder.options();
  const std::uint64_t limit = read_cpu_budget().memory_limit;
  const auto expected = limit ? std::optional(std::to_string(limit)) : std::nullopt;
  CHECK(sdk::Host(PluginHost(options).services(), "cpu").config("host.memory_limit") == expected);
  options.config["host.memory_limit"] = "12345";
  CHECK(sdk::Host(PluginHost(options).services(), "cpu").config("host.memory_limit") == "12345");
}

TEST_CASE("the team runs a function on each thread") {
  PluginFolder folder;
  auto options = folder.options();
  options.threads = 3;
  const PluginHost host(options);
  const sdk::Host services(host.services(), "test");
  CHECK(services.team_size() == 3);
  std::array<int, 3> order{};
  services.team_run([&](const nacelle_team_member& member) {
    services.barrier(member);
    order[member.index] = 1 + static_cast<int>(services.claim(member, 1));
  });
  std::atomic<int> shared{0};
  services.team_share([&](const nacelle_team_member& member) {
    while (services.claim(member, 1) < 100) ++shared;
    services.barrier(member);
    while (services.claim(member, 1) < 100) ++shared;
  });
  CHECK(shared == 200);
  CHECK(order[0] + order[1] + order[2] == 6);
  std::array<std::atomic<int>, 1000> visits{};
  services.parallel_for(1000, 10, [&](std::uint64_t begin, std::uint64_t end) {
    for (; begin < end; ++begin) ++visits[begin];
  });
  CHECK(std::all_of(visits.begin(), visits.end(), [](const auto& count) { return count == 1; }));
}

TEST_CASE("what is thrown inside the team is told before it ends the process") {
  const auto told = [](bool share, auto thrown) {
    int ends[2] = {-1, -1};
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      const rlimit none{0, 0};
      ::setrlimit(RLIMIT_CORE, &none);
      ::signal(SIGABRT, SIG_DFL);  // not Catch's, which would report a failed test
      ::dup2(ends[1], STDERR_FILENO);
      PluginFolder folder;
      auto options = folder.options();
      options.threads = 2;
      const PluginHost host(options);
      const sdk::Host services(host.services(), "test");
      const auto body = [&](const nacelle_team_member& member) {
        if (member.index == 0) throw thrown;
        services.barrier(member);
      };
      share ? services.team_share(body) : services.team_run(body);
      ::_exit(0);
    }
    ::close(ends[1]);
    std::string text(4096, '\0');
    std::size_t size = 0;
    for (ssize_t more = 1; more > 0 && size < text.size(); size += static_cast<std::size_t>(more))
      if ((more = ::read(ends[0], text.data() + size, text.size() - size)) < 0) break;
    ::close(ends[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    text.resize(size);
    return text;
  };
  const std::string line =
      "error test: a function that runs on the host's pool let an exception out, which ends the process: ";
  CHECK(contains(told(false, std::runtime_error("as promised")), line + "as promised\n"));
  CHECK(contains(told(true, std::runtime_error("as promised")), line + "as promised\n"));
  CHECK(contains(told(false, 42), line + "of unknown type\n"));
}

TEST_CASE("the tuning cache keeps bytes, and a damaged file is a miss") {
  PluginFolder folder;
  const PluginHost host(folder.options());
  const nacelle_host* services = host.services();
  const auto put = [&](const std::string& key, const std::string& value) {
    return services->tuning_put(services->context, view(key), value.data(), value.size());
  };
  std::array<char, 4> buffer{};
  std::uint64_t size = 0;
  CHECK(services->tuning_get(services->context, view("key"), buffer.data(), 4, &size) == NACELLE_NOT_FOUND);
  REQUIRE(put("key", "a value") == NACELLE_OK);
  REQUIRE(put("other", "") == NACELLE_OK);
  CHECK(services->tuning_get(services->context, view("key"), buffer.data(), 4, &size) == NACELLE_OK);
  CHECK(size == 7);
  CHECK(std::string_view(buffer.data(), 4) == "a va");

  const TuningStore store(folder.path() / "cache");
  CHECK(text_of(store.get("key")) == "a value");
  CHECK(text_of(store.get("other")) == "");
  REQUIRE(put("key", "newer") == NACELLE_OK);
  CHECK(text_of(store.get("key")) == "newer");

  for (const auto& entry : std::filesystem::directory_iterator(folder.path() / "cache")) {
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string whole(std::istreambuf_iterator<char>(in), {});
    if (!contains(whole, "newer")) continue;
    for (std::size_t at = 0; at < whole.size(); at += 7) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ 4);
      std::ofstream(entry.path(), std::ios::binary) << damaged;
      CHECK_THROWS_AS(store.get("key"), Error);
      std::ofstream(entry.path(), std::ios::binary) << whole.substr(0, at);
      CHECK_THROWS_AS(store.get("key"), Error);
    }
    std::ofstream(entry.path(), std::ios::binary) << whole;
    CHECK(text_of(store.get("key")) == "newer");
    // A file under another key's name is not believed.
    const auto other = std::filesystem::directory_iterator(folder.path() / "cache");
    for (const auto& target : other)
      if (target.path() != entry.path())
        std::filesystem::copy_file(entry.path(), target.path(), std::filesystem::copy_options::overwrite_existing);
    CHECK_THROWS_AS(store.get("other"), Error);
    CHECK(services->tuning_get(services->context, view("other"), buffer.data(), 4, &size) == NACELLE_UNAVAILABLE);
  }
  CHECK_THROWS_AS(store.put(std::string(70000, 'k'), bytes_of("x")), Error);
  CHECK_THROWS_AS(TuningStore({}).put("key", bytes_of("x")), Error);
  CHECK_THROWS_AS(TuningStore("/proc/nacelle").put("key", bytes_of("x")), Error);
  CHECK_FALSE(TuningStore({}).get("key"));
}

TEST_CASE("log and trace take whatever a plugin gives") {
  PluginFolder folder;
  const PluginHost host(folder.options());
  const nacelle_host* services = host.services();
  CHECK(services->log_enabled(services->context, NACELLE_LOG_ERROR));
  CHECK_FALSE(services->log_enabled(services->context, NACELLE_LOG_TRACE));
  CHECK_FALSE(services->log_enabled(services->context, 5));
  services->log(services->context, 77, view("x"), view("never seen"));
  services->log(services->context, NACELLE_LOG_TRACE, {nullptr, 5}, {nullptr, 9});
  CHECK(services->trace_begin(services->context, "step") == 0);
  services->trace_end(services->context, 0);
  services->trace_end(services->context, 12345);
}
