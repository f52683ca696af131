// One call at a time from the host into the plugin's process, in shared memory: a word that both sides sleep on, and
// the message. While a call runs the plugin may ask back (read a weight, report progress): the waiting host answers.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

namespace nacelle::isolation {

// What is called: the functions of nacelle_backend_api, in its order, and what surrounds them.
enum class Function : std::uint32_t {
  kLoad,  // the first: settings of the host, the plugin's file
  kHardwarePresent,
  kDeviceCount,
  kDeviceInfo,
  kDeviceOpen,
  kDeviceClose,
  kSupports,  // of all operations of a graph
  kPrepare,
  kWeightsDestroy,
  kWeightsBytes,
  kCacheBlockBytes,
  kCacheCreate,
  kCacheDestroy,
  kCopyBlocks,
  kCompile,
  kBind,
  kPlanDestroy,
  kRun,  // and what stream_synchronize does
  kReadLogits,
  kReadValue,
  kWriteValue,
  kPlanStatistics,
  kStreamCreate,
  kStreamDestroy,
  kAdapterWrite,
  kKernels,
  kTune,
  kCeilings,
  kShutdown,
  // Asked back by the plugin's process.
  kReadRows,
  kReleaseRows,
  kProgress,
  kKernel,  // one of those that kKernels visits
};

// Lies at the start of a channel's part of the arena, zero at first.
struct Control {
  std::atomic<std::uint32_t> state;  // State: the word that both sides sleep on
  std::uint32_t function;            // Function
  std::uint32_t status;              // nacelle_status, of an answer
  std::uint32_t padding;
  std::uint64_t size;  // bytes of the message
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

enum State : std::uint32_t {
  kIdle = 0,
  kCalled = 1,    // by the host
  kAsked = 2,     // by the plugin's process, while a call runs
  kAnswered = 3,  // by the host, what was asked
  kReturned = 4,  // the call
  kDead = 5       // there is nobody on the other side
};

inline constexpr std::uint64_t kChannelSize = std::uint64_t{256} << 20;  // nearly all of it never touched
inline constexpr std::uint64_t kMessageOffset = 4096;

class Channel {
 public:
  Channel() = default;
  explicit Channel(std::byte* place) : place_(place) {}

  Control& control() const noexcept { return *reinterpret_cast<Control*>(place_); }
  std::span<std::byte> room() const noexcept { return {place_ + kMessageOffset, kChannelSize - kMessageOffset}; }
  // What the other side wrote.
  std::span<const std::byte> message() const noexcept;

  State state() const noexcept { return static_cast<State>(control().state.load(std::memory_order_acquire)); }
  // Moves the word from one state to another and wakes the other side. False where it was in neither: it is dead.
  bool move(State from, State to) const noexcept;
  // Whatever it was; wakes both sides.
  void kill() const noexcept;
  // Sleeps while the word is `state`, up to `limit`; zero: for ever. False when that has passed.
  bool wait_while(State state, std::chrono::nanoseconds limit = {}) const noexcept;

 private:
  std::byte* place_ = nullptr;
};

}  // namespace nacelle::isolation
