// nacelle: parses the command line, runs the command, turns a failure into one line and an exit code.
#include <cstdio>
#include <exception>

#include "api/cli/commands.hpp"
#include "core/base/error.hpp"

int main(int argc, char** argv) {
  using namespace nacelle;
  try {
    return std::visit([](const auto& options) { return cli::run_command(options); }, cli::parse_options(argc, argv));
  } catch (const Error& error) {
    std::fprintf(stderr, "nacelle: %s\n", error.what());
    return cli::exit_code(error.kind());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "nacelle: %s\n", error.what());
    return cli::exit_code(ErrorKind::kInternal);
  }
}
