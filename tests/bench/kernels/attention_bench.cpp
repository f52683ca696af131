// How fast attention reads 8,192 tokens: one layer in blocks laid out as the cache lays them, 8 KV heads of 64, groups
// of 1, 4 and 8 query heads. The layers are read in turns, so that none stays in a cache.
#include <nacelle/graph.h>

#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "backends/cpu/registry.hpp"
#include "tests/bench/kernels/bench.hpp"

namespace nacelle::cpu {
namespace {

constexpr std::uint32_t kHeads = 8, kWidth = 64, kBlockTokens = 32, kLayers = 16, kTokens = 8192;

void attend(benchmark::State& state, const Machine& machine, std::uint32_t type, std::uint32_t queries) {
  const std::uint64_t key_head = key_tile_bytes(type, kWidth) * kBlockTokens / kTileTokens;
  const std::uint64_t value_head = value_row_bytes(type, kWidth) * kBlockTokens;
  const std::uint64_t layer = kHeads * (key_head + value_head);
  std::vector<std::uint32_t> table(kTokens / kBlockTokens);
  std::iota(table.begin(), table.end(), 0u);
  const std::uint64_t bytes = table.size() * layer * kLayers;
  const Memory memory = huge_memory(bytes);
  std::memset(memory.get(), 0x11, bytes);
  std::vector<float> q(kMaxQueries * kWidth, 0.1f), out(kMaxQueries * kWidth);
  const Memory scratch = huge_memory(attention_scratch(kWidth) * sizeof(float));
  std::uint64_t pass = 0;
  for (auto _ : state) {
    const std::uint64_t at = pass++ % kLayers * layer;
    for (std::uint32_t head = 0; head < kHeads; ++head) {
      AttentionCall call{};
      call.kv = {memory.get(),
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
      call.keys = choose_keys(type, machine.isa);
      call.values = choose_values(type, false, machine.isa);
      call.query_count = queries;
      call.scale = 0.125f;
      call.scratch = reinterpret_cast<float*>(scratch.get());
      for (std::uint32_t i = 0; i < kMaxQueries; ++i) {
        const std::uint32_t n = i < queries ? i : 0;
        call.queries[i] = {&q[n * kWidth], &out[n * kWidth], 0, kTokens, kTokens - 1, 0, -__builtin_inff(), nullptr};
      }
      choose_table(machine.isa).attention->attend(call);
    }
    benchmark::ClobberMemory();
  }
  set_counters(state, machine, static_cast<double>(table.size() * layer), 4.0 * kTokens * kHeads * queries * kWidth,
               machine.ceilings.f32_ops);
}

}  // namespace

void add_attention_benchmarks(const Machine& machine) {
  struct Type {
    const char* name;
    std::uint32_t type;
  };
  for (const Type& of : {Type{"f16", NACELLE_TYPE_F16}, Type{"bf16", NACELLE_TYPE_BF16},
                         Type{"q8_0", NACELLE_TYPE_Q8_0}, Type{"q4_0", NACELLE_TYPE_Q4_0}})
    for (const std::uint32_t queries : {1u, 4u, 8u}) {
      const std::string name = std::string("attention/") + of.name + "/" + std::to_string(queries) + "_queries_a_head";
      benchmark::RegisterBenchmark(name.c_str(), [&machine, type = of.type, queries](benchmark::State& state) {
        attend(state, machine, type, queries);
      })->Unit(benchmark::kMillisecond);
    }
}

}  // namespace nacelle::cpu
