// Each service of nacelle_host. These functions are called by plugins: no exception leaves them, and every pointer and
// size that comes in is doubted.
#include "core/plugin_host/host_services.hpp"

#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/base/topology.hpp"

// Opaque to plugins.
struct nacelle_error {
  nacelle_status status;
  std::string message;
};

namespace nacelle {
namespace {

constexpr std::uint64_t kMaxText = 64u << 10;  // of a log line or an error: longer ones are cut
constexpr std::uint64_t kHugePage = 2u << 20;

std::string_view view(nacelle_string text) {
  return text.data ? std::string_view(text.data, std::min(text.size, kMaxText)) : std::string_view();
}

nacelle_error& out_of_memory() {
  // Its message fits the string's own room, so making it allocates nothing.
  static nacelle_error& error = *new nacelle_error{NACELLE_OUT_OF_MEMORY, "out of memory"};
  return error;
}

// Copies a value out by the rule of config_get and tuning_get.
nacelle_status hand_out(const void* data, std::uint64_t length, void* buffer, std::uint64_t capacity,
                        std::uint64_t* size) {
  if (size) *size = length;
  const std::uint64_t count = std::min(length, capacity);
  if (buffer && count) std::memcpy(buffer, data, count);
  return NACELLE_OK;
}

}  // namespace

struct HostServices::Table {
  static HostServices& of(void* context) { return *static_cast<HostServices*>(context); }

  // ---- Log and errors
  static std::uint32_t log_enabled(void*, std::uint32_t level) {
    return level <= NACELLE_LOG_ERROR && log::enabled(static_cast<log::Level>(level));
  }
  static void log_write(void*, std::uint32_t level, nacelle_string component, nacelle_string message) {
    if (level <= NACELLE_LOG_ERROR) log::write(static_cast<log::Level>(level), view(message), view(component));
  }
  static nacelle_error* error_create(void*, nacelle_status status, nacelle_string message) try {
    return new nacelle_error{status, std::string(view(message))};
  } catch (const std::bad_alloc&) {
    return &out_of_memory();
  }
  static void error_destroy(void*, nacelle_error* error) {
    if (error != &out_of_memory()) delete error;
  }
  static nacelle_status error_status(void*, const nacelle_error* error) {
    return error ? error->status : nacelle_status{NACELLE_INTERNAL};
  }
  static nacelle_string error_message(void*, const nacelle_error* error) {
    return error ? nacelle_string{error->message.data(), error->message.size()} : nacelle_string{"", 0};
  }

  // ---- Memory
  static void* allocate(void* context, std::uint64_t size, std::uint64_t alignment) {
    if (!std::has_single_bit(alignment) || size > PTRDIFF_MAX) return nullptr;
    const bool large = size >= kHugePage;
    alignment = std::max<std::uint64_t>({alignment, sizeof(void*), large ? kHugePage : 0});
    void* pointer = nullptr;
    if (!of(context).memory_.take(size)) return nullptr;
    if (::posix_memalign(&pointer, alignment, std::max<std::uint64_t>(size, 1)) != 0) {
      of(context).memory_.give(size);
      return nullptr;
    }
    // Only whole huge pages: the tail's neighbours are not ours to change. A refusal costs speed, nothing else.
    if (large) {
      ::madvise(pointer, size / kHugePage * kHugePage, MADV_HUGEPAGE);
      if (of(context).nodes_.size() > 1) interleave(pointer, size / kHugePage * kHugePage, of(context).nodes_);
    }
    return pointer;
  }
  static void deallocate(void* context, void* pointer, std::uint64_t size, std::uint64_t) {
    if (pointer) of(context).memory_.give(size);
    std::free(pointer);
  }

  // ---- Threads
  static void team_run(void* context, nacelle_team_function function, void* argument) {
    of(context).team_.run(function, argument);
  }
  static void team_share(void* context, nacelle_team_function function, void* argument) {
    of(context).team_.share(function, argument);
  }
  static std::uint32_t team_size(void* context) { return of(context).team_.size(); }
  static void parallel_for(void* context, std::uint64_t count, std::uint64_t grain, nacelle_range_function function,
                           void* argument) {
    of(context).team_.parallel_for(count, grain, function, argument);
  }

  // ---- Settings and the tuning cache
  static nacelle_status config_get(void* context, nacelle_string key, char* buffer, std::uint64_t capacity,
                                   std::uint64_t* size) try {
    const auto& config = of(context).config_;
    const auto found = config.find(std::string(view(key)));
    if (found == config.end()) return NACELLE_NOT_FOUND;
    return hand_out(found->second.data(), found->second.size(), buffer, capacity, size);
  } catch (const std::bad_alloc&) {
    return NACELLE_OUT_OF_MEMORY;
  }
  static void tell(bool first, const char* instead, const std::exception& error) {
    if (first)
      log::warning("tuning cache: {}; {}", error.what(), instead);
    else
      log::debug("tuning cache: {}", error.what());
  }
  static nacelle_status tuning_get(void* context, nacelle_string key, void* buffer, std::uint64_t capacity,
                                   std::uint64_t* size) try {
    const auto data = of(context).tuning_.get({key.data, key.data ? key.size : 0});
    if (!data) return NACELLE_NOT_FOUND;
    return hand_out(data->data(), data->size(), buffer, capacity, size);
  } catch (const std::exception& error) {
    const bool first = !of(context).told_of_get_.exchange(true);
    tell(first, "kernels are chosen by static cost until `nacelle tune` measures them", error);
    return NACELLE_UNAVAILABLE;
  }
  static nacelle_status tuning_put(void* context, nacelle_string key, const void* data, std::uint64_t size) try {
    of(context).tuning_.put({key.data, key.data ? key.size : 0},
                            {static_cast<const std::byte*>(data), data ? size : 0});
    return NACELLE_OK;
  } catch (const std::exception& error) {
    const bool first = !of(context).told_of_put_.exchange(true);
    tell(first, "what was measured holds for this process only", error);
    return NACELLE_UNAVAILABLE;
  }

  // ---- Trace spans: at log level trace each span is one line with its duration.
  static std::uint64_t trace_begin(void* context, const char* name) try {
    if (!log::enabled(log::Level::kTrace)) return 0;
    HostServices& self = of(context);
    const std::lock_guard lock(self.span_mutex_);
    self.spans_.emplace(self.next_span_, Span{name, std::chrono::steady_clock::now()});
    return self.next_span_++;
  } catch (const std::bad_alloc&) {
    return 0;
  }
  static void trace_end(void* context, std::uint64_t id) try {
    if (id == 0) return;
    HostServices& self = of(context);
    std::unique_lock lock(self.span_mutex_);
    const auto node = self.spans_.extract(id);
    lock.unlock();
    if (node.empty()) return;
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - node.mapped().begin;
    log::trace("span {}: {:.1f} us", node.mapped().name, took.count());
  } catch (const std::exception&) {
    // A span that cannot be told is lost.
  }

  static nacelle_host make(void* context) {
    nacelle_host table{};
    table.struct_size = sizeof table;
    table.context = context;
    table.log_enabled = log_enabled;
    table.log = log_write;
    table.error_create = error_create;
    table.error_destroy = error_destroy;
    table.error_status = error_status;
    table.error_message = error_message;
    table.allocate = allocate;
    table.deallocate = deallocate;
    table.team_run = team_run;
    table.team_size = team_size;
    table.team_barrier = ThreadTeam::barrier;
    table.team_claim = ThreadTeam::claim;
    table.parallel_for = parallel_for;
    table.config_get = config_get;
    table.tuning_get = tuning_get;
    table.tuning_put = tuning_put;
    table.trace_begin = trace_begin;
    table.trace_end = trace_end;
    table.team_share = team_share;
    table.team_arrive = [](const nacelle_team_member* member) -> std::uint32_t { return ThreadTeam::arrive(member); };
    table.team_open = ThreadTeam::open;
    return table;
  }
};

HostServices::HostServices(HostSetup setup)
    : table_(Table::make(this)),
      memory_(setup.max_memory),
      team_(setup.threads, std::move(setup.cpus)),
      nodes_(std::move(setup.nodes)),
      config_(std::move(setup.config)),
      tuning_(std::move(setup.cache_folder)) {
  out_of_memory();  // made while there is memory
}

HostServices& HostServices::create(HostSetup setup) {
  // The list holds what is never freed, so that leak checkers can reach it.
  static std::mutex mutex;
  static auto& kept = *new std::vector<HostServices*>;
  std::unique_ptr<HostServices> made(new HostServices(std::move(setup)));
  const std::lock_guard lock(mutex);
  kept.push_back(made.get());
  return *made.release();
}

}  // namespace nacelle
