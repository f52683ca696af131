// The CPU backend against the reference on every case it supports, and every backend against itself: a row's bits must
// not depend on the batch or chunk it came in, nor on the number of threads.
#include <catch2/catch.hpp>
#include <cstring>

#include "tests/ops/backend_harness.hpp"
#include "tests/ops/compare.hpp"
#include "tests/ops/grown_cases.hpp"
#include "tests/ops/test_host.hpp"

namespace nacelle::test {
namespace {

constexpr std::uint32_t kBatches[] = {2, 7, 16, 33};  // each is held against rows that came alone

// The backend under test, or nullptr after a line that says why the test is skipped.
Backend* cpu_backend() {
  Backend* cpu = find_backend("cpu");
  if (!cpu) WARN("skipped: the CPU backend is not built");
  return cpu;
}

std::vector<Backend*> all_backends() {
  std::vector<Backend*> backends = {find_backend("reference")};
  if (Backend* cpu = cpu_backend()) backends.push_back(cpu);
  return backends;
}

// The decoders with an F16 cache, and with one of its own type.
std::vector<Case> decoders() {
  std::vector<Case> cases;
  for (const nacelle_type type : kDecoderTypes) {
    cases.push_back(tiny_decoder(type, NACELLE_TYPE_F16));
    if (type != NACELLE_TYPE_F16) cases.push_back(tiny_decoder(type, type));
  }
  return cases;
}

bool same_bits(const RowMap& a, const RowMap& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](const auto& x, const auto& y) {
           return x.first == y.first && x.second.size() == y.second.size() &&
                  std::memcmp(x.second.data(), y.second.data(), x.second.size() * sizeof(float)) == 0;
         });
}

// `slack` multiplies what one operation may be off by.
void compare_with_reference(const std::vector<Case>& cases, double slack = 1) {
  Backend* cpu = cpu_backend();
  if (!cpu) return;
  Backend* reference = find_backend("reference");
  REQUIRE(reference);
  set_team_size(2);
  std::string unsupported;
  for (const Case& of : cases) {
    INFO(of.name);
    if (!cpu->supports(of)) {
      unsupported += "\n  " + of.name;
      continue;
    }
    const Difference off = difference(run_flat(*reference, of, of.steps), run_flat(*cpu, of, of.steps));
    INFO(off);
    const Difference limit = tolerance_for(of);
    CHECK(within(off, {limit.nmse * slack, limit.peak * slack}));
  }
  set_team_size(1);
  if (!unsupported.empty()) WARN("the CPU backend does not support:" << unsupported);
}

}  // namespace

TEST_CASE("CPU against the reference: operations on rows") { compare_with_reference(row_cases()); }
TEST_CASE("CPU against the reference: attention") { compare_with_reference(attention_cases()); }
TEST_CASE("CPU against the reference: a decoder") {
  std::vector<Case> cases;
  for (Case& of : decoders()) {
    of.steps = in_chunks(70, 35);
    cases.push_back(std::move(of));
  }
  compare_with_reference(cases, 16);  // two layers, one on the other
}

TEST_CASE("rows have the same bits in batches of 1, 2, 7, 16 and 33, and with 1 and 3 threads") {
  for (Backend* backend : all_backends())
    for (const Case& of : row_cases()) {
      if (!backend->supports(of)) continue;
      const RowMap alone = run_case(*backend, of, in_chunks(33, 1));
      for (const std::uint32_t batch : kBatches) {
        INFO(backend->name() << ", " << of.name << ", batch " << batch);
        set_team_size(batch == 16 ? 3 : batch == 33 ? 2 : 1);
        CHECK(same_bits(alone, run_case(*backend, of, in_chunks(33, batch))));
      }
      set_team_size(1);
    }
}

TEST_CASE("attention through the cache has the same bits in any chunks") {
  for (Backend* backend : all_backends())
    for (const Case& of : attention_cases()) {
      if (!backend->supports(of)) continue;
      const RowMap alone = run_case(*backend, of, in_chunks(150, 1));
      for (const std::uint32_t chunk : {17u, 150u}) {
        INFO(backend->name() << ", " << of.name << ", chunk " << chunk);
        set_team_size(chunk == 17 ? 1 : 3);
        CHECK(same_bits(alone, run_case(*backend, of, in_chunks(150, chunk))));
      }
      set_team_size(1);
    }
}

TEST_CASE("a decoder's logits have the same bits in chunks of 1, 17 and 512 and in batches of 1 to 33 sequences") {
  for (Backend* backend : all_backends())
    for (const Case& of : decoders()) {
      if (!backend->supports(of)) continue;
      const std::uint32_t rows = backend->name() == "reference" ? 90 : 530;  // the reference is slow on purpose
      const RowMap alone = run_case(*backend, of, in_chunks(rows, 1));
      for (const std::uint32_t chunk : {17u, 512u}) {
        INFO(backend->name() << ", " << of.name << ", chunk " << chunk);
        set_team_size(chunk == 17 ? 1 : 3);  // few steps with a team: barriers are slow on a crowded machine
        CHECK(same_bits(alone, run_case(*backend, of, in_chunks(rows, chunk))));
      }
      set_team_size(1);
      const RowMap single = run_case(*backend, of, in_batches(33, 1));
      for (const std::uint32_t batch : kBatches) {
        INFO(backend->name() << ", " << of.name << ", batch " << batch);
        CHECK(same_bits(single, run_case(*backend, of, in_batches(33, batch))));
      }
      set_team_size(1);
    }
}

}  // namespace nacelle::test
