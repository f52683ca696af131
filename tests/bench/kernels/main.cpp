// How fast each CPU kernel is on this machine, one thread, and how near its floor: `./dev bench kernels`, with Google
// Benchmark's options, as --benchmark_filter=q4_k.*avx512 or --benchmark_repetitions=5.
#include "backends/cpu/ceilings.hpp"
#include "core/plugin_host/host_services.hpp"
#include "tests/bench/kernels/bench.hpp"

using namespace nacelle;
using namespace nacelle::cpu;

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  HostServices& services = HostServices::create({});  // of one thread
  const IsaSet isa = detect_isa();                    // slow in a virtual machine: once
  const Machine machine{isa, measure_ceilings(sdk::Host(services.table(), "bench"), isa, 5)};
  const auto giga = [](double value) { return std::to_string(static_cast<long>(value / 1e9)); };
  benchmark::AddCustomContext("processor", processor_name() + ", " + std::string(to_string(isa.best())));
  benchmark::AddCustomContext("ceilings of one thread", giga(machine.ceilings.read_bytes) + " GB/s, int8 " +
                                                            giga(machine.ceilings.int8_ops) + " GOP/s, bf16 " +
                                                            giga(machine.ceilings.bf16_ops) + " GFLOP/s, f32 " +
                                                            giga(machine.ceilings.f32_ops) + " GFLOP/s");
  add_matmul_benchmarks(machine);
  add_attention_benchmarks(machine);
  add_vector_benchmarks(machine);
  add_recurrent_benchmarks(machine);
  benchmark::RunSpecifiedBenchmarks();
  services.stop();
}
