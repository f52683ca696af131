// nacelle: parses the command line, runs the command, turns a failure into one line and an exit code.
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "api/cli/commands.hpp"
#include "core/base/error.hpp"
#include "core/plugin_host/isolation/child.hpp"

namespace {

// One line, whatever the file or the argument that it tells of had in it.
void print_failure(std::string what) {
  for (char& c : what)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  std::fprintf(stderr, "nacelle: %s\n", what.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  using namespace nacelle;
  try {
    // Not a command for people: how --isolate starts this program anew.
    if (argc == 2 && std::strcmp(argv[1], isolation::kChildArgument) == 0) return isolation::serve_plugin();
    return std::visit([](const auto& options) { return cli::run_command(options); }, cli::parse_options(argc, argv));
  } catch (const Error& error) {
    print_failure(error.what());
    return cli::exit_code(error.kind());
  } catch (const std::exception& error) {
    print_failure(error.what());
    return cli::exit_code(ErrorKind::kInternal);
  }
}
