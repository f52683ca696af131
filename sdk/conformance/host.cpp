#include "sdk/conformance/host.hpp"

#include <nacelle/backend.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <nacelle/plugin.hpp>
#include <thread>
#include <utility>
#include <vector>

struct nacelle_error {
  nacelle_status status;
  std::string message;
};

namespace nacelle::conformance {
namespace {

struct State {
  std::mutex team_mutex, log_mutex;
  std::atomic<unsigned> team_size{1};
  std::uint32_t numerics = NACELLE_NUMERICS_STABLE;
  std::atomic<std::uint64_t> allocated{0};
  std::atomic<std::int64_t> errors{0};
  std::string logged_error;
  std::map<std::string, std::string, std::less<>> config;
};
State& state() {
  static State instance;
  return instance;
}

struct Team {
  explicit Team(unsigned count) : barrier(count, Reset{this}) {}
  struct Reset {
    Team* team;
    void operator()() noexcept { team->counter = 0; }
  };
  std::atomic<std::uint64_t> counter{0};
  std::barrier<Reset> barrier;
};

void team_run(void*, nacelle_team_function function, void* argument) {
  const std::scoped_lock lock(state().team_mutex);
  const unsigned count = state().team_size;
  Team team(count);
  std::vector<std::jthread> threads;
  const auto run = [&](unsigned index) {
    const nacelle_team_member member{&team, index, count};
    function(argument, &member);
  };
  for (unsigned i = 1; i < count; ++i) threads.emplace_back(run, i);
  run(0);
}

struct RangeWork {
  std::uint64_t count, chunk;
  nacelle_range_function function;
  void* argument;
};

void parallel_for(void* context, std::uint64_t count, std::uint64_t grain, nacelle_range_function function,
                  void* argument) {
  RangeWork work{count, std::max<std::uint64_t>(grain, 1), function, argument};
  team_run(
      context,
      [](void* opaque, const nacelle_team_member* member) {
        const auto& of = *static_cast<const RangeWork*>(opaque);
        auto& counter = static_cast<Team*>(member->team)->counter;
        for (std::uint64_t begin; (begin = counter.fetch_add(of.chunk)) < of.count;)
          of.function(of.argument, begin, std::min(begin + of.chunk, of.count));
      },
      &work);
}

void* allocate(void*, std::uint64_t size, std::uint64_t alignment) {
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (!memory) return nullptr;
  std::memset(memory, 0xff, size);
  state().allocated += size;
  return memory;
}

void log(void*, std::uint32_t level, nacelle_string, nacelle_string message) {
  if (level < NACELLE_LOG_ERROR) return;
  const std::scoped_lock lock(state().log_mutex);
  state().logged_error = sdk::view(message);
}

nacelle_host make_host() {
  auto host = sdk::make<nacelle_host>();
  host.log_enabled = [](void*, std::uint32_t) -> std::uint32_t { return 1; };
  host.log = log;
  host.error_create = [](void*, nacelle_status status, nacelle_string message) {
    ++state().errors;
    return new nacelle_error{status, std::string(sdk::view(message))};
  };
  host.error_destroy = [](void*, nacelle_error* error) { take_message(error); };
  host.error_status = [](void*, const nacelle_error* error) { return error->status; };
  host.error_message = [](void*, const nacelle_error* error) { return sdk::view(error->message); };
  host.allocate = allocate;
  host.deallocate = [](void*, void* memory, std::uint64_t size, std::uint64_t) {
    std::free(memory);
    state().allocated -= size;
  };
  host.team_run = team_run;
  host.team_size = [](void*) -> std::uint32_t { return state().team_size; };
  host.team_barrier = [](const nacelle_team_member* member) {
    static_cast<Team*>(member->team)->barrier.arrive_and_wait();
  };
  host.team_claim = [](const nacelle_team_member* member, std::uint64_t count) {
    return static_cast<Team*>(member->team)->counter.fetch_add(count);
  };
  // Nobody is ever late here.
  host.team_share = team_run;
  host.team_arrive = [](const nacelle_team_member* member) -> std::uint32_t {
    auto& barrier = static_cast<Team*>(member->team)->barrier;
    barrier.arrive_and_wait();
    if (member->index != 0) barrier.arrive_and_wait();
    return member->index == 0;
  };
  host.team_open = host.team_barrier;
  host.parallel_for = parallel_for;
  host.config_get = [](void*, nacelle_string key, char* buffer, std::uint64_t capacity,
                       std::uint64_t* size) -> nacelle_status {
    const auto found = state().config.find(sdk::view(key));
    if (found == state().config.end()) return NACELLE_NOT_FOUND;
    *size = found->second.size();
    std::memcpy(buffer, found->second.data(), std::min(*size, capacity));
    return NACELLE_OK;
  };
  host.tuning_get = [](void*, nacelle_string, void*, std::uint64_t, std::uint64_t*) -> nacelle_status {
    return NACELLE_NOT_FOUND;
  };
  host.tuning_put = [](void*, nacelle_string, const void*, std::uint64_t) -> nacelle_status { return NACELLE_OK; };
  host.trace_begin = [](void*, const char*) -> std::uint64_t { return 0; };
  host.trace_end = [](void*, std::uint64_t) {};
  return host;
}

}  // namespace

const nacelle_host* conformance_host() {
  static const nacelle_host host = make_host();
  return &host;
}

void set_config(const std::string& key, const std::string& value) { state().config[key] = value; }
void set_team_size(unsigned threads) { state().team_size = threads; }
void set_numerics(std::uint32_t numerics) { state().numerics = numerics; }
std::uint32_t numerics() { return state().numerics; }
std::uint64_t allocated_bytes() { return state().allocated; }
std::int64_t live_errors() { return state().errors; }

std::string take_logged_error() {
  const std::scoped_lock lock(state().log_mutex);
  return std::exchange(state().logged_error, {});
}

std::string take_message(nacelle_error* error) {
  if (!error) return {};
  std::string message = error->message;
  delete error;
  --state().errors;
  return message;
}

}  // namespace nacelle::conformance
