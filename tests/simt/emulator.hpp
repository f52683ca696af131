// A SIMT machine on the host, for tests: the kernels of backends/gpu compiled as plain C++, each block run as fibers,
// one a thread, in a seeded random order on the calling OS thread. It finds what a GPU hides: shared words that two
// threads touch without a barrier between, a barrier or shuffle that some threads do not reach, lanes that read from
// lanes which take no part, and, under ASan and UBSan, every access beyond a buffer.
//
// A translation unit that includes this before backends/gpu/simt.hpp gets this machine instead of a GPU's; the names in
// namespace simt are those that kernels use, and simt.hpp says what they mean. One machine per OS thread.
#pragma once

#define NACELLE_SIMT_EMULATED 1

#include <array>
#include <bit>
#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstdint>
#include <cstring>
#include <memory>
#include <nacelle/half.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NACELLE_SIMT_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define NACELLE_SIMT_ASAN 1
#endif
#if defined(NACELLE_SIMT_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt {

struct Dim {
  std::uint32_t x = 1, y = 1, z = 1;
};

// A rule of the machine was broken: says which, and where.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

namespace emulation {

constexpr std::uint32_t kLanes = 32;
constexpr std::uint32_t kNobody = 0xffffffffu;

// What a test breaks in the kernels that it runs, to see that the machine or the results notice: at one line of a
// kernel's source a barrier is left out, or each lane gets its own value in an exchange.
struct Sabotage {
  enum class Kind { kNone, kBarrier, kExchange } kind = Kind::kNone;
  std::string file;  // the end of its path
  int line = 0;

  bool hits(Kind what, const char* at_file, int at_line) const {
    return kind == what && line == at_line && std::string_view(at_file).ends_with(file);
  }
};

// Who touched an element of shared memory last, and in which epoch: epochs are cut by barriers.
struct Touched {
  std::uint32_t writer = kNobody, write_epoch = 0, reader = kNobody, read_epoch = 0;
  std::uint32_t atomic_epoch = 0;  // of the last atomic
  bool others_read = false;        // in read_epoch, by threads beside `reader`
};

struct SharedMemory {
  const void* site;  // the declaration in the kernel
  std::vector<std::byte> bytes;
  std::vector<Touched> touched;
};

// Lanes of a warp that meet to exchange values. Two sets of slots, used in turn: a lane cannot come to a meeting before
// every lane has left the one before the last.
struct Meeting {
  std::uint32_t members = 0, arrived = 0, turn = 0;
  std::array<std::array<std::array<std::byte, 64>, kLanes>, 2> slots;
};

class Machine;
inline thread_local Machine* machine = nullptr;  // that runs the current kernel

// A stack that runs one thread of a block after the other.
class Worker {
 public:
  explicit Worker(Machine& owner);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void resume();  // from the scheduler: runs until the thread waits or ends
  void yield();   // from the worker: back to the scheduler
  std::uint32_t thread = kNobody;

 private:
  boost::context::fiber loop(boost::context::fiber&& scheduler);

  Machine& owner_;
  bool stop_ = false;
  boost::context::protected_fixedsize_stack allocator_;
  boost::context::stack_context stack_;
  boost::context::fiber fiber_, scheduler_;
  [[maybe_unused]] void* fake_stack_ = nullptr;
  [[maybe_unused]] const void* scheduler_stack_ = nullptr;
  [[maybe_unused]] std::size_t scheduler_size_ = 0;
};

class Machine {
 public:
  using Kernel = void (*)(const void* arguments);

  // Runs every block of the grid, blocks and threads in an order that follows from the seed. Throws Fault; whatever a
  // kernel throws comes through.
  void launch(Kernel kernel, const void* arguments, Dim grid, Dim block, std::uint64_t seed) {
    if (block.y != 1 || block.z != 1 || block.x == 0 || block.x > 1024 || block.x % kLanes)
      throw Fault("simt: a block has " + std::to_string(block.x) + " threads; expected a multiple of 32 up to 1024");
    kernel_ = kernel;
    arguments_ = arguments;
    grid_ = grid;
    threads_ = block.x;
    random_.seed(seed);
    Machine* outer = std::exchange(machine, this);
    std::vector<std::uint32_t> order(std::size_t{grid.x} * grid.y * grid.z);
    for (std::uint32_t i = 0; i < order.size(); ++i) std::swap(order[i] = i, order[random_() % (i + 1)]);
    for (const std::uint32_t index : order) {
      run_block({index % grid.x, index / grid.x % grid.y, index / grid.x / grid.y});
      if (failure_) break;
    }
    machine = outer;
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

  Sabotage sabotage;

  // ---- What a running thread asks for
  std::uint32_t thread() const { return running_->thread; }
  Dim block() const { return block_; }
  Dim grid() const { return grid_; }
  std::uint32_t threads() const { return threads_; }

  void barrier(const char* file, int line) {
    if (sabotage.hits(Sabotage::Kind::kBarrier, file, line)) return;
    if (barrier_waiting_ && barrier_line_ != line)
      throw Fault(place(file, line) + ": other threads of the block wait at another barrier, of line " +
                  std::to_string(barrier_line_));
    barrier_line_ = line;
    if (++barrier_waiting_ == threads_) {
      ++epoch_;
      barrier_waiting_ = 0;
      for (const std::uint32_t other : at_barrier_) ready_.push_back(other);
      at_barrier_.clear();
      return;
    }
    at_barrier_.push_back(thread());
    wait("a barrier of " + place(file, line));
  }

  // Lanes `members` of the warp give one value each; returns where all of them lie.
  const std::array<std::array<std::byte, 64>, kLanes>& meet(const void* value, std::size_t size,
                                                            std::uint32_t members) {
    const std::uint32_t self = thread() % kLanes, warp = thread() / kLanes;
    if (!(members >> self & 1)) throw Fault(who() + " calls a warp operation whose mask leaves it out");
    Meeting& at = meeting(warp, members);
    auto& slots = at.slots[at.turn];
    std::memcpy(slots[self].data(), value, size);
    at.arrived |= 1u << self;
    if (at.arrived == members) {
      at.arrived = 0;
      at.turn ^= 1;
      for (std::uint32_t lane = 0; lane < kLanes; ++lane)
        if (lane != self && members >> lane & 1) ready_.push_back(warp * kLanes + lane);
    } else {
      wait("a warp operation");
    }
    return slots;
  }

  SharedMemory& shared(const void* site, std::size_t element, std::size_t count) {
    for (const auto& memory : shared_)
      if (memory->site == site) return *memory;
    shared_.push_back(std::make_unique<SharedMemory>());
    SharedMemory& memory = *shared_.back();
    memory.site = site;
    memory.bytes.assign(element * count, std::byte{0xff});
    memory.touched.resize(count);
    shared_bytes_ += memory.bytes.size();
    if (shared_bytes_ > 48 * 1024)
      throw Fault("simt: a block declares " + std::to_string(shared_bytes_) +
                  " bytes of shared memory; every GPU has 49152");
    return memory;
  }

  void read(SharedMemory& memory, std::size_t index) {
    Touched& of = touched(memory, index);
    if (of.writer == kNobody) throw Fault(who() + " reads an element of shared memory that was never written");
    if (of.writer != thread() && of.write_epoch == epoch_) conflict("reads", index, "wrote", of.writer);
    if (of.atomic_epoch == epoch_) conflict("reads", index, "or another added to", thread());
    of.others_read = of.read_epoch == epoch_ && of.reader != kNobody && (of.others_read || of.reader != thread());
    of.reader = thread();
    of.read_epoch = epoch_;
  }
  void write(SharedMemory& memory, std::size_t index) {
    Touched& of = touched(memory, index);
    if (of.writer != kNobody && of.writer != thread() && of.write_epoch == epoch_)
      conflict("writes", index, "wrote", of.writer);
    if (of.reader != kNobody && of.read_epoch == epoch_ && (of.others_read || of.reader != thread()))
      conflict("writes", index, "read", of.reader);
    if (of.atomic_epoch == epoch_) conflict("writes", index, "or another added to", thread());
    of.writer = thread();
    of.write_epoch = epoch_;
  }
  // Atomics do not conflict with each other, only with plain reads and writes.
  void atomic(SharedMemory& memory, std::size_t index) {
    Touched& of = touched(memory, index);
    if (of.writer == kNobody) throw Fault(who() + " adds to an element of shared memory that was never written");
    if (of.writer != thread() && of.write_epoch == epoch_) conflict("adds to", index, "wrote", of.writer);
    if (of.reader != kNobody && of.read_epoch == epoch_) conflict("adds to", index, "read", of.reader);
    of.atomic_epoch = epoch_;
  }

 private:
  friend class Worker;
  struct Stopped {};  // unwinds a thread of a block that has failed

  static std::string place(const char* file, int line) {
    const std::string path = file;
    return path.substr(path.find_last_of('/') + 1) + ":" + std::to_string(line);
  }
  std::string who() const {
    return "simt: thread " + std::to_string(thread()) + " of block " + std::to_string(block_.x) + "," +
           std::to_string(block_.y) + "," + std::to_string(block_.z);
  }
  Touched& touched(SharedMemory& memory, std::size_t index) const {
    if (index >= memory.touched.size())
      throw Fault(who() + " touches element " + std::to_string(index) + " of a shared array of " +
                  std::to_string(memory.touched.size()));
    return memory.touched[index];
  }
  [[noreturn]] void conflict(const char* does, std::size_t index, const char* did, std::uint32_t other) const {
    throw Fault(who() + " " + does + " shared element " + std::to_string(index) + ", which thread " +
                std::to_string(other) + " " + did + " since the last barrier");
  }

  Meeting& meeting(std::uint32_t warp, std::uint32_t members) {
    for (const auto& at : meetings_[warp])
      if (at->members == members) return *at;
    meetings_[warp].push_back(std::make_unique<Meeting>());
    meetings_[warp].back()->members = members;
    return *meetings_[warp].back();
  }

  // The running thread goes on when someone puts it among the ready ones.
  void wait(const std::string& what) {
    waits_for_ = what;
    running_->yield();
    if (failure_) throw Stopped();
  }

  void run_block(Dim index) {
    block_ = index;
    epoch_ = 1;
    barrier_waiting_ = 0;
    shared_bytes_ = 0;
    shared_.clear();
    at_barrier_.clear();
    meetings_.resize(threads_ / kLanes);
    for (auto& of_warp : meetings_) of_warp.clear();
    holders_.assign(threads_, nullptr);
    ready_.resize(threads_);
    for (std::uint32_t i = 0; i < threads_; ++i) ready_[i] = i;
    std::uint32_t ended = 0;
    while (!ready_.empty()) {
      std::swap(ready_[random_() % ready_.size()], ready_.back());
      const std::uint32_t next = ready_.back();
      ready_.pop_back();
      ended += step(next);
      if (failure_) break;
    }
    if (!failure_ && ended != threads_)
      failure_ = std::make_exception_ptr(Fault("simt: block " + std::to_string(block_.x) + "," +
                                               std::to_string(block_.y) + "," + std::to_string(block_.z) +
                                               " is stuck: " + std::to_string(threads_ - ended) + " threads wait at " +
                                               waits_for_ + ", and " + std::to_string(ended) + " have ended"));
    if (failure_)
      for (Worker* holder : holders_)
        if (holder) finish(*holder);
  }

  // Runs a thread until it waits or ends; true where it ended.
  bool step(std::uint32_t next) {
    Worker*& holder = holders_[next];
    if (!holder) {
      if (idle_.empty()) {
        workers_.push_back(std::make_unique<Worker>(*this));
        idle_.push_back(workers_.back().get());
      }
      holder = idle_.back();
      idle_.pop_back();
      holder->thread = next;
    }
    running_ = holder;
    holder->resume();
    if (holder->thread != kNobody) return false;
    idle_.push_back(std::exchange(holder, nullptr));
    return true;
  }
  void finish(Worker& worker) {  // wait() throws in it
    running_ = &worker;
    worker.resume();
    idle_.push_back(&worker);
  }

  void run_thread() {
    try {
      kernel_(arguments_);
    } catch (const Stopped&) {
    } catch (...) {
      if (!failure_) failure_ = std::current_exception();
    }
  }

  Kernel kernel_ = nullptr;
  const void* arguments_ = nullptr;
  Dim grid_, block_;
  std::uint32_t threads_ = 0, epoch_ = 1, barrier_waiting_ = 0;
  int barrier_line_ = 0;
  std::size_t shared_bytes_ = 0;
  std::minstd_rand random_;
  std::vector<std::uint32_t> ready_, at_barrier_;
  std::string waits_for_;
  std::exception_ptr failure_;
  std::vector<std::unique_ptr<SharedMemory>> shared_;
  std::vector<std::vector<std::unique_ptr<Meeting>>> meetings_;  // by warp
  std::vector<Worker*> holders_, idle_;                          // of a thread; without one
  Worker* running_ = nullptr;
  std::vector<std::unique_ptr<Worker>> workers_;  // last: they refer to the rest
};

inline constexpr std::size_t kStackBytes = 128 * 1024;

inline Worker::Worker(Machine& owner) : owner_(owner), allocator_(kStackBytes), stack_(allocator_.allocate()) {
  fiber_ = boost::context::fiber(std::allocator_arg, boost::context::preallocated(stack_.sp, stack_.size, stack_),
                                 allocator_,
                                 [this](boost::context::fiber&& scheduler) { return loop(std::move(scheduler)); });
}
inline Worker::~Worker() {
  stop_ = true;
  if (fiber_) resume();
}

inline void Worker::resume() {
#if defined(NACELLE_SIMT_ASAN)
  void* own = nullptr;
  __sanitizer_start_switch_fiber(&own, static_cast<char*>(stack_.sp) - stack_.size, stack_.size);
#endif
  fiber_ = std::move(fiber_).resume();
#if defined(NACELLE_SIMT_ASAN)
  __sanitizer_finish_switch_fiber(own, nullptr, nullptr);
#endif
}

inline void Worker::yield() {
#if defined(NACELLE_SIMT_ASAN)
  __sanitizer_start_switch_fiber(&fake_stack_, scheduler_stack_, scheduler_size_);
#endif
  scheduler_ = std::move(scheduler_).resume();
#if defined(NACELLE_SIMT_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack_, &scheduler_stack_, &scheduler_size_);
#endif
}

inline boost::context::fiber Worker::loop(boost::context::fiber&& scheduler) {
#if defined(NACELLE_SIMT_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack_, &scheduler_size_);
#endif
  scheduler_ = std::move(scheduler);
  while (!stop_) {
    owner_.run_thread();
    thread = kNobody;
    yield();
  }
#if defined(NACELLE_SIMT_ASAN)
  __sanitizer_start_switch_fiber(nullptr, scheduler_stack_, scheduler_size_);
#endif
  return std::move(scheduler_);
}

// What an element of shared memory looks like to a kernel: reading and writing it leaves a trace.
template <class T>
class Element {
 public:
  Element(SharedMemory& memory, std::size_t index) : memory_(memory), index_(index) {}
  operator T() const {
    machine->read(memory_, index_);
    return get();
  }
  Element& operator=(T value) {
    machine->write(memory_, index_);
    std::memcpy(memory_.bytes.data() + index_ * sizeof(T), &value, sizeof(T));
    return *this;
  }
  Element& operator=(const Element& other) { return *this = static_cast<T>(other); }
  Element& operator+=(T value) { return *this = static_cast<T>(*this) + value; }
  T add_atomically(T value) {
    machine->atomic(memory_, index_);
    const T before = get();
    const T after = before + value;
    std::memcpy(memory_.bytes.data() + index_ * sizeof(T), &after, sizeof(T));
    return before;
  }

 private:
  T get() const {
    T value;
    std::memcpy(&value, memory_.bytes.data() + index_ * sizeof(T), sizeof(T));
    return value;
  }
  SharedMemory& memory_;
  std::size_t index_;
};

}  // namespace emulation

// ---- What kernels use; see backends/gpu/simt.hpp

#define SIMT_KERNEL(threads) inline void
#define SIMT_DEVICE inline
#define SIMT_UNROLL
#define SIMT_SHARED(type, name, count) \
  static const char name##_site = 0;   \
  const ::simt::Shared<type> name(&name##_site, count)

template <class T>
class Shared {
 public:
  Shared(const void* site, std::size_t count) : memory_(emulation::machine->shared(site, sizeof(T), count)) {}
  emulation::Element<T> operator[](std::size_t index) const { return {memory_, index}; }

 private:
  emulation::SharedMemory& memory_;
};

constexpr std::uint32_t kLanes = emulation::kLanes;
constexpr std::uint32_t kAllLanes = 0xffffffffu;

inline std::uint32_t thread() { return emulation::machine->thread(); }
inline std::uint32_t threads() { return emulation::machine->threads(); }
inline std::uint32_t lane() { return thread() % kLanes; }
inline std::uint32_t warp() { return thread() / kLanes; }
inline std::uint32_t block_x() { return emulation::machine->block().x; }
inline std::uint32_t block_y() { return emulation::machine->block().y; }
inline std::uint32_t block_z() { return emulation::machine->block().z; }
inline std::uint32_t blocks_x() { return emulation::machine->grid().x; }

inline void barrier(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  emulation::machine->barrier(file, line);
}

template <class T>
T shuffle(T value, std::uint32_t from, std::uint32_t members = kAllLanes, const char* file = __builtin_FILE(),
          int line = __builtin_LINE()) {
  if (emulation::machine->sabotage.hits(emulation::Sabotage::Kind::kExchange, file, line)) from = lane();
  const auto& slots = emulation::machine->meet(&value, sizeof value, members);
  if (from >= kLanes || !(members >> from & 1))
    throw Fault("simt: a lane reads from lane " + std::to_string(from) + ", which takes no part in the shuffle");
  std::memcpy(&value, slots[from].data(), sizeof value);
  return value;
}
template <class T>
T shuffle_xor(T value, std::uint32_t mask, std::uint32_t members = kAllLanes, const char* file = __builtin_FILE(),
              int line = __builtin_LINE()) {
  return shuffle(value, lane() ^ mask, members, file, line);
}
inline std::uint32_t ballot(bool vote, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  const auto& slots = emulation::machine->meet(&vote, sizeof vote, kAllLanes);
  std::uint32_t votes = 0;
  for (std::uint32_t i = 0; i < kLanes; ++i) votes |= static_cast<std::uint32_t>(slots[i][0] != std::byte{0}) << i;
  const bool broken = emulation::machine->sabotage.hits(emulation::Sabotage::Kind::kExchange, file, line);
  return broken ? votes & 1u << lane() : votes;
}
template <class T>
T atomic_add(emulation::Element<T> element, T value) {
  return element.add_atomically(value);
}
inline std::uint32_t atomic_add(std::uint32_t& to, std::uint32_t value) { return std::exchange(to, to + value); }
inline std::uint32_t count_bits(std::uint32_t bits) { return static_cast<std::uint32_t>(std::popcount(bits)); }

inline float half_to_float(std::uint16_t bits) { return nacelle::half_to_float(bits); }
inline std::uint16_t float_to_half(float value) { return nacelle::float_to_half(value); }
inline float bfloat16_to_float(std::uint16_t bits) { return nacelle::bfloat16_to_float(bits); }
inline std::uint16_t float_to_bfloat16(float value) { return nacelle::float_to_bfloat16(value); }
inline float bits_to_float(std::uint32_t bits) { return std::bit_cast<float>(bits); }
inline std::uint32_t float_to_bits(float value) { return std::bit_cast<std::uint32_t>(value); }

namespace emulation {

// d += a b for mma.sync.aligned.m16n8k16.row.col: lane 4g + t holds of A rows g (registers 0, 2) and g + 8 (1, 3) at
// columns 2t, 2t + 1 (0, 1) and 2t + 8, 2t + 9 (2, 3); of B column g at rows 2t.. (0) and 2t + 8.. (1); of D rows g (0,
// 1) and g + 8 (2, 3) at columns 2t, 2t + 1. Products are exact and one sum is rounded once: what hardware only
// approximates. Source: PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type".
template <float (*kConvert)(std::uint16_t)>
void multiply_tile(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  std::array<float, 12> own;
  for (std::uint32_t i = 0; i < 6; ++i) {
    const std::uint32_t word = i < 4 ? a[i] : b[i - 4];
    own[2 * i] = kConvert(static_cast<std::uint16_t>(word));
    own[2 * i + 1] = kConvert(static_cast<std::uint16_t>(word >> 16));
  }
  const auto& slots = machine->meet(own.data(), sizeof own, 0xffffffffu);
  const std::uint32_t g = lane() / 4, t = lane() % 4;
  const auto element = [&](std::uint32_t from, std::uint32_t index) {
    float value;
    std::memcpy(&value, slots[from].data() + index * sizeof value, sizeof value);
    return value;
  };
  for (std::uint32_t i = 0; i < 4; ++i) {
    const std::uint32_t lower = i / 2, column = 2 * t + i % 2;
    double sum = d[i];
    for (std::uint32_t k = 0; k < 16; ++k) {
      const std::uint32_t pair = k % 8 / 2, upper = k / 8, odd = k % 2;
      sum += static_cast<double>(element(4 * g + pair, 2 * (2 * upper + lower) + odd)) *
             element(4 * column + pair, 8 + 2 * upper + odd);
    }
    d[i] = static_cast<float>(sum);
  }
}

}  // namespace emulation

inline std::uint32_t code_pair(std::uint32_t codes, std::uint32_t offset) {
  const auto value = [&](std::uint32_t code) { return static_cast<float>(code) - static_cast<float>(offset); };
  return float_to_half(value(codes & 0xffff)) | static_cast<std::uint32_t>(float_to_half(value(codes >> 16))) << 16;
}
struct alignas(16) Words4 {
  std::uint32_t x, y, z, w;
};
struct alignas(8) Words2 {
  std::uint32_t x, y;
};

inline void multiply_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  emulation::multiply_tile<nacelle::half_to_float>(d, a, b);
}
inline void multiply_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  emulation::multiply_tile<nacelle::bfloat16_to_float>(d, a, b);
}

// This OS thread's machine.
inline emulation::Machine& own_machine() {
  static thread_local emulation::Machine machine;
  return machine;
}
// Runs a kernel on it; see Machine::launch.
inline void launch(emulation::Machine::Kernel kernel, const void* arguments, Dim grid, Dim block, std::uint64_t seed) {
  own_machine().launch(kernel, arguments, grid, block, seed);
}

}  // namespace simt
