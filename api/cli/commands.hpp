// The commands of the program, one file each. Each returns the exit code; failures leave as Error.
#pragma once

#include "api/cli/options.hpp"

namespace nacelle::cli {

int run_command(const ServeOptions& options);
int run_command(const RunOptions& options);
int run_command(const BenchOptions& options);
int run_command(const PluginsOptions& options);
int run_command(const PluginOptions& options);
int run_command(const DevicesOptions& options);
int run_command(const KernelsOptions& options);
int run_command(const TuneOptions& options);
int run_command(const InspectOptions& options);
int run_command(const EvalOptions& options);
int run_command(const KeyOptions& options);
int run_command(const PullOptions& options);
int run_command(const QuantizeOptions& options);
int run_command(const ImatrixOptions& options);
int run_command(const HealthOptions& options);
int run_command(const ConfigOptions& options);

}  // namespace nacelle::cli
