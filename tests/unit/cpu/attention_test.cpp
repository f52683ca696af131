// Attention kernels against softmax in float64 over the stored keys and values, and bit by bit against themselves in
// other company.
#include <nacelle/graph.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <functional>
#include <nacelle/half.hpp>

#include "tests/unit/cpu/kernel_levels.hpp"

using namespace nacelle;
using namespace nacelle::cpu;
using namespace nacelle::cpu::test;

namespace {

constexpr float kNone = -INFINITY;

// A sequence of `tokens` tokens of one KV head in scattered blocks. Values that are not stored are the first columns of
// the keys.
struct Memory {
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint32_t> table;
  std::vector<float> keys, values;
  KvView view{};

  Memory(const KeyKernels& k, const ValueKernels& v, std::uint32_t tokens, std::uint32_t block_tokens, std::uint32_t d,
         std::uint32_t e)
      : keys(random_floats(std::size_t{tokens} * d, tokens + d)),
        values(random_floats(std::size_t{tokens} * e, tokens + e + 1)) {
    const std::uint32_t blocks = (tokens + block_tokens - 1) / block_tokens;
    const bool aliased = v.store == nullptr;
    for (std::size_t i = 0; aliased && i < values.size(); ++i) values[i] = keys[i / e * d + i % e];
    view.key_tile_bytes = key_tile_bytes(k.type, d);
    view.value_row_bytes = aliased ? 0 : value_row_bytes(v.type, e);
    view.value_offset = padded(padded(block_tokens) / kTileTokens * view.key_tile_bytes, 64);
    view.block_bytes = padded(view.value_offset + block_tokens * view.value_row_bytes, 64);
    view.block_tokens = block_tokens;
    view.key_width = d;
    view.value_width = e;
    for (std::uint32_t i = 0; i < blocks; ++i) table.push_back(blocks - 1 - i);
    bytes.assign(blocks * view.block_bytes, 0xff);  // NaN: what was never stored must not be seen
    view.base = bytes.data();
    view.table = table.data();
    for (std::uint32_t t = 0; t < tokens; ++t) {
      k.store(view, 1, t, keys.data() + std::size_t{t} * d);
      if (!aliased) v.store(view, 1, t, values.data() + std::size_t{t} * e, e);
    }
  }
};

std::vector<double> expected(const Memory& m, const AttentionCall& call, const Query& query) {
  std::vector<double> out(m.view.value_width);
  double total = std::exp(double(query.sink));
  for (std::uint32_t t = query.begin; t < query.end; ++t) {
    double score = 0;
    for (std::uint32_t i = 0; i < m.view.key_width; ++i) score += double(query.q[i]) * m.keys[t * m.view.key_width + i];
    score *= call.scale;
    if (call.soft_cap != 0) score = call.soft_cap * std::tanh(score / call.soft_cap);
    const int distance = static_cast<int>(t) - static_cast<int>(query.position);
    score -= query.slope * std::abs(distance);
    if (query.bias)
      score += query.bias[std::min(std::max(distance, -int(call.reach)), int(call.reach)) + int(call.reach)];
    const double weight = std::exp(score);
    total += weight;
    for (std::uint32_t i = 0; i < out.size(); ++i) out[i] += weight * m.values[t * m.view.value_width + i];
  }
  for (double& value : out) value /= total;
  return out;
}

// Runs `queries` in calls of at most `together`; returns all outputs.
std::vector<float> run(const AttentionKernels& kernels, AttentionCall call, const std::vector<Query>& queries,
                       std::uint32_t together) {
  const std::uint32_t width = call.kv.value_width;
  std::vector<float> out(queries.size() * width), scratch(attention_scratch(width), NAN);
  call.scratch = scratch.data();
  for (std::uint32_t first = 0; first < queries.size(); first += together) {
    call.query_count = std::min<std::uint32_t>(together, static_cast<std::uint32_t>(queries.size()) - first);
    for (std::uint32_t i = 0; i < kMaxQueries; ++i) {
      const std::uint32_t q = first + (i < call.query_count ? i : 0);
      call.queries[i] = queries[q];
      call.queries[i].out = out.data() + std::size_t{q} * width;
    }
    kernels.attend(call);
  }
  return out;
}

// The same, split by split, merged afterwards.
std::vector<float> run_splits(const AttentionKernels& kernels, AttentionCall call, const std::vector<Query>& queries) {
  const std::uint32_t width = call.kv.value_width;
  const std::uint64_t floats = partial_floats(width);
  std::vector<float> out(queries.size() * width), scratch(attention_scratch(width), NAN);
  call.scratch = scratch.data();
  for (std::uint32_t q = 0; q < queries.size(); ++q) {
    const std::uint32_t splits = splits_of(queries[q].end);
    std::vector<float> partials(splits * floats, NAN);
    call.query_count = 1;
    for (Query& query : call.queries) query = queries[q];
    for (std::uint32_t s = splits; s-- != 0;) {
      call.queries[0].out = partials.data() + s * floats;
      kernels.attend_split(call, s * kSplitTokens);
    }
    kernels.merge_splits(partials.data(), splits, floats, queries[q].sink, width, scratch.data(),
                         out.data() + std::size_t{q} * width);
  }
  return out;
}

struct Shape {
  std::uint32_t tokens, block_tokens, d, e;
  bool aliased = false;
};
constexpr Shape kShapes[] = {{1, 32, 64, 64},       {40, 4, 5, 3},       {700, 32, 64, 64},       {1100, 16, 24, 40},
                             {1, 32, 24, 16, true}, {40, 4, 5, 3, true}, {700, 32, 72, 64, true}, {90, 32, 128, 128}};

void for_tables(const std::function<void(const AttentionKernels&, const std::string&)>& body) {
  for (const KernelTable* table : vector_tables()) body(*table->attention, to_string(table->isa));
}

}  // namespace

TEST_CASE("attention: the definition, with every option, on f32 keys and values") {
  const auto bias = random_floats(21, 5);
  for_tables([&](const AttentionKernels& kernels, const std::string& isa) {
    for (const Shape& shape : kShapes) {
      const ValueKernels& values = *(shape.aliased ? kernels.aliases : kernels.values);
      const Memory memory(kernels.keys[0], values, shape.tokens, shape.block_tokens, shape.d, shape.e);
      const auto q = random_floats(11ull * shape.d, 9);
      for (int option = 0; option < 6; ++option) {
        INFO(isa << " tokens " << shape.tokens << " option " << option);
        AttentionCall call{};
        call.kv = memory.view;
        call.keys = kernels.keys;
        call.values = &values;
        call.scale = 0.3f;
        call.soft_cap = option == 1 ? 2.0f : 0.0f;
        call.reach = 10;
        std::vector<Query> queries;
        for (std::uint32_t i = 0; i < 11; ++i) {
          const std::uint32_t position = shape.tokens - 1 - std::min(i, shape.tokens - 1);
          queries.push_back({q.data() + i * shape.d, nullptr, 0, position + 1, position, 0, kNone, nullptr});
          if (option == 2) queries[i].slope = 0.1f;
          if (option == 3) queries[i].sink = 0.5f;
          if (option == 4) queries[i].bias = bias.data();
          if (option == 5) queries[i].begin = position - std::min(position, 17u);
        }
        const std::vector<float> alone = run(kernels, call, queries, 1);
        std::vector<double> want;
        for (const Query& query : queries) {
          const auto one = expected(memory, call, query);
          want.insert(want.end(), one.begin(), one.end());
        }
        CHECK(worst(want, alone) < 2e-5);
        const auto same = [&](const std::vector<float>& other) {
          return std::memcmp(alone.data(), other.data(), alone.size() * sizeof(float)) == 0;
        };
        for (const std::uint32_t together : {2u, 3u, 5u, 8u}) CHECK(same(run(kernels, call, queries, together)));
        CHECK(same(run_splits(kernels, call, queries)));
      }
    }
  });
}

TEST_CASE("attention: every stored type, within its own rounding") {
  for_tables([&](const AttentionKernels& kernels, const std::string& isa) {
    for (std::uint32_t entry = 0; entry < 2 * kernels.type_count; ++entry) {
      const std::uint32_t type = entry / 2;
      const KeyKernels& keys = kernels.keys[type];
      const ValueKernels& values = (entry % 2 ? kernels.aliases : kernels.values)[type];
      REQUIRE(values.type == keys.type);
      INFO(isa << " type " << keys.type);
      const Memory memory(keys, values, 300, 32, 64, values.store ? 96 : 48);
      const auto q = random_floats(64, 3);
      AttentionCall call{};
      call.kv = memory.view;
      call.keys = &keys;
      call.values = &values;
      call.scale = 0.125f;
      const std::vector<Query> queries = {{q.data(), nullptr, 0, 300, 299, 0, kNone, nullptr}};
      const double limit = keys.type == NACELLE_TYPE_F32    ? 2e-5
                           : keys.type == NACELLE_TYPE_F16  ? 5e-3
                           : keys.type == NACELLE_TYPE_BF16 ? 4e-2
                           : keys.type == NACELLE_TYPE_Q8_0 ? 6e-2
                                                            : 1.0;
      CHECK(worst(expected(memory, call, queries[0]), run(kernels, call, queries, 1)) < limit);
    }
  });
}
