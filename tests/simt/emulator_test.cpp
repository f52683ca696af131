// The emulator finds what it is there for: small kernels, each sound and with one thing broken.
#include "tests/simt/emulator.hpp"

#include <catch2/catch.hpp>
#include <numeric>
#include <set>

#include "backends/gpu/simt.hpp"

namespace {

enum class Mutation {
  kNone,
  kNoBarrier,      // between writing and reading shared memory
  kNoLastBarrier,  // between reading it and writing it again
  kDivergent,      // a barrier that half of the threads reach
  kBound,          // one element too many
  kMembers,        // a shuffle whose mask leaves lanes out
  kLane,           // a shuffle with the wrong lane
  kUnwritten,      // shared memory read before anyone wrote it
  kPlainCount      // a count without an atomic
};

struct Sum {
  const float* x;
  std::uint32_t n;
  float* out;  // [blocks]
};

// Each block adds up the whole of x, twice, and writes the sum.
template <Mutation kMutation>
void sum(const void* arguments) {
  const Sum& a = *static_cast<const Sum*>(arguments);
  SIMT_SHARED(float, parts, 4);
  SIMT_SHARED(std::uint32_t, count, 1);
  if (kMutation != Mutation::kUnwritten && simt::thread() == 0) count[0] = 0;
  simt::barrier();
  float total = 0;
  for (int round = 0; round < 2; ++round) {
    const std::uint32_t end = kMutation == Mutation::kBound ? a.n + 1 : a.n;
    total = 0;
    for (std::uint32_t i = simt::thread(); i < end; i += simt::threads()) {
      total += a.x[i];
      if (kMutation == Mutation::kPlainCount)
        count[0] += 1;
      else
        simt::atomic_add(count[0], 1u);
    }
    for (std::uint32_t mask = 16; mask; mask /= 2) {
      if (kMutation == Mutation::kMembers)
        total += simt::shuffle_xor(total, mask, 0x0000ffffu);
      else
        total += simt::shuffle_xor(total, kMutation == Mutation::kLane && mask == 4 ? 8 : mask);
    }
    if (simt::lane() == 0) parts[simt::warp()] = total;
    if (kMutation != Mutation::kNoBarrier) simt::barrier();
    total = 0;
    for (std::uint32_t i = 0; i < simt::threads() / simt::kLanes; ++i) total += parts[i];
    if (kMutation == Mutation::kDivergent && simt::warp() == 0) simt::barrier();
    if (kMutation != Mutation::kNoLastBarrier) simt::barrier();
  }
  if (simt::thread() == 0) {
    a.out[simt::block_x()] = total;
    if (count[0] != 2 * a.n) a.out[simt::block_x()] = -1;
  }
}

// Empty where the answer is right, else what is wrong. One NaN lies behind the data.
template <Mutation kMutation>
std::string complaint(std::uint64_t seed) {
  std::vector<float> x(101), out(3);
  std::iota(x.begin(), x.end(), 0.0f);
  x[100] = NAN;
  const Sum arguments{x.data(), 100, out.data()};
  try {
    simt::launch(sum<kMutation>, &arguments, {3, 1, 1}, {128, 1, 1}, seed);
  } catch (const simt::Fault& fault) {
    return fault.what();
  }
  return out == std::vector<float>(3, 4950.0f) ? "" : "a wrong sum";
}

bool mentions(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a sound kernel gives the right answer in any order of its threads") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) CHECK(complaint<Mutation::kNone>(seed).empty());
}

TEST_CASE("every mutation is caught, whatever the order") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    CHECK(mentions(complaint<Mutation::kNoBarrier>(seed), "shared"));
    CHECK(mentions(complaint<Mutation::kNoLastBarrier>(seed), "since the last barrier"));
    CHECK(mentions(complaint<Mutation::kDivergent>(seed), "barrier"));
    CHECK(complaint<Mutation::kBound>(seed) == "a wrong sum");
    CHECK(mentions(complaint<Mutation::kMembers>(seed), "mask leaves it out"));
    CHECK(complaint<Mutation::kLane>(seed) == "a wrong sum");
    CHECK(mentions(complaint<Mutation::kUnwritten>(seed), "never written"));
    CHECK(mentions(complaint<Mutation::kPlainCount>(seed), "since the last barrier"));
  }
}

namespace {

struct Order {
  std::vector<std::uint32_t>* threads;
};
void note_order(const void* arguments) { static_cast<const Order*>(arguments)->threads->push_back(simt::thread()); }

std::vector<std::uint32_t> order_of(std::uint64_t seed) {
  std::vector<std::uint32_t> threads;
  const Order arguments{&threads};
  simt::launch(note_order, &arguments, {1, 1, 1}, {64, 1, 1}, seed);
  return threads;
}

void early_exit(const void*) {
  if (simt::thread() < 3) return;
  simt::barrier();
}
void lane_out_of_reach(const void*) { simt::shuffle(1.0f, 40); }
void large_block(const void*) {
  SIMT_SHARED(float, big, 13000);
  big[0] = 1;
}
void out_of_array(const void*) {
  SIMT_SHARED(float, small, 32);
  small[simt::thread() + 1] = 1;
}
void throws(const void*) {
  if (simt::thread() == 7) throw std::runtime_error("from a kernel");
  simt::barrier();
}

std::string fault_of(void (*kernel)(const void*), std::uint32_t threads = 64) {
  try {
    simt::launch(kernel, nullptr, {1, 1, 1}, {threads, 1, 1}, 5);
    return "";
  } catch (const std::exception& fault) {
    return fault.what();
  }
}

}  // namespace

TEST_CASE("the order of threads follows from the seed") {
  CHECK(order_of(1) == order_of(1));
  CHECK(order_of(1) != order_of(2));
  const auto threads = order_of(3);
  CHECK(std::set<std::uint32_t>(threads.begin(), threads.end()).size() == 64);
}

TEST_CASE("faults say what is wrong and where, and the machine goes on") {
  CHECK(mentions(fault_of(early_exit), "61 threads wait at a barrier of emulator_test.cpp"));
  CHECK(mentions(fault_of(lane_out_of_reach), "reads from lane 40"));
  CHECK(mentions(fault_of(large_block), "52000 bytes of shared memory"));
  CHECK(mentions(fault_of(out_of_array, 32), "element 32 of a shared array of 32"));
  CHECK(mentions(fault_of(early_exit, 33), "33 threads"));
  CHECK(fault_of(throws) == "from a kernel");
  CHECK(complaint<Mutation::kNone>(1).empty());
}
