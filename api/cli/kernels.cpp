// kernels, tune: which variant runs what, at which speed, and why the others do not.
#include "api/cli/kernels.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <tuple>

#include "api/cli/commands.hpp"
#include "api/cli/setup.hpp"
#include "core/engine/placed_model.hpp"

namespace nacelle::cli {
namespace {

using manage::chosen_name;

double per_second(double amount, double seconds) { return seconds > 0 ? amount / seconds / 1e9 : 0; }
double share(const Kernel& kernel) { return kernel.seconds > 0 ? kernel.floor_seconds / kernel.seconds : 0; }

// In the unit of the ceiling that the case runs into.
std::string speed(const Kernel& kernel) {
  if (kernel.seconds <= 0) return "-";
  return kernel.bound == NACELLE_BOUND_COMPUTE
             ? fmt::format("{:.0f} GOP/s", per_second(kernel.operations, kernel.seconds))
             : fmt::format("{:.1f} GB/s", per_second(kernel.bytes, kernel.seconds));
}

using Case = std::tuple<std::string, std::string, std::string>;  // op, pattern, rows
Case case_of(const Kernel& kernel) { return {kernel.op, kernel.pattern, kernel.rows}; }

// The fastest of the others that were measured.
std::string runner_up(const std::vector<Kernel>& kernels, const Kernel& winner) {
  const Kernel* best = nullptr;
  for (const Kernel& kernel : kernels) {
    if (kernel.state != NACELLE_KERNEL_CANDIDATE || kernel.seconds <= 0 || case_of(kernel) != case_of(winner)) continue;
    if (!best || kernel.seconds < best->seconds) best = &kernel;
  }
  if (!best || winner.seconds <= 0) return "-";
  return fmt::format("{} ({:.2f} times the time)", best->variant, best->seconds / winner.seconds);
}

// A loser that was measured against the winner has a figure of its own in each case: told as a range.
struct Losses {
  std::map<std::string, int> reasons;  // of cases without a measurement
  int measured = 0;
  double least = 0, most = 0;  // of the winner's time
};

std::vector<std::string> describe(const Losses& losses) {
  std::vector<std::string> lines;
  const auto cases = [](int count) { return fmt::format(" ({} {})", count, count == 1 ? "case" : "cases"); };
  if (losses.measured)
    lines.push_back(fmt::format("measured: {:.2f} to {:.2f} times the winner's time", losses.least, losses.most) +
                    cases(losses.measured));
  for (const auto& [reason, count] : losses.reasons) lines.push_back(reason + cases(count));
  return lines;
}

void print_losers(const std::vector<Kernel>& kernels) {
  std::map<Case, const Kernel*> winners;
  for (const Kernel& kernel : kernels)
    if (kernel.state == NACELLE_KERNEL_SELECTED) winners[case_of(kernel)] = &kernel;
  std::map<std::string, Losses> losers;
  for (const Kernel& kernel : kernels) {
    if (kernel.state == NACELLE_KERNEL_SELECTED) continue;
    Losses& losses = losers[kernel.variant];
    const auto winner = winners.find(case_of(kernel));
    if (kernel.seconds > 0 && winner != winners.end() && winner->second->seconds > 0) {
      const double times = kernel.seconds / winner->second->seconds;
      losses.least = losses.measured ? std::min(losses.least, times) : times;
      losses.most = std::max(losses.most, times);
      ++losses.measured;
    } else {
      ++losses.reasons[kernel.reason];
    }
  }
  if (losers.empty()) return;
  std::vector<std::vector<std::string>> table = {{"NOT CHOSEN", "WHY"}};
  for (const auto& [variant, losses] : losers) {
    std::string name = variant;
    for (const std::string& line : describe(losses)) table.push_back({std::exchange(name, ""), line});
  }
  std::puts("");
  print_table(table);
}

void print_head(const PluginHost& host, const Model& model) {
  for (const Placement& part : model.placement()) {
    const DeviceRecord device = host.find_device(part.device);
    std::printf("%s on %s: %s, %s\n", model.name().c_str(), device.name.c_str(), device.description.c_str(),
                device.detail.c_str());
  }
  std::puts("");
}

}  // namespace

void print_kernels(const std::vector<Kernel>& kernels) {
  std::vector<std::vector<std::string>> table = {
      {"OP", "CASE", "ROWS", "KERNEL", "CHOSEN BY", "SPEED", "OF CEILING", "RUNNER-UP"}};
  for (const Kernel& kernel : kernels) {
    if (kernel.state != NACELLE_KERNEL_SELECTED) continue;
    table.push_back({kernel.op, kernel.pattern, kernel.rows.empty() ? "any" : kernel.rows, kernel.variant,
                     chosen_name(kernel.chosen_by), speed(kernel),
                     share(kernel) > 0 ? fmt::format("{:.0f} %", 100 * share(kernel)) : "-",
                     runner_up(kernels, kernel)});
  }
  print_table(table);
  print_losers(kernels);
}

int run_command(const KernelsOptions& options) {
  const auto host = make_host(options.host);
  const auto model = load_model(*host, options.model, options.path, {.need_tokenizer = false});
  const std::vector<Kernel> kernels = kernels_of(*model);
  if (options.host.json) {
    print_json(to_json(kernels));
    return 0;
  }
  print_head(*host, *model);
  print_kernels(kernels);
  return 0;
}

int run_command(const TuneOptions& options) {
  if (options.model.tune_budget.count() <= 0)
    throw Error(ErrorKind::kInvalidArgument, "--budget must be more than 0, as in 5s", "budget");
  const auto host = make_host(options.host);
  const auto begin = std::chrono::steady_clock::now();
  const auto model = load_model(*host, options.model, options.path, {.need_tokenizer = false, .tune_again = true});
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  const auto& tuned = model->device().tuned();
  const nacelle_tune_report report = tuned.value_or(nacelle_tune_report{});
  const std::vector<Kernel> kernels = kernels_of(*model);
  if (options.host.json) {
    print_json({{"model", model->name()},
                {"device", to_string(model->placement())},
                {"seconds", seconds.count()},
                {"cases", report.cases},
                {"measured", report.measured},
                {"kept", report.kept},
                {"kernels", to_json(kernels)}});
    return 0;
  }
  print_head(*host, *model);
  print_kernels(kernels);
  if (!tuned) {
    std::printf("\nThis device has one variant of each kernel: there was nothing to measure.\n");
    return 0;
  }
  std::printf("\nMeasured %u of %u cases in %.1f s, loading included; %u verdicts are in the tuning cache.\n",
              report.measured, report.cases, seconds.count(), report.kept);
  if (report.measured < report.cases)
    std::printf("The budget was spent before the rest: a larger --budget measures them too.\n");
  return 0;
}

}  // namespace nacelle::cli
