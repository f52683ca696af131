// Times and rates of a few large cases.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>

#include "sdk/conformance/checks.hpp"
#include "sdk/conformance/host.hpp"

namespace nacelle::conformance {
namespace {

// The fastest of several runs.
double seconds_of(Session& session, const StepInput& step) {
  double best = 1e9;
  for (int i = 0; i < 6; ++i) {
    const auto start = std::chrono::steady_clock::now();
    session.run(step);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  return best;
}

void print_matmul(Backend& backend, nacelle_type type, std::uint32_t width) {
  Case of("matmul");
  of.set_result(of.op(NACELLE_OP_MATMUL, {of.rows(width, 1), of.weight(type, {width, width}, 2)})[0]);
  const Steps sizes = {{{0, 0, 1}}, {{0, 0, 64}}};
  Session session(backend, of, sizes);
  const double bytes = static_cast<double>(row_bytes(type, width)) * width;
  for (const std::vector<Span>& spans : sizes) {
    const double seconds = seconds_of(session, {spans});
    const std::uint32_t rows = spans.front().rows;
    std::printf("%-8s %5u x %-5u %5u %10.1f us %8.2f GB/s %8.2f GFLOP/s\n", type_info(type)->name, width, width, rows,
                1e6 * seconds, 1e-9 * bytes / seconds, 2e-9 * width * width * rows / seconds);
  }
}

}  // namespace

void print_speed(Backend& backend) {
  set_team_size(1);
  auto ceilings = sdk::make<nacelle_ceilings>();
  nacelle_error* error = nullptr;
  const bool measured = backend.api().ceilings(backend.device(), &ceilings, &error) == NACELLE_OK;
  take_message(error);
  if (measured)
    std::printf("at best: %.1f GB/s, %.0f int8 Gop/s, %.0f bf16 and %.0f f32 GFLOP/s\n", 1e-9 * ceilings.read_bytes,
                1e-9 * ceilings.int8_ops, 1e-9 * ceilings.bf16_ops, 1e-9 * ceilings.f32_ops);
  std::printf("%-8s %-13s %5s %13s\n", "MATMUL", "SIZE", "ROWS", "ONE THREAD");
  const std::uint32_t width = backend.is_slow() ? 256 : 2048;
  for (const nacelle_type type : {NACELLE_TYPE_F32, NACELLE_TYPE_F16, NACELLE_TYPE_Q8_0, NACELLE_TYPE_Q4_K}) {
    try {
      print_matmul(backend, type, width);
    } catch (const Unsupported&) {  // it was listed among what is skipped
    }
  }
}

}  // namespace nacelle::conformance
