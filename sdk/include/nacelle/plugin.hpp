// C++ layer shared by all plugins: errors, guarded thunks, growing structs, host services. Header-only; throws freely
// inside the plugin, never across the border.
#pragma once

#include <nacelle/plugin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace nacelle::sdk {

inline nacelle_string view(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view view(nacelle_string text) { return {text.data, static_cast<std::size_t>(text.size)}; }

// What plugin code throws: a status and one line for a person.
class Failure : public std::exception {
 public:
  Failure(nacelle_status status, std::string message) : status_(status), message_(std::move(message)) {}
  nacelle_status status() const noexcept { return status_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  nacelle_status status_;
  std::string message_;
};

// A struct from the other side, of whatever size it knows: what it lacks reads as zero.
template <class T>
T load(const T* from) {
  T value{};
  if (from) std::memcpy(&value, from, std::min<std::size_t>(from->struct_size, sizeof(T)));
  value.struct_size = sizeof(T);
  return value;
}

// Fills a struct of the other side up to the size it announced.
template <class T>
void store(T* to, T value) {
  const auto size = std::min<std::uint32_t>(to->struct_size, sizeof(T));
  value.struct_size = size;
  std::memcpy(static_cast<void*>(to), &value, size);
}

// A struct of this SDK's own size, all else zero.
template <class T>
T make() {
  T value{};
  value.struct_size = sizeof(T);
  return value;
}

inline nacelle_status fail(const nacelle_host* host, nacelle_error** error, nacelle_status status,
                           std::string_view message) noexcept {
  if (error) *error = host->error_create(host->context, status, view(message));
  return status;
}

// Runs `body` and turns whatever it throws into a status and an error. Every thunk goes through here.
template <class Body>
nacelle_status guard(const nacelle_host* host, nacelle_error** error, Body&& body) noexcept {
  try {
    body();
    return NACELLE_OK;
  } catch (const Failure& failure) {
    return fail(host, error, failure.status(), failure.what());
  } catch (const std::bad_alloc&) {
    return fail(host, error, NACELLE_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& exception) {
    return fail(host, error, NACELLE_INTERNAL, exception.what());
  } catch (...) {
    return fail(host, error, NACELLE_INTERNAL, "an exception of unknown type");
  }
}

// The host's services, with C++ types. Copyable; any thread.
class Host {
 public:
  Host(const nacelle_host* table, std::string_view component) : table_(table), component_(component) {}
  const nacelle_host* table() const { return table_; }

  void log(std::uint32_t level, std::string_view message) const {
    if (table_->log_enabled(table_->context, level))
      table_->log(table_->context, level, view(component_), view(message));
  }

  std::optional<std::string> config(std::string_view key) const {
    std::string value(64, '\0');
    std::uint64_t size = 0;
    if (table_->config_get(table_->context, view(key), value.data(), value.size(), &size) != NACELLE_OK)
      return std::nullopt;
    if (size > value.size()) {
      value.resize(size);
      table_->config_get(table_->context, view(key), value.data(), value.size(), &size);
    }
    value.resize(size);
    return value;
  }

  // What was kept under `key` in the tuning cache. `damaged` is set where there is something that cannot be read.
  std::optional<std::string> tuning(std::string_view key, bool* damaged = nullptr) const {
    std::string value(1024, '\0');
    std::uint64_t size = 0;
    for (;;) {
      const nacelle_status status = table_->tuning_get(table_->context, view(key), value.data(), value.size(), &size);
      if (damaged && status == NACELLE_UNAVAILABLE) *damaged = true;
      if (status != NACELLE_OK) return std::nullopt;
      const bool whole = size <= value.size();
      value.resize(size);
      if (whole) return value;  // else it is read again, and may have grown
    }
  }
  // False where it cannot be kept; the host says why in its log.
  bool keep_tuning(std::string_view key, std::string_view value) const {
    return table_->tuning_put(table_->context, view(key), value.data(), value.size()) == NACELLE_OK;
  }

  // What a function of the host reported, as an exception of ours; `error` is destroyed. `otherwise` is its text where
  // the host gave none.
  Failure failure(nacelle_status status, nacelle_error* error, std::string otherwise) const {
    if (!error) return {status, std::move(otherwise)};
    std::string message(view(table_->error_message(table_->context, error)));
    table_->error_destroy(table_->context, error);
    return {status, std::move(message)};
  }

  std::uint32_t team_size() const { return table_->team_size(table_->context); }

  // Runs `body(member)` once on every thread of the pool. `body` must not throw: a member that left would be waited for
  // at the next barrier for ever, so the process ends, with a line in the log that says why.
  template <class Body>
  void team_run(Body&& body) const {
    Member<std::remove_reference_t<Body>> all{body, *this};
    table_->team_run(table_->context, &all.call, &all);
  }

  // The same for work that is divided by claims alone, so that no member waits for one that does not get its CPU: see
  // nacelle_host.team_share.
  template <class Body>
  void team_share(Body&& body) const {
    Member<std::remove_reference_t<Body>> all{body, *this};
    table_->team_share(table_->context, &all.call, &all);
  }

  // Runs `body(begin, end)` over [0, count) on the pool. What `body` throws is thrown again here, the first of it: the
  // other ranges that are under way end, those that are not begun are left out.
  template <class Body>
  void parallel_for(std::uint64_t count, std::uint64_t grain, Body&& body) const {
    Ranges<std::remove_reference_t<Body>> all{body};
    table_->parallel_for(table_->context, count, grain, &all.call, &all);
    if (all.failure) std::rethrow_exception(all.failure);
  }

  void barrier(const nacelle_team_member& member) const { table_->team_barrier(&member); }
  // A barrier in two halves: where arrive() is true, this is the last member, and the others wait for its open().
  bool arrive(const nacelle_team_member& member) const { return table_->team_arrive(&member) != 0; }
  void open(const nacelle_team_member& member) const { table_->team_open(&member); }
  std::uint64_t claim(const nacelle_team_member& member, std::uint64_t count) const {
    return table_->team_claim(&member, count);
  }

 private:
  // What the host's pool is given: the body, and what becomes of an exception, which must not reach the host.
  template <class Body>
  struct Member {
    Body& body;
    const Host& host;

    static void call(void* argument, const nacelle_team_member* member) noexcept {
      const auto& self = *static_cast<Member*>(argument);
      try {
        self.body(*member);
      } catch (const std::exception& exception) {
        self.host.end(exception.what());
      } catch (...) {
        self.host.end("of unknown type");
      }
    }
  };
  template <class Body>
  struct Ranges {
    Body& body;
    std::atomic<bool> failed{false};
    std::exception_ptr failure{};  // of who set `failed`; read when all have returned

    static void call(void* argument, std::uint64_t begin, std::uint64_t end) noexcept {
      auto& self = *static_cast<Ranges*>(argument);
      if (self.failed.load(std::memory_order_relaxed)) return;
      try {
        self.body(begin, end);
      } catch (...) {
        if (!self.failed.exchange(true)) self.failure = std::current_exception();
      }
    }
  };

  [[noreturn]] void end(std::string_view what) const noexcept {
    try {
      log(NACELLE_LOG_ERROR,
          "a function that runs on the host's pool let an exception out, which ends the process: " + std::string(what));
    } catch (...) {  // no memory for the line
    }
    std::terminate();
  }

  const nacelle_host* table_;
  std::string_view component_;
};

// Aligned memory from the host. Move-only; zeroed on request.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Host& host, std::uint64_t size, bool zero = false) : host_(host.table()), size_(size) {
    if (size == 0) return;
    data_ = static_cast<std::byte*>(host_->allocate(host_->context, size, kAlignment));
    if (!data_) throw Failure(NACELLE_OUT_OF_MEMORY, "cannot allocate " + std::to_string(size) + " bytes");
    if (zero) std::memset(data_, 0, size);
  }
  ~Buffer() {
    if (data_) host_->deallocate(host_->context, data_, size_, kAlignment);
  }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }

  std::byte* data() const { return data_; }
  std::uint64_t size() const { return size_; }
  template <class T>
  T* as(std::uint64_t byte_offset = 0) const {
    return reinterpret_cast<T*>(data_ + byte_offset);
  }

 private:
  static constexpr std::uint64_t kAlignment = 64;
  void swap(Buffer& other) noexcept {
    std::swap(host_, other.host_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  const nacelle_host* host_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
};

namespace detail {

// Fills `info` for a plugin of either kind.
inline void answer_query(nacelle_plugin_info* info, std::uint32_t kind, std::uint32_t major, std::uint32_t minor,
                         std::string_view name, std::string_view version, const void* api, void (*shutdown)()) {
  auto own = make<nacelle_plugin_info>();
  own.kind = kind;
  own.abi_major = major;
  own.abi_minor = minor;
  own.name = view(name);
  own.version = view(version);
  own.api = api;
  own.shutdown = shutdown;
  store(info, own);
}

}  // namespace detail
}  // namespace nacelle::sdk
