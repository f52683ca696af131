// How fast attention reads a long sequence on this machine, one thread: `bench_attention [TOKENS]`. One layer in blocks
// laid out as the cache lays them, larger than the caches: 8 KV heads of 64, groups of 1, 4 and 8 query heads. Prints
// the median of several passes; its floor is the bytes of keys and values over the read bandwidth.
#include <nacelle/graph.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

#include "backends/cpu/registry.hpp"

namespace {

using namespace nacelle::cpu;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kHeads = 8, kWidth = 64, kBlockTokens = 32, kLayers = 16;

void bench(IsaSet isa, std::uint32_t type, std::uint32_t tokens, std::uint32_t queries) {
  const std::uint64_t key_head = key_tile_bytes(type, kWidth) * kBlockTokens / kTileTokens;
  const std::uint64_t value_head = value_row_bytes(type, kWidth) * kBlockTokens;
  const std::uint64_t layer = kHeads * (key_head + value_head);
  std::vector<std::uint32_t> table((tokens + kBlockTokens - 1) / kBlockTokens);
  std::iota(table.begin(), table.end(), 0u);
  const std::uint64_t bytes = table.size() * layer * kLayers;
  constexpr std::uint64_t kHugePage = 2 << 20;
  auto* memory = static_cast<std::uint8_t*>(std::aligned_alloc(kHugePage, (bytes + kHugePage) / kHugePage * kHugePage));
  madvise(memory, bytes, MADV_HUGEPAGE);
  std::memset(memory, 0x11, bytes);

  std::vector<float> q(kMaxQueries * kWidth, 0.1f), out(kMaxQueries * kWidth);
  auto* scratch = static_cast<float*>(std::aligned_alloc(64, attention_scratch(kWidth) * sizeof(float)));
  std::vector<double> seconds;
  for (std::uint32_t pass = 0; pass < 3 * kLayers; ++pass) {  // each layer's memory in turn: none stays in a cache
    const auto before = Clock::now();
    for (std::uint32_t head = 0; head < kHeads; ++head) {
      AttentionCall call{};
      const std::uint64_t at = pass % kLayers * layer;
      call.kv = {memory,
                 table.data(),
                 layer * kLayers,
                 at + head * key_head,
                 at + kHeads * key_head + head * value_head,
                 key_head,
                 value_head,
                 key_tile_bytes(type, kWidth),
                 value_row_bytes(type, kWidth),
                 kBlockTokens,
                 kWidth,
                 kWidth};
      call.keys = choose_keys(type, isa);
      call.values = choose_values(type, isa);
      call.query_count = queries;
      call.scale = 0.125f;
      call.scratch = scratch;
      for (std::uint32_t i = 0; i < kMaxQueries; ++i) {
        const std::uint32_t n = i < queries ? i : 0;
        call.queries[i] = {&q[n * kWidth], &out[n * kWidth], 0, tokens, tokens - 1, 0, -__builtin_inff(), nullptr};
      }
      choose_table(isa).attention->attend(call);
    }
    seconds.push_back(std::chrono::duration<double>(Clock::now() - before).count());
  }
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  const double read = double(tokens) * kHeads * (key_head + value_head) / kBlockTokens;
  std::printf("type %2u  %u tokens  %u queries a KV head  %8.3f ms a layer  %6.1f GB/s  %6.1f GMAC/s\n", type, tokens,
              queries, median * 1e3, read / median / 1e9, 2.0 * tokens * kHeads * queries * kWidth / median / 1e9);
  std::free(scratch);
  std::free(memory);
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint32_t tokens = argc > 1 ? static_cast<std::uint32_t>(std::atoi(argv[1])) : 8192;
  const IsaSet isa = detect_isa();  // slow in a virtual machine: once
  for (const std::uint32_t type : {NACELLE_TYPE_F16, NACELLE_TYPE_Q8_0})
    for (const std::uint32_t queries : {1u, 4u, 8u}) bench(isa, type, tokens, queries);
}
